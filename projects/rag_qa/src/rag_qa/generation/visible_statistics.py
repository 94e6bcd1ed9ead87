"""How rare terms are among the passages that one user may see: what is hidden from a user changes none of the figures.

Whether a word of the question stands anywhere in the corpus, and how rare it is, has a say in the confidence of an
answer. Counted over everything, that tells whoever asks which words hidden documents hold.
"""

import copy
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.generation.words import terms
from rag_qa.protocols import AnswerGenerator
from rag_qa.types import Chunk, User

_MOST_KEPT = 32
"""Combinations of groups whose figures are kept ready."""


class Source(Protocol):
    """What is asked of an index."""

    @property
    def generation(self) -> int:
        """Changes with the content."""
        ...

    def all_chunks(self) -> Sequence[Chunk]:
        """All passages with their groups."""
        ...


class VisibleStatistics:
    """Term statistics by user, of the index as it is at present. A passage is cut into terms once. Safe for threads."""

    def __init__(self, index: Source) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._generation: int | None = None
        self._vocabulary: dict[str, int] = {}
        self._terms: dict[int, tuple[NDArray[np.int32], int]] = {}
        """By id of a passage: its different terms, and how many terms it has in all."""

        self._ids: dict[tuple[str, ...], list[int]] = {}
        """Ids of passages by the groups that may see them."""

        self._kept: dict[tuple[tuple[str, ...], ...], TermStatistics] = {}

    def of(self, user: User) -> TermStatistics:
        """Figures over the passages that the user may see."""
        with self._lock:
            if self._generation != self._index.generation:
                self._read()
            visible = set(user.visible_groups)
            classes = tuple(groups for groups in sorted(self._ids) if not visible.isdisjoint(groups))
            if classes not in self._kept:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[classes] = self._count([id for groups in classes for id in self._ids[groups]])
            return self._kept[classes]

    def _read(self) -> None:
        """Take up what has been added and forget what has gone."""
        generation = self._index.generation
        known, self._terms, self._ids, self._kept = self._terms, {}, {}, {}
        for chunk in self._index.all_chunks():
            self._ids.setdefault(chunk.groups, []).append(chunk.id)
            self._terms[chunk.id] = known.get(chunk.id) or self._numbered(terms(chunk.text))
        self._generation = generation

    def _numbered(self, words: Collection[str]) -> tuple[NDArray[np.int32], int]:
        numbers = {self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words}
        return np.fromiter(numbers, dtype=np.int32, count=len(numbers)), len(words)

    def _count(self, ids: Sequence[int]) -> TermStatistics:
        counts = np.zeros(len(self._vocabulary), dtype=np.int64)
        for id in ids:
            counts[self._terms[id][0]] += 1  # each term of a passage once, so no place is named twice
        n_terms = sum(self._terms[id][1] for id in ids)
        frequencies = {word: n for word, n in zip(self._vocabulary, counts.tolist(), strict=True) if n}
        return TermStatistics(len(ids), frequencies, n_terms / max(1, len(ids)))


def with_statistics(generator: AnswerGenerator, statistics: Callable[[], TermStatistics]) -> AnswerGenerator:
    """The same generator with other term statistics; one that reads no evidence stays as it is."""
    reader = getattr(generator, "reader", None)
    if reader is None:
        return generator
    other = copy.copy(generator)
    other.reader = copy.copy(reader)  # type: ignore[attr-defined]
    other.reader.statistics = statistics()  # type: ignore[attr-defined]
    return other
