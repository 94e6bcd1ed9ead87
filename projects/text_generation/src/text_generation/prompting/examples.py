"""Which solved cases a few-shot prompt shows: fixed ones, random ones, or those most similar to the case at hand.

Liu et al. (2022), "What Makes Good In-Context Examples for GPT-3?", found examples near to the case better than random
ones. Similarity is BM25 over words, or the cosine of vectors that a given function makes of texts.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from text_generation.prompting.templates import Example

Encode = Callable[[Sequence[str]], NDArray[np.floating]]
"""Texts -> vectors: n texts to (n, d)."""

# A run of letters and digits; a Chinese character is a word of its own, for nothing parts Chinese words.
_WORD = re.compile(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+")


class ExampleSelector(Protocol):
    """Chooses examples for a case."""

    def select(self, query: str, k: int) -> list[Example]:
        """At most k examples, in the order in which a prompt shows them. Never one whose text equals the query: it
        would give the answer away."""
        ...


def words_of(text: str) -> list[str]:
    """Words in lower case; each Chinese character is one."""
    return _WORD.findall(text.lower())


class BM25:
    """Robertson & Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond", eq. 3.15, with the inverse
    document frequency ln(1 + (N - n + 0.5) / (n + 0.5)), which is never negative."""

    def __init__(self, documents: Sequence[str], k1: float = 1.2, b: float = 0.75) -> None:
        """Args:
        documents: texts to search.
        k1: how soon further occurrences of a word stop to count.
        b: how far long documents are discounted, 0 (not) to 1.
        """
        self._k1 = k1
        self._counts = [Counter(words_of(document)) for document in documents]
        lengths = [sum(counts.values()) for counts in self._counts]
        mean = sum(lengths) / max(len(lengths), 1)
        self._norms = [k1 * (1 - b + b * length / mean) if mean else k1 for length in lengths]
        document_counts = Counter(word for counts in self._counts for word in counts)
        n = len(documents)
        self._idf = {word: math.log(1 + (n - of + 0.5) / (of + 0.5)) for word, of in document_counts.items()}

    def scores(self, query: str) -> list[float]:
        """One score for each document, at least 0. A word that occurs twice in the query counts twice."""
        query_words = [word for word in words_of(query) if word in self._idf]
        return [
            sum(
                self._idf[word] * counts[word] * (self._k1 + 1) / (counts[word] + norm)
                for word in query_words
                if word in counts
            )
            for counts, norm in zip(self._counts, self._norms, strict=True)
        ]


class FixedExamples:
    """The first k of a list, the same for every case."""

    def __init__(self, pool: Sequence[Example], key: str) -> None:
        """Args:
        pool: solved cases.
        key: the field that is compared with the query.
        """
        self._pool, self._key = list(pool), key

    def select(self, query: str, k: int) -> list[Example]:
        """The first k whose text is not the query."""
        return [example for example in self._pool if example[self._key] != query][:k]


class RandomExamples:
    """k of a list, drawn anew for every case: the baseline for similarity."""

    def __init__(self, pool: Sequence[Example], key: str, seed: int = 0) -> None:
        """Args:
        pool: solved cases.
        key: the field that is compared with the query.
        seed: with the query it decides the draw, so that the order of the cases does not.
        """
        self._pool, self._key, self._seed = list(pool), key, seed

    def select(self, query: str, k: int) -> list[Example]:
        """k without repetition, in random order."""
        others = [example for example in self._pool if example[self._key] != query]
        digest = hashlib.sha256(query.encode()).digest()
        order = np.random.default_rng([self._seed, int.from_bytes(digest[:8], "big")]).permutation(len(others))
        return [others[index] for index in order[:k]]


class SimilarExamples:
    """The k most similar of a list, the most similar last, next to the case: what stands near weighs more (Lu et al.
    2022, "Fantastically Ordered Prompts and Where to Find Them", show how much the order matters)."""

    def __init__(self, pool: Sequence[Example], key: str, encode: Encode | None = None) -> None:
        """Args:
        pool: solved cases.
        key: the field that is compared with the query.
        encode: makes vectors of texts, compared by their cosine. None: BM25 over words.
        """
        self._pool, self._key, self._encode = list(pool), key, encode
        texts = [str(example[key]) for example in self._pool]
        if encode is None:
            self._bm25 = BM25(texts)
        elif texts:
            self._vectors = _unit(np.asarray(encode(texts), dtype=np.float64))  # (n, d)

    def select(self, query: str, k: int) -> list[Example]:
        """The k most similar; of equals, those that stand first in the pool."""
        scores = self.scores(query)
        others = [index for index, example in enumerate(self._pool) if example[self._key] != query]
        best = sorted(others, key=lambda index: (-scores[index], index))[:k]
        return [self._pool[index] for index in reversed(best)]

    def scores(self, query: str) -> list[float]:
        """Similarity of each example to the query."""
        if not self._pool:
            return []
        if self._encode is None:
            return self._bm25.scores(query)
        vector = _unit(np.asarray(self._encode([query]), dtype=np.float64))  # (1, d)
        return (self._vectors @ vector[0]).tolist()


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, d) -> (n, d) of length 1; a zero vector stays zero and resembles nothing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
