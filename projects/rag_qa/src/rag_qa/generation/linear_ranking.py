"""A linear model that ranks alternatives, trained on gains by conditional logit.

Of the alternatives of one question, alternative i is chosen with probability softmax_i(w · x_i) (McFadden 1974,
"Conditional Logit Analysis of Qualitative Choice Behavior"). Training raises log Σ_i p_i g_i, the logarithm of the
gain to be expected, where a gain is 1 for a right alternative and 0 for a wrong one, or F1 in between.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Features = Mapping[str, float]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LinearRanker:
    """Weights by feature name; a feature without one counts nothing."""

    weights: Mapping[str, float]
    origin: Mapping[str, str] = field(default_factory=dict)
    """What the weights were fitted on, and with which command."""

    def score(self, features: Features) -> float:
        """w · x."""
        weights = self.weights
        return sum(weights[name] * value for name, value in features.items() if name in weights)

    def dump(self) -> str:
        """As JSON."""
        weights = {name: round(value, 4) for name, value in sorted(self.weights.items()) if round(value, 4)}
        return json.dumps({"origin": dict(self.origin), "weights": weights}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def load(cls, path: Path) -> "LinearRanker":
        """Read what `dump` gave."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(content["weights"], content["origin"])


def fit(
    groups: Sequence[tuple[Sequence[Features], Sequence[float]]],
    l2: float = 1.0,
    n_steps: int = 200,
    min_questions: int = 1,
    unpenalised: frozenset[str] = frozenset(),
) -> dict[str, float]:
    """Weights of least loss: -Σ_q log Σ_i p_i g_i + l2 / 2 · |scaled w|².

    The features are scaled to a standard deviation of 1 for the penalty, and the weights scaled back.

    Args:
        groups: for each question the features of its alternatives and their gains, 0 to 1. A question of which no
            alternative gains anything says nothing and is left out.
        l2: strength of the penalty, against the sum over the questions.
        min_questions: features of fewer questions are left out.
        unpenalised: features whose weights are not drawn to 0.
        n_steps: steps of Adam (Kingma & Ba 2015) over all questions at once.
    """
    used = [(rows, gains) for rows, gains in groups if any(gains)]
    counts = Counter(name for rows, _ in used for name in {name for row in rows for name in row})
    names = sorted(name for name, n_questions in counts.items() if n_questions >= min_questions)
    column = {name: i for i, name in enumerate(names)}
    table = _Table.of([row for rows, _ in used for row in rows], column)
    starts = np.cumsum([0, *(len(rows) for rows, _ in used)])[:-1]
    gains = np.concatenate([np.asarray(of_question, dtype=np.float64) for _, of_question in used])
    penalty = np.array([0.0 if name in unpenalised else l2 for name in names])
    w = _minimise(table, gains, starts, penalty, n_steps)
    return {name: float(value) for name, value in zip(names, w / table.scale, strict=True)}


@dataclass(frozen=True)
class _Table:
    """(A, F) features, scaled to a standard deviation of 1, of which only those that are not 0 are kept."""

    values: FloatArray
    columns: NDArray[np.int64]
    rows: NDArray[np.int64]
    shape: tuple[int, int]
    scale: FloatArray

    @classmethod
    def of(cls, alternatives: Sequence[Features], column: Mapping[str, int]) -> "_Table":
        entries = [
            (i, column[name], value)
            for i, row in enumerate(alternatives)
            for name, value in row.items()
            if value and name in column
        ]
        rows = np.array([entry[0] for entry in entries], dtype=np.int64)
        columns = np.array([entry[1] for entry in entries], dtype=np.int64)
        values = np.array([entry[2] for entry in entries], dtype=np.float64)
        n, n_features = len(alternatives), len(column)
        mean = np.bincount(columns, values, n_features) / n
        spread = np.sqrt(np.maximum(np.bincount(columns, values**2, n_features) / n - mean**2, 0)) + 1e-6
        return cls(values / spread[columns], columns, rows, (n, n_features), spread)

    def times(self, w: FloatArray) -> FloatArray:
        """X w, (A,)."""
        return np.bincount(self.rows, self.values * w[self.columns], self.shape[0]).astype(np.float64)

    def transposed_times(self, r: FloatArray) -> FloatArray:
        """X' r, (F,)."""
        return np.bincount(self.columns, self.values * r[self.rows], self.shape[1]).astype(np.float64)


def _minimise(
    table: _Table, gains: FloatArray, starts: NDArray[np.int64], penalty: FloatArray, n_steps: int
) -> FloatArray:
    n_groups = len(starts)
    sizes = np.diff(np.append(starts, table.shape[0]))
    w, first, second = np.zeros((3, table.shape[1]))
    for step in range(1, n_steps + 1):
        scores = table.times(w)
        p = _shares(np.exp(scores - np.repeat(np.maximum.reduceat(scores, starts), sizes)), starts, sizes)
        posterior = _shares(p * gains + 1e-12 * gains, starts, sizes)
        gradient = (table.transposed_times(p - posterior) + penalty * w) / n_groups
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        rate = 0.05 * min(1.0, 2 * (1 - step / (n_steps + 1)))
        w = w - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
    return w


def _shares(values: FloatArray, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> FloatArray:
    """Each value as a share of its group's sum."""
    return values / np.repeat(np.add.reduceat(values, starts), sizes)
