"""Drift in a stream: windows of requests are compared with a reference, and the chance of a false alarm is kept.

Many detectors looked at many times would raise false alarms by sheer number. So every statistic is expressed in
standard deviations above its mean over windows without drift, and one threshold holds for the largest of them: the
quantile of that largest over windows drawn from the reference itself (the max-T of Westfall and Young 1993), at the
level that leaves the whole budget for all windows of the horizon. No assumption about the statistics' distributions or
their dependence is made.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from model_optimization.config.monitoring import MonitorConfig
from model_optimization.monitoring.detectors import Statistic, fit_detectors
from model_optimization.monitoring.observed import Observed
from roadmap_shared.errors import UserError


@dataclass(frozen=True, kw_only=True)
class WindowScore:
    """One window against the reference."""

    end: int
    """Requests of the stream that were seen when the window was full."""

    scores: Mapping[str, float]
    """Of each detector: standard deviations above its mean on windows without drift."""

    drift: bool
    largest: str
    """The detector that is farthest off."""


@dataclass(frozen=True, kw_only=True)
class DriftMonitor:
    """A reference with detectors that know how windows of it scatter."""

    window: int
    statistics: Mapping[str, Statistic]
    means: Mapping[str, float]
    deviations: Mapping[str, float]
    threshold: float
    """Of the largest score of all detectors."""

    own_thresholds: Mapping[str, float]
    """Of each detector if it watched alone, at the same budget."""

    columns: frozenset[str]

    @classmethod
    def fit(cls, reference: Observed, config: MonitorConfig) -> "DriftMonitor":
        """Learn the reference and how far its own windows scatter.

        Raises:
            UserError: the reference is shorter than three windows.
        """
        if len(reference) < 3 * config.window:
            raise UserError(
                f"the reference has {len(reference)} records: windows of {config.window} need at least "
                f"{3 * config.window}. Collect more, or give a smaller --monitor.window"
            )
        random = np.random.default_rng(config.seed)
        if len(reference) > config.max_reference:
            reference = reference.rows(random.permutation(len(reference))[: config.max_reference])
        values = _calibration(reference, config, random)  # (C, number of detectors)
        names = list(fit_detectors(reference.rows(slice(0, config.window))))
        means, spread = values.mean(axis=0), values.std(axis=0)
        # A statistic that never varied, as where no word was unknown, is measured in requests of a window.
        deviations = np.where(spread > 1e-9, spread, 1 / config.window)
        scores = (values - means) / deviations
        level = config.false_alarms / config.n_windows
        return cls(
            window=config.window,
            statistics=fit_detectors(reference),
            means=dict(zip(names, means.tolist(), strict=True)),
            deviations=dict(zip(names, deviations.tolist(), strict=True)),
            threshold=_upper_quantile(scores.max(axis=1), level),
            own_thresholds={name: _upper_quantile(scores[:, place], level) for place, name in enumerate(names)},
            columns=frozenset(reference.names),
        )

    def score(self, window: Observed, end: int = 0) -> WindowScore:
        """Compare one window with the reference."""
        scores = {
            name: (statistic(window) - self.means[name]) / self.deviations[name]
            for name, statistic in self.statistics.items()
        }
        largest = max(scores, key=lambda name: scores[name])
        return WindowScore(end=end, scores=scores, drift=scores[largest] > self.threshold, largest=largest)

    def watch(self, stream: Observed) -> Iterator[WindowScore]:
        """Score each whole window of a stream in turn; what is left at its end waits for more."""
        for start in range(0, len(stream) - self.window + 1, self.window):
            end = start + self.window
            yield self.score(stream.rows(slice(start, end)), end)


def _calibration(reference: Observed, config: MonitorConfig, random: np.random.Generator) -> np.ndarray:
    """(C, number of detectors) statistics of windows without drift.

    The reference is divided at random again and again: one part is compared with, and the windows are cut from the
    other. No two windows of a division share a request, as in a stream: drawn from a small part, they would be alike,
    and their largest statistic too small.
    """
    per_division = max(1, len(reference) // 2 // config.window)
    rows: list[list[float]] = []
    while len(rows) < config.calibration:
        divided = reference.rows(random.permutation(len(reference)))
        statistics = fit_detectors(divided.rows(slice(per_division * config.window, None)))
        for start in range(0, per_division * config.window, config.window):
            window = divided.rows(slice(start, start + config.window))
            rows.append([statistic(window) for statistic in statistics.values()])
    return np.array(rows[: config.calibration])


def _upper_quantile(values: np.ndarray, level: float) -> float:
    """The value that one more draw exceeds with at most this chance: of C values the ceil((C + 1)(1 - level))-th."""
    place = math.ceil((len(values) + 1) * (1 - level))
    # Where nothing varies, rounding must not decide.
    return max(1e-6, float(np.sort(values)[min(place, len(values)) - 1]))
