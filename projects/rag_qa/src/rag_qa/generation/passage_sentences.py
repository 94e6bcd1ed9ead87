"""Passages cut into sentences, with the vectors of these: what costs most of an answer, and so is kept for a while."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from rag_qa.generation.statements import StatementSpan, statement_spans
from rag_qa.protocols import Encoder, FloatArray

KEPT_PASSAGES = 2048
"""About 20 kB each with MiniLM."""


@dataclass(frozen=True)
class PassageSentences:
    """One passage: its statements, and their vectors of length 1."""

    statements: Sequence[StatementSpan]
    vectors: FloatArray
    """(n_statements, D)"""

    def cosines(self, query: FloatArray) -> FloatArray:
        """(3, n_statements) similarity of a question with each statement, with it and the one before, and with it and
        the one behind."""
        together = (self.vectors, _with_neighbour(self.vectors, -1), _with_neighbour(self.vectors, 1))
        return np.stack([vectors @ query for vectors in together])


class SentenceMemory:
    """The passages that were read last, with one encoder. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, tuple[str, ...]], PassageSentences] = OrderedDict()

    def read(self, encoder: Encoder, text: str, headings: tuple[str, ...]) -> PassageSentences:
        """A passage cut and encoded, or what is kept of it."""
        key = (text, headings)
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            statements = statement_spans(text, headings)
            vectors = encoder.encode([text[statement.start : statement.end] for statement in statements])
            kept = PassageSentences(statements, vectors)
        with self._lock:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_PASSAGES:
                self._kept.popitem(last=False)
        return kept


_MEMORIES: "WeakKeyDictionary[Encoder, SentenceMemory]" = WeakKeyDictionary()


def memory_of(encoder: Encoder) -> SentenceMemory:
    """One memory for all that read with an encoder: calibrating and answering meet the same passages."""
    return _MEMORIES.setdefault(encoder, SentenceMemory())


def _with_neighbour(vectors: FloatArray, step: int) -> FloatArray:
    """(N, D) directions of each sentence together with the one before (-1) or behind (1) it: that of the sum of their
    vectors; the sentence's own where there is none."""
    together = vectors.copy()
    if len(vectors) > 1:
        own, other = (slice(1, None), slice(None, -1)) if step < 0 else (slice(None, -1), slice(1, None))
        together[own] += vectors[other]
    return together / np.maximum(np.linalg.norm(together, axis=1, keepdims=True), 1e-9)
