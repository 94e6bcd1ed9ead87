"""An index whose store, encoder and reranker are written out in full, so that every stage can be watched."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from rag_qa.protocols import FloatArray, IdArray, Metadata, Where
from rag_qa.retrieval.row_filter import RowFilter, chunk_metadata
from rag_qa.retrieval.sparse_retrieval import SparseIndex
from rag_qa.types import PUBLIC, Chunk

TEXTS = [
    "apple pie recipe",
    "apple tree in the garden",
    "secret apple launch plan",
    "blue sky over the sea",
    "apple pie recipe again",
    "红苹果很好吃",
]
GROUPS = [(PUBLIC,), (PUBLIC,), ("board",), (PUBLIC,), ("staff", "board"), (PUBLIC,)]


class LetterEncoder:
    """Counts of letters: enough for cosines that differ. Knows no Chinese."""

    name, fingerprint, dimension, max_tokens = "letters", "letters-1", 26, 100

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> FloatArray:
        self.seen += texts
        counts = np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], dtype=np.float32)
        counts[:, 25] += 0.01
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [(i, i + 1) for i in range(len(text))]

    def unknown_share(self, text: str) -> float:
        return sum(not character.isascii() for character in text) / max(len(text), 1)


class PlainStore:
    """Compares everything, and remembers what it compared."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[FloatArray, Metadata]] = {}
        self.compared: set[int] = set()

    def add(self, ids: IdArray, vectors: FloatArray, metadata: Sequence[Metadata]) -> None:
        self.rows.update({int(i): (v, m) for i, v, m in zip(ids, vectors, metadata, strict=True)})

    def remove(self, ids: IdArray) -> int:
        return sum(self.rows.pop(int(one), None) is not None for one in ids)

    def search(self, queries: FloatArray, k: int, where: Where = ()) -> list[list[tuple[int, float]]]:
        allowed = RowFilter([metadata for _, metadata in self.rows.values()])(where)
        candidates = [one for one, keep in zip(self.rows, allowed, strict=True) if keep]
        self.compared |= set(candidates)
        return [
            sorted(
                ((one, float(query @ self.rows[one][0])) for one in candidates), key=lambda item: (-item[1], item[0])
            )[:k]
            for query in queries
        ]

    def ids(self) -> IdArray:
        return np.array(sorted(self.rows), dtype=np.int64)

    def save(self) -> None: ...

    def close(self) -> None: ...


class SmallIndex:
    def __init__(self, texts: Sequence[str] = TEXTS, groups: Sequence[tuple[str, ...]] = GROUPS) -> None:
        self.all = [
            Chunk(source=f"{i}.txt", start=0, end=len(text), text=text, page=1, id=10 * i, groups=group)
            for i, (text, group) in enumerate(zip(texts, groups, strict=True))
        ]
        self.encoder, self.store = LetterEncoder(), PlainStore()
        ids = [chunk.id for chunk in self.all]
        self.sparse = SparseIndex.build(ids, texts)
        if texts:
            self.store.add(
                np.array(ids), self.encoder.encode(list(texts)), [chunk_metadata(chunk) for chunk in self.all]
            )
        self.encoder.seen.clear()

    def chunks(self, ids: Sequence[int]) -> list[Chunk]:
        return [chunk for chunk in self.all if chunk.id in set(ids)]

    def documents(self) -> list[SimpleNamespace]:
        lie = {"groups": PUBLIC, "page": "7", "language": "en"}
        return [SimpleNamespace(source=chunk.source, metadata=lie) for chunk in self.all]


class Backwards:
    """A reranker that prefers short passages and remembers what it read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        self.read += passages
        return [-float(len(passage)) for passage in passages]
