"""A whole log against a reference: every test once, corrected for being many, and the windows in their order."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model_optimization.config.monitoring import MonitorConfig
from model_optimization.monitoring.drift_detection import chi_square_test, counts_of, holm, ks_test, psi_test
from model_optimization.monitoring.drift_monitor import DriftMonitor, WindowScore
from model_optimization.monitoring.mmd import mmd_test
from model_optimization.monitoring.observed import Observed
from model_optimization.monitoring.text_features import Vocabulary

_MMD_VECTORS = 400


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One test of the whole log."""

    feature: str
    test: str
    statistic: float
    p_value: float
    corrected: float
    """p-value after Holm's correction for all the tests."""

    drift: bool
    reference: str
    """The feature in the reference, in short."""

    current: str


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """What `drift` says."""

    n_reference: int
    n_current: int
    alpha: float
    findings: tuple[Finding, ...]
    windows: tuple[WindowScore, ...]
    threshold: float
    monitor: MonitorConfig

    @property
    def first_alarm(self) -> WindowScore | None:
        """The first window that is off."""
        return next((window for window in self.windows if window.drift), None)

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        first = self.first_alarm
        return asdict(self) | {"first_alarm": None if first is None else asdict(first)}


def compare(reference: Observed, current: Observed, config: MonitorConfig, alpha: float) -> DriftReport:
    """Test everything that both have.

    Raises:
        UserError: the reference is shorter than three windows.
    """
    names = reference.names & current.names
    reference, current = reference.only(names), current.only(names)
    monitor = DriftMonitor.fit(reference, config)
    tests = [*_number_tests(reference, current), *_label_test(reference, current), *_mmd(reference, current, config)]
    corrected = holm([p_value for _, _, _, p_value, _, _ in tests])
    return DriftReport(
        n_reference=len(reference),
        n_current=len(current),
        alpha=alpha,
        findings=tuple(
            Finding(
                feature=feature,
                test=test,
                statistic=statistic,
                p_value=p_value,
                corrected=p,
                drift=p <= alpha,
                reference=before,
                current=after,
            )
            for (feature, test, statistic, p_value, before, after), p in zip(tests, corrected, strict=True)
        ),
        windows=tuple(monitor.watch(current)),
        threshold=monitor.threshold,
        monitor=config,
    )


_Test = tuple[str, str, float, float, str, str]


def _number_tests(reference: Observed, current: Observed) -> list[_Test]:
    tests: list[_Test] = []
    for feature, before, after in _numbers(reference, current):
        shown = f"median {np.median(before):.3g}", f"median {np.median(after):.3g}"
        ks, index = ks_test(before, after), psi_test(before, after)
        tests += [
            (feature, "KS", ks.statistic, ks.p_value, *shown),
            (feature, "PSI", index.statistic, index.p_value, *shown),
        ]
    return tests


def _numbers(reference: Observed, current: Observed) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, values of the reference, values of the log."""
    found = []
    for name, feature in (("lengths", "length"), ("tokens", "tokens"), ("confidence", "confidence")):
        before, after = getattr(reference, name), getattr(current, name)
        if before is not None:
            found.append((feature, before, after))
    if reference.words is not None and current.words is not None:
        # The words of one half are what is known; the other half shows how many are unknown without drift.
        known = Vocabulary(reference.words[0::2])
        before, after = (
            np.array([known.unknown_share(words) for words in texts])
            for texts in (reference.words[1::2], current.words)
        )
        found.append(("unknown words", before, after))
    return found


def _label_test(reference: Observed, current: Observed) -> list[_Test]:
    if reference.labels is None or current.labels is None:
        return []
    before, after = reference.labels.tolist(), current.labels.tolist()
    known = {label: place for place, label in enumerate(sorted(set(before) | set(after)))}
    reference_counts, counts = counts_of(before, known), counts_of(after, known)
    result = chi_square_test(reference_counts, counts)
    shown = _shares(reference_counts, list(known)), _shares(counts, list(known))
    return [("labels", "chi-square", result.statistic, result.p_value, *shown)]


def _shares(counts: np.ndarray, names: Sequence[str]) -> str:
    order = np.argsort(-counts[: len(names)], kind="stable")[:3]
    return ", ".join(f"{names[place]} {counts[place] / counts.sum():.0%}" for place in order)


def _mmd(reference: Observed, current: Observed, config: MonitorConfig) -> list[_Test]:
    if reference.embeddings is None or current.embeddings is None:
        return []
    random = np.random.default_rng(config.seed)
    samples = [
        seen[random.permutation(len(seen))[:_MMD_VECTORS]] for seen in (reference.embeddings, current.embeddings)
    ]
    result = mmd_test(samples[0], samples[1], seed=config.seed)
    return [("embeddings", "MMD", result.statistic, result.p_value, "", "")]
