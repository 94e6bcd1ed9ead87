"""How long a batch takes: seconds = a * n + b for n texts, fitted online for each class of lengths.

`b` is what a run costs however few texts it has, and `a` what each text adds. A queue that knows both can tell whether
to wait for more texts, how many are worth sharing a run, and how long those who wait will wait.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

CLASSES = (16, 32, 64, 128, 256, 512)
"""Tokens of the longest text of a batch, up to which it belongs to a class. Padding makes a batch as long as that."""

_MEMORY = 0.98
"""Weight that each observation loses with the next one: a server that slows down is followed within some 50 batches."""

_OUTLIER = 3.0
"""An observation above so many times the expected one counts as that: the machine was busy with something else."""

_USEFUL_SHARE = 0.05
_LEAST_USEFUL = 4


@dataclass
class _Sums:
    """Weighted sums of the least-squares fit of t = a * n + b."""

    weight: float = 0.0
    n: float = 0.0
    nn: float = 0.0
    t: float = 0.0
    nt: float = 0.0

    def add(self, n: float, t: float, memory: float) -> None:
        self.weight = self.weight * memory + 1
        self.n = self.n * memory + n
        self.nn = self.nn * memory + n * n
        self.t = self.t * memory + t
        self.nt = self.nt * memory + n * t

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(
            self.weight + other.weight, self.n + other.n, self.nn + other.nn, self.t + other.t, self.nt + other.nt
        )


@dataclass
class _Class:
    lasting: _Sums = field(default_factory=_Sums)
    recent: _Sums = field(default_factory=_Sums)


class LatencyModel:
    """Belongs to the thread that observes; others may read."""

    def __init__(self, classes: Sequence[int] = CLASSES) -> None:
        self.classes = tuple(classes)
        self._observed = [_Class() for _ in self.classes]
        self._fits: list[tuple[float, float] | None] = [None] * len(self.classes)

    def class_of(self, tokens: int) -> int:
        """Index of the class of a batch whose longest text has so many tokens."""
        return min(bisect_left(self.classes, tokens), len(self.classes) - 1)

    def observe(self, n: int, tokens: int, seconds: float, *, lasting: bool = False) -> None:
        """Learn from one batch.

        Args:
            n: its texts.
            tokens: of its longest text.
            seconds: that it took.
            lasting: it never loses weight. Batches of several sizes at the start are kept so, because a load that
                makes all batches equally large would tell `a` and `b` apart no longer.
        """
        index = self.class_of(tokens)
        if self._fits[index] is not None and not lasting:
            seconds = min(seconds, _OUTLIER * self.seconds(n, tokens))
        observed = self._observed[index]
        (observed.lasting if lasting else observed.recent).add(n, seconds, 1.0 if lasting else _MEMORY)
        self._fits[index] = fit(observed.lasting + observed.recent)

    def coefficients(self, tokens: int) -> tuple[float, float]:
        """(a, b), both in seconds. A class without a batch yet is taken to be like the nearest one that has some, each
        text as much slower as it is longer; (0, 0) before the first batch of all."""
        index = self.class_of(tokens)
        seen = [other for other, found in enumerate(self._fits) if found is not None]
        if not seen:
            return 0.0, 0.0
        nearest = min(seen, key=lambda other: abs(other - index))
        a, b = self._fits[nearest] or (0.0, 0.0)
        return a * self.classes[index] / self.classes[nearest], b

    def seconds(self, n: int, tokens: int) -> float:
        """Expected time of a batch."""
        a, b = self.coefficients(tokens)
        return a * n + b

    def useful_batch(self, tokens: int, most: int) -> int:
        """Texts of a batch beyond which one more only makes the others wait: the fixed cost is below 5 % there."""
        a, b = self.coefficients(tokens)
        if a <= 0:
            return most
        return min(most, max(_LEAST_USEFUL, round(b * (1 - _USEFUL_SHARE) / (_USEFUL_SHARE * a))))

    def table(self) -> dict[str, dict[str, float]]:
        """Milliseconds a text and a batch by the class's tokens, of the classes that were seen."""
        return {
            str(most): {"per_text_ms": round(found[0] * 1e3, 3), "per_batch_ms": round(found[1] * 1e3, 3)}
            for most, found in zip(self.classes, self._fits, strict=True)
            if found is not None
        }


def fit(sums: _Sums) -> tuple[float, float]:
    """Weighted least squares of t = a * n + b with a, b >= 0. Batches of one size do not tell b, which is 0 then."""
    spread = sums.weight * sums.nn - sums.n**2
    through_origin = sums.nt / sums.nn
    if spread <= 1e-9 * sums.weight * sums.nn:
        return through_origin, 0.0
    a = (sums.weight * sums.nt - sums.n * sums.t) / spread
    b = (sums.t - a * sums.n) / sums.weight
    if a < 0:
        return 0.0, sums.t / sums.weight
    return (through_origin, 0.0) if b < 0 else (a, b)


def probe(run: Callable[[int, int], float], model: LatencyModel, max_tokens: int, max_batch: int) -> None:
    """Fill a model with batches of several sizes and lengths.

    Args:
        run: computes n texts of so many tokens and returns the seconds.
        model: learns them.
        max_tokens: tokens of the longest text that is ever computed.
        max_batch: texts of the largest batch.
    """
    lengths = [most for most in model.classes if most < max_tokens] + [max_tokens]
    for tokens in lengths:
        run(1, tokens)  # the first run of a shape allocates memory, which later ones find
        for n in sorted({1, min(4, max_batch), min(8, max_batch)}):
            for _ in range(2):
                model.observe(n, tokens, run(n, tokens), lasting=True)
