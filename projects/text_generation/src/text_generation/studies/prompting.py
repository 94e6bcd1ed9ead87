"""Prompts: templates beside each other, answers that vote, and texts that try to take over."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from roadmap_shared.report import Callout, Section, Text
from text_generation.backends.types import Prompt
from text_generation.config.decoding import GREEDY, DecodingConfig
from text_generation.corpora.story_checker import closing_markers
from text_generation.evaluation.obedience import STORY_TOKENS
from text_generation.prompting.ab_test import Selection, compare_templates, prompt_for
from text_generation.prompting.answers import after_marker
from text_generation.prompting.cases import SENTIMENT_CASES, Case, read_cases
from text_generation.prompting.examples import SimilarExamples
from text_generation.prompting.injection import prompt_of, run_lab
from text_generation.prompting.injection_cases import BUILT_IN, InjectionCase, read_injections, secret_for
from text_generation.prompting.injection_defences import Defence, built_in_defences
from text_generation.prompting.injection_detector import fit_detector
from text_generation.prompting.sections import ab_section, injection_section, votes_section
from text_generation.prompting.self_consistency import self_consistency, shares_right
from text_generation.prompting.summaries import ab_summary, injection_summary
from text_generation.prompting.template_files import TemplateLibrary
from text_generation.prompting.templates import Example, Template
from text_generation.studies.functions import function_cases
from text_generation.studies.types import Bench, NotApplicableError, Study

FUNCTION_TEMPLATES = ("function_bare", "function_comment", "function_zero_shot", "function_few_shot")
SENTIMENT_TEMPLATES = ("sentiment_zero_shot", "sentiment_role", "sentiment_few_shot")
SIMILAR = "function_similar_shot"
"""The few-shot template with an example that resembles the case."""

THOUGHT_TOKENS = 120
CHAIN_OF_THOUGHT = DecodingConfig(temperature=0.7, top_k=40, max_new_tokens=THOUGHT_TOKENS)
"""As Wang et al. (2023) draw samples for self-consistency."""

EXAMPLE_CHARACTERS = 300
INJECTION_TOKENS = 24


def templates(bench: Bench) -> Study:
    """Which template makes the references most probable: of held-out functions where the corpus has some, else of
    labelled reviews."""
    library = TemplateLibrary()
    selections: dict[str, Selection] = {}
    if "function" in bench.corpus.kinds:
        compared = [one_shot(library.get(name)) for name in FUNCTION_TEMPLATES]
        compared.append(replace(compared[-1], name=SIMILAR, description="Go on after the most similar function."))
        selections[SIMILAR] = similar_functions(bench)
        cases = function_cases(bench.corpus)
    else:
        compared = [library.get(name) for name in SENTIMENT_TEMPLATES]
        cases = read_cases(SENTIMENT_CASES)[0]
    # The first that fit, without a look at the others: choosing a similar example searches all training functions.
    fitting = list(islice((case for case in cases if fits(bench, case, compared, selections)), bench.sizes.cases))
    if len(fitting) < 2:
        raise NotApplicableError(f"the prompts do not fit into a context of {bench.backend.context_window} tokens")
    result = compare_templates(bench.backend, compared, fitting, GREEDY, selections=selections, seed=bench.run.seed)
    remark = f"{len(cases)} cases, of which the first {len(fitting)} that fit into the context under every template."
    blocks = [Text(remark), *ab_section(result).blocks]
    return Study([Section("Which prompt is best?", blocks)], ab_summary(result))


def one_shot(template: Template) -> Template:
    """A template with one of its examples: more of them fill a small context."""
    return replace(template, examples=template.examples[:1])


def similar_functions(bench: Bench) -> Selection:
    """Chooses the short training function whose description resembles the case's most."""
    pool: list[Example] = [
        {**case.variables, "answer": without_indentation(case.reference)}
        for case in function_cases(bench.corpus, train=True)
        if len(case.reference) <= EXAMPLE_CHARACTERS
    ]
    selector = SimilarExamples(pool, key="description")
    return lambda case: selector.select(str(case.variables["description"]), 1)


def without_indentation(body: str) -> str:
    """A body at the margin, as the template's examples are written."""
    return "\n".join(line.removeprefix("    ") for line in body.split("\n")).strip()


