"""A/B comparison of templates on the same cases: which one is better, by how much, and how sure that is.

Two measures, each with a number a case:

- `score`: the model answers, and a scorer judges the answer, 0 to 1.
- `nats_per_byte`: -ln p(reference answer | prompt) under the model, by UTF-8 byte. It needs no answer that is right, so
  that it tells templates apart even for a small model that never is. It compares prompts for the *same* continuation:
  after a template that asks for reasoning first, the bare answer is improbable, however good the template.

All templates see all cases, so that what makes a case hard cancels out in the paired bootstrap (Koehn 2004).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roadmap_shared.errors import UserError
from roadmap_shared.metrics import (
    Interval,
    PairedComparison,
    bootstrap_interval,
    bootstrap_ratio,
    paired_bootstrap,
    share_interval,
)
from text_generation.backends.types import Backend, Generation, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.prompting.answers import Scorer
from text_generation.prompting.cases import Case
from text_generation.prompting.templates import Example, Template

Measure = Literal["score", "nats_per_byte"]
FloatArray = NDArray[np.float64]

Selection = Callable[[Case], Sequence[Example]]
"""Chooses the examples that a case's prompt shows."""


@dataclass(frozen=True)
class TemplateScores:
    """What one template came to on the cases, n of them in their order."""

    template: Template
    prompts: tuple[Prompt, ...]
    answers: tuple[Generation, ...] = ()
    scores: FloatArray | None = None
    """(n,) by the scorer; NaN where the server gave no answer. None: not measured."""

    nats: FloatArray | None = None
    """(n,) of the reference answer. None: not measured."""

    n_bytes: FloatArray | None = None
    """(n,) UTF-8 bytes of the reference answer with the template's prefix."""

    def values(self, measure: Measure) -> FloatArray | None:
        """(n,) of one measure, or None where it was not taken."""
        if measure == "score":
            return self.scores
        return None if self.nats is None or self.n_bytes is None else self.nats / self.n_bytes

    def mean(self, measure: Measure, seed: int = 0) -> Interval | None:
        """The measure over all cases with its 95 % interval: of scores by `score_interval`; nats and bytes are summed
        before they are divided, with a bootstrap interval."""
        if measure == "nats_per_byte":
            return (
                None
                if self.nats is None or self.n_bytes is None
                else bootstrap_ratio(self.nats, self.n_bytes, seed=seed)
            )
        judged = None if self.scores is None else self.scores[~np.isnan(self.scores)]
        return None if judged is None or not judged.size else score_interval(judged, seed=seed)


@dataclass(frozen=True)
class Comparison:
    """Template b beside template a by one measure, over the cases that both have a number for."""

    a: str
    b: str
    measure: Measure
    difference: PairedComparison
    """Mean of b minus mean of a over the cases."""

    b_better: Interval
    """Share of the cases in which b is better, a tie counting one half: 0.5 says nothing. Its interval is Wilson's
    where no case is a tie, else the bootstrap's."""

    n_cases: int
    n_ties: int

    @property
    def verdict(self) -> str:
        """ "b better", "a better" with the templates' names, or "cannot tell apart": the interval holds 0."""
        if self.difference.low <= 0 <= self.difference.high:
            return "cannot tell apart"
        b_wins = (self.difference.difference > 0) == (self.measure == "score")
        return f"{self.b if b_wins else self.a} better"

    def in_words(self) -> str:
        """One line: `B better in 61 % [54, 68] of 200 cases`."""
        share = self.b_better
        return (
            f"{self.b} better than {self.a} in {100 * share.estimate:.0f} % [{100 * share.low:.0f}, "
            f"{100 * share.high:.0f}] of {self.n_cases} cases by {self.measure}: {self.verdict}"
        )


@dataclass(frozen=True)
class ABResult:
    """Every template's scores, and each beside the first one."""

    scores: tuple[TemplateScores, ...]
    comparisons: tuple[Comparison, ...]
    n_cases: int


def compare_templates(
    backend: Backend,
    templates: Sequence[Template],
    cases: Sequence[Case],
    decoding: DecodingConfig,
    *,
    scorer: Scorer | None = None,
    likelihood: bool = True,
    selections: Mapping[str, Selection] | None = None,
    seed: int = 0,
) -> ABResult:
    """Score every template on every case and compare each with the first.

    Args:
        backend: the model.
        templates: two or more, the baseline first.
        cases: with values for all gaps of all templates; what a template has no gap for, it does not see.
        decoding: how answers are generated; a template's own stops are added.
        scorer: judges answers. None: none are generated.
        likelihood: take the likelihood of the reference answers.
        selections: by template name, what chooses its examples; others show their own.
        seed: of sampling and of the bootstrap.

    Raises:
        UserError: fewer than two templates, two of one name, no case, nothing to measure, a gap without a value, or
            what the back end raises.
    """
    names = [template.name for template in templates]
    if len(names) < 2:
        raise UserError("a comparison needs two templates at least. Name another one.")
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"the template '{min(twice)}' is named twice. Compare different ones.")
    if not cases:
        raise UserError("there is no case to compare the templates on")
    if scorer is None and not likelihood:
        raise UserError("nothing to measure: choose a scorer, the likelihood, or both")
    chosen = selections or {}
    scores = tuple(
        score_template(
            backend,
            template,
            cases,
            decoding,
            scorer=scorer,
            likelihood=likelihood,
            selection=chosen.get(template.name),
            seed=seed,
        )
        for template in templates
    )
    measures: tuple[Measure, ...] = ("score", "nats_per_byte")
    comparisons = [compare(scores[0], other, measure, seed) for measure in measures for other in scores[1:]]
    return ABResult(scores, tuple(found for found in comparisons if found is not None), len(cases))


