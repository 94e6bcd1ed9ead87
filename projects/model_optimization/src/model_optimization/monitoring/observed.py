"""What a drift detector sees of requests: texts, answers, confidence, embeddings. N requests, D wide embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model_optimization.monitoring.log_database import LogTable
from model_optimization.monitoring.text_features import SCRIPTS, script_counts, words_of

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Requests as columns. A column of None was not observed, and its detectors are left out."""

    lengths: Array | None = None
    """(N,) characters."""

    tokens: Array | None = None
    """(N,) tokens, where texts are not kept."""

    labels: NDArray[np.object_] | None = None
    """(N,) predicted labels, str."""

    confidence: Array | None = None
    """(N,) probability of the predicted label."""

    words: NDArray[np.object_] | None = None
    """(N,) tuples of words."""

    scripts: Array | None = None
    """(N, S) characters of each script."""

    embeddings: Array | None = None
    """(N, D)"""

    def __len__(self) -> int:
        return next(len(column) for column in self._columns().values() if column is not None)

    def rows(self, chosen: np.ndarray | slice) -> "Observed":
        """Those that a mask, indices or a slice choose."""
        return Observed(**{
            name: None if column is None else column[chosen] for name, column in self._columns().items()
        })  # fmt: skip

    def only(self, names: set[str]) -> "Observed":
        """With the named columns alone."""
        return Observed(**{name: column for name, column in self._columns().items() if name in names})

    @property
    def names(self) -> set[str]:
        """Columns that are there."""
        return {name for name, column in self._columns().items() if column is not None}

    def _columns(self) -> dict[str, np.ndarray | None]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def observe(
    texts: Sequence[str] | None = None,
    *,
    labels: Sequence[str] | None = None,
    confidence: Sequence[float] | Array | None = None,
    embeddings: Array | None = None,
) -> Observed:
    """What there is of N requests."""
    return Observed(
        lengths=None if texts is None else np.array([len(text) for text in texts], dtype=np.float64),
        labels=None if labels is None else _objects(labels),
        confidence=None if confidence is None else np.asarray(confidence, dtype=np.float64),
        words=None if texts is None else _objects([words_of(text) for text in texts]),
        scripts=None
        if texts is None
        else np.array([script_counts(text) for text in texts]).reshape(len(texts), len(SCRIPTS)),
        embeddings=None if embeddings is None else np.asarray(embeddings, dtype=np.float64),
    )


def observed_in(table: LogTable, embeddings: Array | None = None) -> Observed:
    """What a log tells of its answered requests: of their texts where all were kept, else of their tokens."""
    has_texts = len(table) > 0 and all(text is not None for text in table.text)
    seen = observe(
        [str(text) for text in table.text] if has_texts else None,
        labels=[str(label) for label in table.label],
        # An answer without probabilities has no confidence, and a sorted column has no place for it.
        confidence=None if np.isnan(table.confidence).any() else table.confidence,
        embeddings=embeddings,
    )
    return seen if has_texts else replace(seen, tokens=table.n_tokens.astype(np.float64))


def _objects(values: Sequence[object]) -> NDArray[np.object_]:
    """(N,) array of the values, whatever their lengths."""
    column = np.empty(len(values), dtype=object)
    column[:] = list(values)
    return column
