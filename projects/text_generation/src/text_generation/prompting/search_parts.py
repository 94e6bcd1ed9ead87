"""What a prompt search is made of: where variations come from, and how a candidate is scored."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from text_generation.backends.types import Backend, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.prompting.ab_test import prompt_for
from text_generation.prompting.answers import Scorer
from text_generation.prompting.cases import Case
from text_generation.prompting.examples import ExampleSelector
from text_generation.prompting.search_types import Candidate, Propose, Score
from text_generation.prompting.templates import Template

VARIATION = (
    "Generate a variation of the following instruction while keeping the semantic meaning.\n\n"
    "Instruction: {instruction}\n\nVariation:"
)
"""Prompt for a variation after Zhou et al. (2023), §3.2."""


def given_paraphrases(paraphrases: Mapping[str, Sequence[str]]) -> Propose:
    """Variations from a table, instruction -> paraphrases of it; none for an instruction that is not in it. They take
    no
    call: use with `SearchSettings(proposals_cost=False)`."""

    def propose(instruction: str, number: int) -> list[str]:
        return list(paraphrases.get(instruction, ()))[:number]

    return propose


def model_variations(backend: Backend, decoding: DecodingConfig, seed: int = 0) -> Propose:
    """Variations by the model itself, one call each. An answer with a line break is cut there; a failed call gives
    none.

    Sampling is meant: greedy search would give the same variation every time.
    """

    def propose(instruction: str, number: int) -> list[str]:
        prompts = [VARIATION.format(instruction=instruction)] * number
        answers = backend.generate(prompts, replace(decoding, stop=(*decoding.stop, "\n")), seed)
        return [answer.text.strip() for answer in answers if answer.finish_reason != "error"]

    return propose


class CandidatePrompts:
    """Turns a candidate and a case into a prompt, by a template with the variable `instruction`."""

    def __init__(self, template: Template, key: str, selector: ExampleSelector | None = None) -> None:
        """Args:
        template: it has a gap `instruction`; others are filled from the case.
        key: the case's variable by which examples are chosen.
        selector: chooses the examples. None: the first ones of the template.
        """
        self._template, self._key, self._selector = template, key, selector

    @property
    def answer_prefix(self) -> str:
        """The template's."""
        return self._template.answer_prefix

    @property
    def stop(self) -> tuple[str, ...]:
        """The template's."""
        return self._template.stop

    def __call__(self, candidate: Candidate, case: Case) -> Prompt:
        """The prompt. Errors: see `Template.render`."""

        def selection(case: Case) -> Sequence[Mapping[str, object]]:
            if self._selector is None:
                return self._template.examples[: candidate.n_examples]
            return self._selector.select(str(case.variables[self._key]), candidate.n_examples)

        filled = replace(case, variables={**case.variables, "instruction": candidate.instruction})
        return prompt_for(self._template, filled, selection)


def by_likelihood(backend: Backend, prompts: CandidatePrompts) -> Score:
    """Score a candidate by -nats per byte of the reference answer: meaningful for models that are never right."""

    def score(candidate: Candidate, cases: Sequence[Case]) -> list[float]:
        pairs = [(prompts(candidate, case), prompts.answer_prefix + case.reference) for case in cases]
        return [-of.nats / of.n_bytes for of in backend.likelihood(pairs)]

    return score


def by_answer(backend: Backend, prompts: CandidatePrompts, decoding: DecodingConfig, scorer: Scorer) -> Score:
    """Score a candidate by the answers that it brings about. Where the server gave none, the case counts 0."""

    def score(candidate: Candidate, cases: Sequence[Case]) -> list[float]:
        asked = [prompts(candidate, case) for case in cases]
        answers = backend.generate(asked, replace(decoding, stop=(*decoding.stop, *prompts.stop)))
        return [
            0.0 if answer.finish_reason == "error" else scorer(answer.text, case)
            for answer, case in zip(answers, cases, strict=True)
        ]

    return score