def fits(bench: Bench, case: Case, compared: Sequence[Template], selections: dict[str, Selection]) -> bool:
    """Whether every template leaves room for the reference."""
    return all(
        bench.has_room(
            prompt_for(template, case, selections.get(template.name)), template.answer_prefix + case.reference
        )
        for template in compared
    )


def voting(bench: Bench) -> Study:
    """Self-consistency: do several samples know more together than one?"""
    prompts, references, extract, decoding, what = vote_task(bench)
    votes = self_consistency(
        bench.backend, prompts, decoding, extract, n_samples=bench.sizes.votes, seed=bench.run.seed
    )
    right = shares_right(votes, references)
    figures = {"right_by_vote": right.by_vote.estimate, "right_by_one_sample": right.by_one_sample.estimate}
    return Study(
        [replace(votes_section(votes, references), title="Do samples that vote know more?", intro=what)], figures
    )


def vote_task(
    bench: Bench,
) -> tuple[list[Prompt], list[str], Callable[[str], str | None], DecodingConfig, str]:
    """Prompts, right answers, what takes an answer out of a text, how texts are drawn, and the task in words."""
    if bench.is_built_in and bench.obedience is not None:
        fields = bench.obedience.fields[: bench.sizes.cases]
        room = bench.backend.context_window - max(bench.backend.count_tokens(each.prompt) for each in fields)
        decoding = DecodingConfig(max_new_tokens=min(STORY_TOKENS, room))
        what = (
            "The question is which ending a header asks for, and a story's answer is the ending that its last two "
            "sentences tell. Stories are drawn at temperature 1, so that samples err more often than the greedy story."
        )
        return [each.prompt for each in fields], [each.ending for each in fields], told_ending, decoding, what
    template = TemplateLibrary().get("sentiment_chain_of_thought")
    cases = read_cases(SENTIMENT_CASES)[0][: bench.sizes.cases]
    prompts = [template.render({"review": case.variables["review"]}) for case in cases]
    room = bench.backend.context_window - max(map(bench.backend.count_tokens, prompts))
    if room < THOUGHT_TOKENS:
        raise NotApplicableError(f"a chain of thought does not fit into {bench.backend.context_window} tokens")
    what = "Reviews are labelled after a chain of thought; the label behind `Answer:` votes."
    decoding = replace(CHAIN_OF_THOUGHT, stop=template.stop)
    return list(prompts), [case.reference for case in cases], after_marker, decoding, what


def told_ending(story: str) -> str | None:
    """The ending that a story tells; None where it tells none, or several."""
    told = list(closing_markers(story))
    return told[0] if len(told) == 1 else None


def injection(bench: Bench) -> Study:
    """The injection lab, each defence on the cases that the model's context has room for."""
    cases, _ = read_injections(BUILT_IN)
    detector = fit_detector(cases)
    defences = [d for d in built_in_defences(detector).values() if d.name in bench.sizes.defences]
    decoding = replace(GREEDY, max_new_tokens=INJECTION_TOKENS)
    result = run_lab(
        bench.backend, cases, defences, decoding, seed=bench.run.seed, fits=lambda case, of: lab_fits(bench, case, of)
    )
    if not result.results:
        raise NotApplicableError(f"the prompts do not fit into a context of {bench.backend.context_window} tokens")
    section = injection_section(result, detector)
    remark = (
        f"Of {len(cases)} cases, each defence is tried on those that leave {INJECTION_TOKENS} tokens for an answer "
        "with and without it. The rows stand for different cases; what a defence changes is told by its comparison "
        "with `none` on the same ones."
    )
    blocks = [Text(remark), *section.blocks]
    if not bench.follows_instructions:
        remark = (
            "This model follows no instructions, neither the user's nor an attacker's: that it obeys few attacks is no "
            "merit, and nearly all its answers are off task. What the detector turns away does not depend on the model."
        )
        blocks.insert(1, Callout(remark, "warning"))
    return Study([Section("Can a text take over?", blocks)], injection_summary(result))


def lab_fits(bench: Bench, case: InjectionCase, defence: Defence) -> bool:
    """Whether the case's prompt leaves room for an answer under a defence."""
    prompt = prompt_of(case, defence, secret_for(bench.run.seed), bench.run.seed).messages()
    return bench.backend.count_tokens(prompt) + INJECTION_TOKENS <= bench.backend.context_window
