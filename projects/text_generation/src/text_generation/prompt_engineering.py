"""Prompt engineering as measurement: write a prompt, vote, compare, search, constrain, attack.

```python
engineer = PromptEngineer(backend)
print(engineer.ask("sentiment_few_shot", review="I would buy it again."))
print(engineer.compare(["sentiment_zero_shot", "sentiment_few_shot"], cases).comparisons[0].in_words())
```

Each method is a few lines over one module of `prompting`, which says how it works and where it comes from:

| question | method | module |
|---|---|---|
| What does the prompt look like? | `prompt` | `templates`, `template_files` |
| Which examples should it show? | `similar_examples` | `examples` |
| What does the model answer? | `ask` | |
| What do most of its answers say? | `vote` | `self_consistency` |
| Which template is better, and how sure is that? | `compare` | `ab_test` |
| Is there a better instruction? | `search` | `search`, `search_parts` |
| How do I get valid JSON? | `ask_structured` | `structured`, `constrained_decoding` |
| What do attackers get through, and what do defences cost? | `attack` | `injection` |
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadmap_shared.errors import UserError
from text_generation.backends.types import Backend, Generation, Prompt
from text_generation.config.decoding import GREEDY, SAMPLING, DecodingConfig
from text_generation.prompting.ab_test import ABResult, Selection, compare_templates
from text_generation.prompting.answers import Extractor, Scorer, contains
from text_generation.prompting.cases import Case, split_cases
from text_generation.prompting.examples import Encode, SimilarExamples
from text_generation.prompting.injection import LabResult, run_lab
from text_generation.prompting.injection_cases import read_injections
from text_generation.prompting.injection_defences import built_in_defences
from text_generation.prompting.injection_detector import fit_detector
from text_generation.prompting.search import search_prompts
from text_generation.prompting.search_parts import CandidatePrompts, by_likelihood, model_variations
from text_generation.prompting.search_types import Candidate, SearchResult, SearchSettings
from text_generation.prompting.self_consistency import Vote, self_consistency
from text_generation.prompting.template_files import TemplateLibrary
from text_generation.prompting.templates import Example

if TYPE_CHECKING:
    from text_generation.prompting.structured import Constraint


class PromptEngineer:
    """A model, a library of templates, and what can be asked of both."""

    def __init__(
        self, backend: Backend, library: TemplateLibrary | None = None, decoding: DecodingConfig = GREEDY
    ) -> None:
        """Args:
        backend: the model.
        library: templates by name. None: the shipped ones.
        decoding: how answers are generated, where a method does not say otherwise.
        """
        self.backend = backend
        self.library = library or TemplateLibrary()
        self.decoding = decoding

    def prompt(self, template: str, /, examples: Sequence[Example] | None = None, **values: Any) -> Prompt:
        """A template with its gaps filled. Errors: see `Template.render`."""
        return self.library.get(template).render(values, examples)

    def ask(self, template: str, /, **values: Any) -> str:
        """The model's answer to a template. Errors: those of the template and of the back end."""
        stop = self.library.get(template).stop
        return self._answer(
            self.prompt(template, **values), replace(self.decoding, stop=(*self.decoding.stop, *stop))
        ).text

    def similar_examples(self, pool: Sequence[Example], key: str, k: int, encode: Encode | None = None) -> Selection:
        """For `compare`: shows each case the k examples of a pool that are most similar to it in the variable `key`."""
        selector = SimilarExamples(pool, key, encode)
        return lambda case: selector.select(str(case.variables[key]), k)

    def vote(self, template: str, extract: Extractor, /, n_samples: int = 10, seed: int = 0, **values: Any) -> Vote:
        """Sample several answers and let them vote: self-consistency, meant for the chain-of-thought templates."""
        chosen = self.library.get(template)
        sampling = replace(SAMPLING, max_new_tokens=self.decoding.max_new_tokens, stop=chosen.stop)
        prompt = chosen.render(values)
        return self_consistency(self.backend, [prompt], sampling, extract, n_samples=n_samples, seed=seed)[0]

    def compare(
        self,
        templates: Sequence[str],
        cases: Sequence[Case],
        scorer: Scorer | None = contains,
        *,
        likelihood: bool = True,
        selections: Mapping[str, Selection] | None = None,
    ) -> ABResult:
        """Each template beside the first, case by case: `B better in 61 % [54, 68]`."""
        return compare_templates(
            self.backend,
            [self.library.get(name) for name in templates],
            cases,
            self.decoding,
            scorer=scorer,
            likelihood=likelihood,
            selections=selections,
        )

    def search(
        self,
        instructions: Sequence[str],
        cases: Sequence[Case],
        settings: SearchSettings,
        *,
        pool: Sequence[Example] = (),
        held_out: float = 0.5,
        log: Path | None = None,
    ) -> SearchResult:
        """The best instruction, with or without examples, by the likelihood of the reference answers.

        Args:
            instructions: to begin with, the baseline first; the model proposes variations.
            cases: with the variable `input`; a share of them is held out.
            settings: calls at most, and how they are spent.
            pool: solved cases with `input` and `answer`, for candidates with examples.
            held_out: share of the cases on which the winner is measured.
            log: makes the search resumable.
        """
        chosen_by, measured_on = split_cases(cases, held_out, settings.seed)
        prompts = CandidatePrompts(self.library.get("instructed"), "input", SimilarExamples(pool, "input"))
        return search_prompts(
            by_likelihood(self.backend, prompts),
            [Candidate(instruction) for instruction in instructions],
            chosen_by,
            measured_on,
            settings,
            propose=model_variations(
                self.backend, replace(SAMPLING, max_new_tokens=self.decoding.max_new_tokens), settings.seed
            ),
            log=log,
        )

    def ask_structured(self, template: str, constraint: "Constraint | None" = None, /, **values: Any) -> Generation:
        """An answer that is valid JSON, or of whatever form the constraint asks for; None takes the template's
        `schema`.

        It is valid unless its `finish_reason` is "length": then `decoding.max_new_tokens` was too small for it.

        Raises:
            UserError: the back end is not a local model, whose logits can be masked; or there is no constraint.
        """
        from text_generation.backends.hf import HuggingFaceBackend
        from text_generation.prompting.constrained_decoding import ConstraintHook
        from text_generation.prompting.structured import json_schema_constraint

        chosen = self.library.get(template)
        if not isinstance(self.backend, HuggingFaceBackend):
            raise UserError(
                f"the back end '{self.backend.name}' cannot be constrained token by token. Use --backend.kind hf."
            )
        if constraint is None:
            if chosen.schema is None:
                raise UserError(f"{chosen.source}: has no field 'schema'. Add one, or give a constraint.")
            constraint = json_schema_constraint(chosen.schema)
        hook = ConstraintHook(self.backend.constraint_engine, constraint)
        # No stop sequences: a constrained text ends where the constraint lets it end.
        return self.backend.generate([chosen.render(values)], replace(self.decoding, stop=()), hook=hook)[0]

    def attack(
        self, defences: Sequence[str] = ("none", "layered"), case_path: Path | None = None, seed: int = 0
    ) -> LabResult:
        """Attacks that succeed and benign texts that are refused, with each defence."""
        cases, _ = read_injections(case_path) if case_path else read_injections()
        known = built_in_defences(fit_detector(cases))
        return run_lab(self.backend, cases, [known[name] for name in defences], self.decoding, seed=seed)

    def _answer(self, prompt: Prompt, decoding: DecodingConfig) -> Generation:
        return self.backend.generate([prompt], decoding)[0]
