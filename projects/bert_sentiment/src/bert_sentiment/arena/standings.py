"""What the trials of a method add up to, and how it stands against the best one.

Shapes: N test texts, K labels, S seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal, get_args

import numpy as np

from bert_sentiment.arena.training import best_rate, final_trials, tuning_trials
from bert_sentiment.arena.trials import TrialResult, read_dead_end, read_result
from bert_sentiment.config import ArenaConfig, MethodName
from roadmap_shared.metrics import (
    Interval,
    PairedComparison,
    bootstrap_interval,
    macro_f1,
    mean_and_spread,
    paired_bootstrap,
)

Edge = Literal["lowest", "highest", "only one"]


@dataclass(frozen=True, kw_only=True)
class RateScore:
    """A rate of the grid: its validation metric, or how it failed."""

    rate: float
    validation: float | None
    best_step: int
    failure: str | None
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A method that could be trained."""

    method: MethodName
    trained: int
    total: int
    rate: float
    edge: Edge | None
    """Which end of the grid the best rate is, where a rate beyond it may be better; None for one from within."""

    steps: int
    seconds_per_step: float | None
    peak_memory_mb: float | None
    file_bytes: int
    forgetting: float
    correct: np.ndarray
    """(N,) share of the seeds that label each text right."""

    accuracy: Interval
    """Mean over the seeds; the interval is over texts."""

    accuracy_spread: float
    """Standard deviation over the seeds."""

    macro_f1: float
    macro_f1_spread: float
    against_best: PairedComparison | None = None
    """Accuracy minus that of the best method on the same texts; None for the best itself."""

    @property
    def share(self) -> float:
        """Trained share of all numbers that the network computes with."""
        return self.trained / self.total

    @property
    def is_told_apart(self) -> bool:
        """Whether it is worse than the best: the interval of the difference does not hold 0."""
        return self.against_best is not None and not self.against_best.low <= 0 <= self.against_best.high


@dataclass(frozen=True)
class Standings:
    """The outcome: methods from the best to the worst, dead ends with their reasons, the rates tried."""

    ranked: Sequence[Standing]
    dead_ends: Mapping[MethodName, str]
    rates: Mapping[MethodName, Sequence[RateScore]]

    @property
    def indistinguishable(self) -> list[Standing]:
        """The best method and those that cannot be told from it."""
        return [standing for standing in self.ranked if not standing.is_told_apart]


def standings(config: ArenaConfig, arena: Path, targets: Sequence[int], killed: Mapping[MethodName, str]) -> Standings:
    """Read the trials of all methods.

    Args:
        config: of the arena.
        arena: folder of the trials.
        targets: (N,) right labels of the test texts.
        killed: methods whose process was ended from outside, with the reason.
    """
    found: list[Standing] = []
    dead_ends: dict[MethodName, str] = {}
    for method in config.arena.methods:
        outcome = killed.get(method) or read_dead_end(arena, method) or _standing(config, method, arena, targets)
        if isinstance(outcome, Standing):
            found.append(outcome)
        else:
            dead_ends[method] = outcome
    ranked = sorted(found, key=lambda standing: (-standing.accuracy.estimate, standing.trained))
    if ranked:
        ranked[1:] = [against(standing, ranked[0], config.evaluation.n_resamples) for standing in ranked[1:]]
    rates: dict[MethodName, list[RateScore]] = {}
    for method in config.arena.methods:
        if scores := rate_scores(config, method, arena):
            rates[method] = scores
    return Standings(ranked, dead_ends, rates)


def against(standing: Standing, best: Standing, n_resamples: int) -> Standing:
    """The standing with its paired difference to the best on the same texts, the seeds of each averaged per text."""
    difference = paired_bootstrap(best.correct, standing.correct, n_resamples=n_resamples)
    return replace(standing, against_best=difference)


def edge_of(rate: float, grid: Sequence[float]) -> Edge | None:
    """Which end of the ascending grid the rate is."""
    if rate not in (grid[0], grid[-1]):
        return None
    if len(grid) == 1:
        return "only one"
    return "lowest" if rate == grid[0] else "highest"


def edge_remark(ranked: Sequence[Standing]) -> str | None:
    """One line on the methods whose best rate lies at an end of its grid; None where none does."""
    parts = []
    for edge in get_args(Edge):
        if methods := [standing.method for standing in ranked if standing.edge == edge]:
            parts.append(f"the {edge} of its grid for {', '.join(methods)}")
    if not parts:
        return None
    return f"The chosen learning rate is {'; '.join(parts)}: one beyond it may be better still"


def rate_scores(config: ArenaConfig, method: MethodName, arena: Path) -> list[RateScore]:
    """The method's grid as far as it was trained, lowest rate first."""
    chosen = best_rate(config, method, arena)
    return [
        RateScore(
            rate=trial.rate,
            validation=result.validation,
            best_step=result.best_step,
            failure=result.failure,
            chosen=trial.rate == chosen,
        )
        for trial in tuning_trials(config, method)
        if (result := read_result(trial.folder(arena))) is not None
    ]


def _standing(config: ArenaConfig, method: MethodName, arena: Path, targets: Sequence[int]) -> Standing | str:
    """The method's figures, or why there are none."""
    rate = best_rate(config, method, arena)
    tuned = [read_result(trial.folder(arena)) for trial in tuning_trials(config, method)]
    if rate is None:
        failures = [result.failure for result in tuned if result and result.failure]
        return f"no rate of --rates.{method} could be trained with: {failures[0] if failures else 'none was tried'}"
    finals = [(trial, read_result(trial.folder(arena))) for trial in final_trials(config, method, rate)]
    results = []
    for trial, result in finals:
        if result is None or result.failure is not None:
            reason = result.failure if result else "it has not ended"
            return f"the training at rate {rate:g} from seed {trial.seed} failed: {reason}"
        results.append(result)
    return summarise(config, method, rate, results, [result for result in tuned if result], targets)


def summarise(
    config: ArenaConfig,
    method: MethodName,
    rate: float,
    finals: Sequence[TrialResult],
    tuned: Sequence[TrialResult],
    targets: Sequence[int],
) -> Standing:
    """One line of the table from the tested trainings, and the costs from all of them."""
    predicted = np.stack([result.probabilities.argmax(axis=1) for result in finals if result.probabilities is not None])
    right = predicted == np.array(targets)  # (S, N)
    n_labels = finals[0].probabilities.shape[1] if finals[0].probabilities is not None else 0
    accuracy, accuracy_spread = mean_and_spread(right.mean(axis=1))
    f1, f1_spread = mean_and_spread([macro_f1(row, targets, n_labels) for row in predicted])
    correct = right.mean(axis=0)  # (N,)
    interval = bootstrap_interval(correct, n_resamples=config.evaluation.n_resamples)
    every = [*tuned, *finals]
    return Standing(
        method=method,
        trained=finals[0].trained,
        total=finals[0].total,
        rate=rate,
        edge=edge_of(rate, config.rates.of(method)),
        steps=finals[0].steps,
        seconds_per_step=_known(median, [result.seconds_per_step for result in every]),
        peak_memory_mb=_known(max, [result.peak_memory_mb for result in every]),
        file_bytes=finals[0].file_bytes or 0,
        forgetting=float(np.mean([result.forgetting for result in finals if result.forgetting is not None])),
        correct=correct,
        accuracy=Interval(accuracy, interval.low, interval.high),
        accuracy_spread=accuracy_spread,
        macro_f1=f1,
        macro_f1_spread=f1_spread,
    )


def _known(statistic: Callable[[Sequence[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistic(known)) if known else None
