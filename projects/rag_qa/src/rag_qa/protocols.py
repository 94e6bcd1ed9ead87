"""What the stages ask of each other: any encoder, store, retriever or generator of this shape will do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rag_qa.types import Answer, Retrieved, User

FloatArray = NDArray[np.float32]
IdArray = NDArray[np.int64]
Metadata = Mapping[str, str | int | tuple[str, ...]]
"""What can be filtered by: a field's value, or the values of a field that has several."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Holds for a record whose `field` has one of these values; of a field with several values, one is enough."""

    field: str
    any_of: tuple[str | int, ...]


Where = tuple[Condition, ...]
"""All conditions must hold; the empty tuple lets everything through."""


@dataclass(frozen=True)
class Turn:
    """One question of a conversation and its answer."""

    question: str
    answer: str


class Encoder(Protocol):
    """Texts to unit vectors."""

    name: str
    """Model folder or hub id, for people."""

    fingerprint: str
    """Changes whenever the vectors might: hash of weights, tokenizer, pooling, precision. Cosine similarities of
    two fingerprints are not comparable."""

    dimension: int
    max_tokens: int
    """Content tokens of a text that the encoder sees; the rest is cut off in silence."""

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """(N, dimension) rows of length 1, in the order of the texts."""
        ...

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character offsets of each content token of the whole text, without special tokens and without a cut."""
        ...


class VectorStore(Protocol):
    """Unit vectors under integer ids, searched by inner product among those that a filter lets through.

    A change is visible to searches of this object at once, and on the disk after `save`.
    """

    def add(self, ids: IdArray, vectors: FloatArray, metadata: Sequence[Metadata]) -> None:
        """Add (N,) ids with (N, D) vectors. Raises ValueError: an id is there already, or shapes do not fit."""
        ...

    def remove(self, ids: IdArray) -> int:
        """Remove those that are there; returns their number."""
        ...

    def search(self, queries: FloatArray, k: int, where: Where = ()) -> list[list[tuple[int, float]]]:
        """For each of (Q, D) queries up to k (id, cosine), best first, of the records that fulfil `where`: the filter
        is applied before the search, so that k of them are found if there are k."""
        ...

    def ids(self) -> IdArray:
        """All ids, ascending."""
        ...

    def save(self) -> None:
        """Make all changes last, in one step."""
        ...

    def close(self) -> None:
        """Free files and connections."""
        ...


class Retriever(Protocol):
    """Questions to passages."""

    def search(self, query: str, k: int | None = None, user: User | None = None, where: Where = ()) -> list[Retrieved]:
        """Best first; only what the user may see takes part in any stage. `k` None: as configured."""
        ...


class AnswerGenerator(Protocol):
    """Passages to an answer."""

    name: str

    def answer(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> Answer:
        """An answer whose citations are spans of the retrieved chunks, or a refusal."""
        ...

    def stream(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> Iterator[str]:
        """The answer's text in parts as they come. A generator that returns its `Answer` spares the asker `answer` on
        the same input, and a language model a second question."""
        ...
