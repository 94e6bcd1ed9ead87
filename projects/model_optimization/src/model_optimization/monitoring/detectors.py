"""Detectors: each learns a reference and then tells how far a window is from it. n requests of the reference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from model_optimization.monitoring.drift_detection import (
    Array,
    bin_counts,
    chi_square_test,
    counts_of,
    jensen_shannon,
    ks_statistic,
    psi,
    quantile_edges,
)
from model_optimization.monitoring.mmd import gaussian_kernel, mean_off_diagonal, median_bandwidth
from model_optimization.monitoring.observed import Observed
from model_optimization.monitoring.text_features import Vocabulary

_KERNEL_SIDE = 200
"""Vectors of the reference, at most, that the discrepancy is computed with."""

Statistic = Callable[[Observed], float]
"""Of a window: the larger, the farther from the reference."""


@dataclass(frozen=True)
class Detector:
    """A statistic and the column that it looks at."""

    column: str
    fit: Callable[[Observed], Statistic]


def _given(column: np.ndarray | None) -> np.ndarray:
    assert column is not None, "detectors are only asked about columns that are there"
    return column


def _ks(name: str) -> Callable[[Observed], Statistic]:
    def fit(reference: Observed) -> Statistic:
        ordered = np.sort(_given(getattr(reference, name)))
        return lambda window: ks_statistic(ordered, _given(getattr(window, name)))

    return fit


def _psi(name: str) -> Callable[[Observed], Statistic]:
    def fit(reference: Observed) -> Statistic:
        values = _given(getattr(reference, name))
        edges = quantile_edges(values)
        counts = bin_counts(values, edges)
        # The root of a sum of squares is nearer to a normal distribution, which one threshold for all needs.
        return lambda window: psi(counts, bin_counts(_given(getattr(window, name)), edges)) ** 0.5

    return fit


def _labels_chi_square(reference: Observed) -> Statistic:
    known = {label: place for place, label in enumerate(sorted(set(_given(reference.labels))))}
    counts = counts_of(_given(reference.labels).tolist(), known)

    def statistic(window: Observed) -> float:
        labels = _given(window.labels).tolist()
        return (chi_square_test(counts, counts_of(labels, known)).statistic / len(labels)) ** 0.5

    return statistic


def _unknown_words_ks(reference: Observed) -> Statistic:
    """Half of the reference is looked up in the words of the other half: in its own, none would be unknown."""
    words = _given(reference.words)
    known = Vocabulary(words[0::2])
    ordered = np.sort([known.unknown_share(text) for text in words[1::2]])
    return lambda window: ks_statistic(ordered, np.array([known.unknown_share(text) for text in _given(window.words)]))


def _vocabulary_shift(reference: Observed) -> Statistic:
    vocabulary = Vocabulary(_given(reference.words))
    counts = vocabulary.counts(_given(reference.words))
    return lambda window: _distance(counts, vocabulary.counts(_given(window.words)))


def _script_shift(reference: Observed) -> Statistic:
    counts = _given(reference.scripts).sum(axis=0)
    return lambda window: _distance(counts, _given(window.scripts).sum(axis=0))


def _distance(reference: Array, window: Array) -> float:
    """Jensen-Shannon distance of two counts: the divergence's root. Texts without a character are as far as can be."""
    return jensen_shannon(reference, window) ** 0.5 if window.sum() else 1.0


def _embeddings_mmd(reference: Observed) -> Statistic:
    everything = _given(reference.embeddings)
    # Evenly from its beginning to its end: the time of a kernel matrix grows with the square of its side.
    vectors = everything[:: -(-len(everything) // _KERNEL_SIDE)]
    bandwidth = median_bandwidth(vectors)
    within = mean_off_diagonal(gaussian_kernel(vectors, vectors, bandwidth))

    def statistic(window: Observed) -> float:
        others = _given(window.embeddings)
        between = gaussian_kernel(vectors, others, bandwidth).mean()
        return within + mean_off_diagonal(gaussian_kernel(others, others, bandwidth)) - 2 * float(between)

    return statistic


DETECTORS: Mapping[str, Detector] = {
    "length KS": Detector("lengths", _ks("lengths")),
    "length PSI": Detector("lengths", _psi("lengths")),
    "tokens KS": Detector("tokens", _ks("tokens")),
    "confidence KS": Detector("confidence", _ks("confidence")),
    "confidence PSI": Detector("confidence", _psi("confidence")),
    "labels chi-square": Detector("labels", _labels_chi_square),
    "unknown words KS": Detector("words", _unknown_words_ks),
    "vocabulary JS": Detector("words", _vocabulary_shift),
    "scripts JS": Detector("scripts", _script_shift),
    "embeddings MMD": Detector("embeddings", _embeddings_mmd),
}


def fit_detectors(reference: Observed) -> dict[str, Statistic]:
    """The statistic of every detector whose column the reference has."""
    return {name: detector.fit(reference) for name, detector in DETECTORS.items() if detector.column in reference.names}