def score_template(
    backend: Backend,
    template: Template,
    cases: Sequence[Case],
    decoding: DecodingConfig,
    *,
    scorer: Scorer | None,
    likelihood: bool = True,
    selection: Selection | None = None,
    seed: int = 0,
) -> TemplateScores:
    """Score one template on all cases; arguments and errors as for `compare_templates`."""
    prompts = [prompt_for(template, case, selection) for case in cases]
    result = TemplateScores(template, tuple(prompts))
    if scorer is not None:
        stops = (*decoding.stop, *(stop for stop in template.stop if stop not in decoding.stop))
        answers = backend.generate(prompts, replace(decoding, stop=stops), seed)
        judged = [
            float("nan") if answer.finish_reason == "error" else scorer(answer.text, case)
            for answer, case in zip(answers, cases, strict=True)
        ]
        result = replace(result, answers=tuple(answers), scores=np.array(judged))
    if likelihood:
        pairs = [(prompt, template.answer_prefix + case.reference) for prompt, case in zip(prompts, cases, strict=True)]
        found = backend.likelihood(pairs)
        nats, n_bytes = (
            np.array(values, dtype=np.float64) for values in zip(*((of.nats, of.n_bytes) for of in found), strict=True)
        )
        result = replace(result, nats=nats, n_bytes=n_bytes)
    return result


def prompt_for(template: Template, case: Case, selection: Selection | None = None) -> Prompt:
    """Fill a template with a case's values.

    Raises:
        UserError: the case lacks one; the message names the case.
    """
    values = {name: case.variables[name] for name in template.variables if name in case.variables}
    try:
        return template.render(values, None if selection is None else selection(case))
    except UserError as error:
        raise UserError(f"{case.source}: {error}") from error


def compare(a: TemplateScores, b: TemplateScores, measure: Measure, seed: int = 0) -> Comparison | None:
    """Compare two templates by one measure, over the cases that both have a number for; None where there is none."""
    first, second = a.values(measure), b.values(measure)
    if first is None or second is None:
        return None
    both = ~(np.isnan(first) | np.isnan(second))
    first, second = first[both], second[both]
    if not first.size:
        return None
    higher_is_better = measure == "score"
    gains = second - first if higher_is_better else first - second
    wins = (gains > 0) + 0.5 * (gains == 0)
    return Comparison(
        a=a.template.name,
        b=b.template.name,
        measure=measure,
        difference=paired_bootstrap(first, second, higher_is_better=higher_is_better, seed=seed),
        b_better=share_interval(wins, seed=seed),
        n_cases=int(first.size),
        n_ties=int((gains == 0).sum()),
    )


def score_interval(scores: ArrayLike, seed: int = 0) -> Interval:
    """Mean of (n,) scores with its 95 % interval: by `share_interval` where all lie between 0 and 1, as a scorer's do;
    the bootstrap's for any others, such as log-likelihoods."""
    values = np.asarray(scores, dtype=np.float64)
    shares = bool(((values >= 0) & (values <= 1)).all())
    return share_interval(values, seed=seed) if shares else bootstrap_interval(values, seed=seed)


def choose_by_likelihood(
    backend: Backend, prompts: Sequence[Prompt], choices: Sequence[str], *, prefix: str = "", per_byte: bool = False
) -> list[str]:
    """Answer by the choice that the model finds most probable, as in Brown et al. (2020), "Language Models are Few-Shot
    Learners", §2.4: a classifier that answers even where the model's own words would be no label.

    Args:
        backend: the model.
        prompts: one a case.
        choices: the answers to choose among; of equals, the first.
        prefix: stands before each choice, such as a blank.
        per_byte: compare nats by byte, so that long choices are not at a disadvantage.

    Raises:
        UserError: no choices, or what the back end raises.
    """
    if not choices:
        raise UserError("there is no choice to choose among")
    found = backend.likelihood([(prompt, prefix + choice) for prompt in prompts for choice in choices])
    nats = np.array([of.nats / (of.n_bytes if per_byte else 1) for of in found]).reshape(len(prompts), len(choices))
    return [choices[int(index)] for index in nats.argmin(axis=1)]
