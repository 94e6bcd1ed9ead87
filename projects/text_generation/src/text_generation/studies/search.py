"""Automatic prompt search: which instruction, with how many examples, makes held-out references most probable?"""

from dataclasses import replace
from itertools import islice

from roadmap_shared.report import Section, Text
from text_generation.prompting.cases import SENTIMENT_CASES, Case, read_cases
from text_generation.prompting.search import least_budget, search_prompts
from text_generation.prompting.search_parts import CandidatePrompts, by_likelihood
from text_generation.prompting.search_types import Candidate, SearchSettings
from text_generation.prompting.sections import search_section
from text_generation.prompting.summaries import search_summary
from text_generation.prompting.template_files import TemplateLibrary
from text_generation.prompting.templates import Template
from text_generation.studies.functions import function_cases
from text_generation.studies.types import Bench, NotApplicableError, Study

COMMENTS = (
    "",
    "# Complete the function.",
    "# Write the body of the function below, as its docstring says.",
    "# A short function in plain Python.",
    "# From a module of the Python standard library.",
    '"""Helper functions."""',
)
"""What may stand above a function; the baseline is nothing at all."""

INSTRUCTIONS = (
    "",
    "Is the review positive or negative?",
    "Decide whether the review is positive or negative. Answer with one word.",
    "Label each review.",
    "Reviews of things that people bought, with the verdict of each.",
    "You are a careful editor who sorts reviews.",
)
EXAMPLE_COUNTS = (0, 1, 2)
CALLS_A_CANDIDATE = 12
"""Calls of the model that the search may spend, by candidate; those on held-out cases come on top."""

_FUNCTION_TEXT = """\
{% if instruction %}
{{ instruction }}

{% endif %}
{% for example in examples %}
{{ example.signature }}
    \"\"\"{{ example.description }}\"\"\"
    {{ example.answer | indent(4) }}


{% endfor %}
{{ signature }}
    \"\"\"{{ description }}\"\"\""""


def search(bench: Bench) -> Study:
    """The best of a few instructions with 0 to 2 examples: comments above held-out functions where the corpus has some,
    else instructions above labelled reviews."""
    prompts, cases, texts = task(bench)
    candidates = [Candidate(text) for text in texts]
    # The longest prompts decide which cases fit; so every candidate sees the same ones.
    longest = [Candidate(text, max(EXAMPLE_COUNTS)) for text in texts]
    fitting = list(islice((case for case in cases if fits(bench, prompts, longest, case)), 2 * bench.sizes.cases))
    # Halves and not every other one: neighbours come from the same module.
    tried, held_out = fitting[: len(fitting) // 2], fitting[len(fitting) // 2 :]
    if len(tried) < 2:
        raise NotApplicableError(f"the prompts do not fit into a context of {bench.backend.context_window} tokens")
    settings = settings_for(len(texts), len(held_out), bench.run.seed)
    found = search_prompts(by_likelihood(bench.backend, prompts), candidates, tried, held_out, settings)
    remark = (
        f"{len(texts)} instructions with {', '.join(map(str, EXAMPLE_COUNTS))} examples each, scored by the "
        f"log-likelihood of the reference answer in nats a byte, on {len(tried)} cases; the winner is measured on "
        "others. The baseline is no instruction and no example."
    )
    section = search_section(found)
    return Study(
        [Section("Can a search find a better prompt?", [Text(remark), *section.blocks])], search_summary(found)
    )


def settings_for(n_instructions: int, n_held_out: int, seed: int) -> SearchSettings:
    """One generation, without variations: a small model proposes none."""
    settings = SearchSettings(0, generations=1, variations=0, example_counts=EXAMPLE_COUNTS, seed=seed)
    n_candidates = n_instructions * len(EXAMPLE_COUNTS)
    wanted = CALLS_A_CANDIDATE * n_candidates + 2 * n_held_out
    return replace(settings, budget=max(wanted, least_budget(n_candidates, n_held_out, settings, variations=0)))


def task(bench: Bench) -> tuple[CandidatePrompts, list[Case], tuple[str, ...]]:
    """How a candidate becomes a prompt, the cases, and the instructions to try, the baseline first."""
    library = TemplateLibrary()
    if "function" in bench.corpus.kinds:
        template = replace(
            library.get("function_few_shot"),
            name="function_search",
            variables={"instruction": "", "signature": "", "description": ""},
            text=_FUNCTION_TEXT,
        )
        return CandidatePrompts(template, "description"), function_cases(bench.corpus), COMMENTS
    cases = [replace(case, variables={"input": case.variables["review"]}) for case in read_cases(SENTIMENT_CASES)[0]]
    return CandidatePrompts(review_template(library), "input"), cases, INSTRUCTIONS


def review_template(library: TemplateLibrary) -> Template:
    """The frame of the search with solved reviews, of which the first two have different labels."""
    shown = library.get("sentiment_few_shot").examples
    examples = tuple({"input": each["review"], "answer": each["answer"]} for each in shown)
    return replace(library.get("instructed"), examples=examples)


def fits(bench: Bench, prompts: CandidatePrompts, candidates: list[Candidate], case: Case) -> bool:
    """Whether every candidate leaves room for the reference."""
    answer = prompts.answer_prefix + case.reference
    return all(bench.has_room(prompts(candidate, case), answer) for candidate in candidates)
