"""Which range of an activation gets the integers: observers of the values that texts produce.

A wide range represents every value, coarsely; a narrow one cuts the few largest off (they saturate) and has finer
steps for all others. An observer sees the values of one tensor text by text, keeps a summary of fixed size, and gives
the range in the end.

- `MinMaxObserver` cuts nothing.
- `PercentileObserver` cuts a fixed share of the values.
- `EntropyObserver` cuts where the quantised distribution tells least from the original one.

Migacz 2017: 8-bit Inference with TensorRT (GTC, talk S7310).
Wu et al. 2020: Integer Quantization for Deep Learning Inference, §3.3, compares the three.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model_optimization.types import FloatArray

_BINS = 4096  # of a histogram, both sides of 0 together
_LEVELS = 128  # steps of an 8-bit integer on one side of 0


class Observer(Protocol):
    """Summary of the values of one tensor."""

    def observe(self, values: FloatArray) -> None:
        """Take in values, of any shape."""
        ...

    def range(self) -> tuple[float, float]:
        """Lowest and highest value that get an integer.

        Raises:
            ValueError: nothing was observed.
        """
        ...


class MinMaxObserver:
    """The smallest and the largest value seen."""

    def __init__(self) -> None:
        self.lowest, self.highest = np.inf, -np.inf

    def observe(self, values: FloatArray) -> None:
        """Take in values, of any shape."""
        if values.size:
            self.lowest = min(self.lowest, float(values.min()))
            self.highest = max(self.highest, float(values.max()))

    def range(self) -> tuple[float, float]:
        """Lowest and highest value that get an integer."""
        return _seen(self.lowest, self.highest)


class Histogram:
    """Counts of values in equal bins over [-limit, limit]. Memory does not grow with what is observed."""

    def __init__(self, bins: int = _BINS) -> None:
        if bins < 4 or bins % 4:
            raise ValueError(f"a histogram needs a multiple of 4 bins, not {bins}")
        self.counts = np.zeros(bins, dtype=np.int64)
        self.limit = 0.0
        self.lowest, self.highest = np.inf, -np.inf

    @property
    def edges(self) -> NDArray[np.float64]:
        """(bins + 1,) borders of the bins."""
        return np.linspace(-self.limit, self.limit, len(self.counts) + 1)

    def observe(self, values: FloatArray) -> None:
        """Count values; a value beyond the limit doubles it until it fits."""
        if not values.size:
            return
        largest = float(np.abs(values).max())
        if not self.limit:
            self.limit = largest
            self.counts[len(self.counts) // 2] = self.counts.sum()  # all zeros so far
        while largest > self.limit:
            self._double()
        self.counts += np.histogram(values, len(self.counts), range=(-self.limit, self.limit))[0]
        self.lowest, self.highest = min(self.lowest, float(values.min())), max(self.highest, float(values.max()))

    def magnitudes(self) -> NDArray[np.int64]:
        """(bins / 2,) counts of |value|, from 0 to limit."""
        half = len(self.counts) // 2
        return self.counts[half:] + self.counts[:half][::-1]

    def _double(self) -> None:
        """Merge pairs of bins: the old range becomes the middle half of the new one, and no count is guessed."""
        quarter = len(self.counts) // 4
        self.counts = np.pad(self.counts.reshape(-1, 2).sum(axis=1), quarter)
        self.limit *= 2


class PercentileObserver:
    """The middle `percentile` per cent of the values, half of the rest cut off at each end."""

    def __init__(self, percentile: float = 99.99, bins: int = _BINS) -> None:
        self.percentile = percentile
        self.histogram = Histogram(bins)

    def observe(self, values: FloatArray) -> None:
        """Take in values, of any shape."""
        self.histogram.observe(values)

    def range(self) -> tuple[float, float]:
        """Lowest and highest value that get an integer: borders of bins, so that the percentile lies within."""
        lowest, highest = _seen(self.histogram.lowest, self.histogram.highest)
        cut = (100 - self.percentile) / 200  # at each end
        share = np.cumsum(self.histogram.counts) / self.histogram.counts.sum()
        edges = self.histogram.edges
        left = edges[np.searchsorted(share, cut)]
        right = edges[min(int(np.searchsorted(share, 1 - cut)) + 1, len(edges) - 1)]
        return max(lowest, float(left)), min(highest, float(right))


class EntropyObserver:
    """The range whose quantised distribution has the least Kullback-Leibler divergence from the original (Migacz)."""

    def __init__(self, bins: int = _BINS, levels: int = _LEVELS) -> None:
        if bins // 2 < levels:
            raise ValueError(f"{bins} bins are too few for {levels} levels on each side of 0")
        self.levels = levels
        self.histogram = Histogram(bins)

    def observe(self, values: FloatArray) -> None:
        """Take in values, of any shape."""
        self.histogram.observe(values)

    def range(self) -> tuple[float, float]:
        """Lowest and highest value that get an integer."""
        lowest, highest = _seen(self.histogram.lowest, self.histogram.highest)
        counts = self.histogram.magnitudes()
        limit = self.histogram.limit * best_cut(counts, self.levels) / len(counts)
        return max(lowest, -limit), min(highest, limit)


def best_cut(counts: NDArray[np.int64], levels: int) -> int:
    """Number of bins to keep, from `levels` to all, that loses least information (Migacz 2017, p. 38).

    Args:
        counts: (bins,) histogram of magnitudes, from 0 upwards.
        levels: integers that the kept bins are merged into.
    """
    if not counts.any():
        return len(counts)
    return min(range(levels, len(counts) + 1), key=lambda kept: cut_divergence(counts, kept, levels))


def cut_divergence(counts: NDArray[np.int64], kept: int, levels: int) -> float:
    """KL(P || Q) when the first `kept` bins get the integers.

    P is the original with everything beyond added to its last bin, for that is where saturated values go. Q holds what
    is left of the kept bins after quantisation: they are merged into `levels` groups, whose counts are spread evenly
    over their bins again, empty ones aside.
    """
    original = counts[:kept].astype(np.float64)
    group = np.arange(kept) * levels // kept  # groups differ in size by one bin at most
    filled = original > 0
    merged = np.bincount(group, weights=original, minlength=levels)
    sharing = np.bincount(group, weights=filled, minlength=levels)
    quantised = np.where(filled, merged[group] / np.maximum(sharing[group], 1), 0)
    original[-1] += counts[kept:].sum()
    return _divergence(original, quantised)


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """KL(P || Q) in nats, of counts. Infinite where P has values that Q excludes."""
    if not q.any() or ((p > 0) & (q == 0)).any():
        return float("inf")
    p, q = p / p.sum(), q / q.sum()
    there = p > 0
    return float(np.sum(p[there] * np.log(p[there] / q[there])))


def _seen(lowest: float, highest: float) -> tuple[Any, Any]:
    if lowest > highest:
        raise ValueError("no value was observed")
    return lowest, highest
