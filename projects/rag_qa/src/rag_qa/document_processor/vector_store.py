"""Vector stores: the protocol, the factory, and the default one, FAISS in this process.

Small collections are compared with the query one by one. Large ones are searched by codes of one bit a dimension first
(`binary_codes.py`), and the best thousand of those exactly: the vectors themselves stay in memory in float32.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.binary_codes import BinaryCodes, row_selector
from rag_qa.document_processor.metadata_filter import MetadataIndex, check_metadata
from rag_qa.document_processor.store_files import generation_path, generations, read_generation, write_generation
from rag_qa.document_processor.store_owner import StoreOwner
from rag_qa.protocols import FloatArray, IdArray, Metadata, VectorStore, Where

__all__ = ["FaissStore", "VectorStore", "build_store", "check_batch", "check_queries"]

_CANDIDATES_PER_RESULT = 20
_FEW = 2000  # rows that are multiplied at once sooner than a selector is made for them
_REMEMBERED_FILTERS = 256


def build_store(
    config: StoreConfig,
    folder: Path | None,
    dimension: int,
    generation: int | None = None,
    owner: StoreOwner | None = None,
) -> VectorStore:
    """The configured store for vectors of `dimension`; `folder` None keeps everything in memory.

    Args:
        config: which one, and where its server is.
        folder: where the store's own files lie. A server needs none.
        dimension: D of the vectors.
        generation: FAISS only: which of the saved generations to read; None: the last, if there is any.
        owner: servers only: the index to which the collection must belong; None: any.

    Raises:
        UserError: a server cannot be reached or refuses, its collection belongs to another index, a package is
            missing, or a file is missing or damaged.
    """
    if config.backend == "qdrant":
        from rag_qa.document_processor.qdrant_store import QdrantStore

        return QdrantStore(config, None if folder is None else folder / "qdrant", dimension, owner)
    if config.backend == "pgvector":
        from rag_qa.document_processor.pgvector_store import PgVectorStore

        return PgVectorStore(config, dimension, owner)
    return FaissStore(dimension, folder, config, generation)


class FaissStore:
    """Vectors in memory and in one file of a folder. Safe to use from several threads."""

    def __init__(
        self,
        dimension: int,
        folder: Path | None = None,
        config: StoreConfig | None = None,
        generation: int | None = None,
    ) -> None:
        self.dimension = dimension
        self.folder = folder
        self.generation = 0
        """Number of the file that holds what was read or saved last; 0: none."""
        self._config = config or StoreConfig()
        self._lock = threading.RLock()
        self._clear()
        if folder is not None:
            self._load(folder, generation)

    def add(self, ids: IdArray, vectors: FloatArray, metadata: Sequence[Metadata]) -> None:
        ids, vectors = check_batch(ids, vectors, metadata, self.dimension)
        with self._lock:
            known = [int(id) for id in ids if int(id) in self._metadata]
            if known:
                raise ValueError(f"id {known[0]} is in the store already")
            self._flat.add(vectors)
            if self._codes is not None:
                self._codes.add(vectors)
            self._ids = np.concatenate([self._ids, ids])
            for id, record in zip(ids.tolist(), metadata, strict=True):
                self._metadata.add(id, record)
            self._changed()

    def remove(self, ids: IdArray) -> int:
        with self._lock:
            gone = [id for id in dict.fromkeys(np.asarray(ids, dtype=np.int64).tolist()) if id in self._metadata]
            if not gone:
                return 0
            rows = self._rows_of(np.array(gone, dtype=np.int64))
            self._flat.remove_ids(rows)  # pyright: ignore[reportArgumentType]  # faiss's types know its C++ side only
            if self._codes is not None:
                self._codes.remove(rows)
            self._ids = np.delete(self._ids, rows)
            for id in gone:
                self._metadata.remove(id)
            self._changed()
            return len(gone)

    def search(self, queries: FloatArray, k: int, where: Where = ()) -> list[list[tuple[int, float]]]:
        queries = check_queries(queries, k, self.dimension)
        with self._lock:
            faiss.omp_set_num_threads(self._config.threads)  # a setting of the calling thread
            rows = self._allowed(where)
            count = len(self._ids) if rows is None else len(rows)
            if not count or not len(queries):
                return [[] for _ in queries]
            candidates = max(self._config.candidates, _CANDIDATES_PER_RESULT * k)
            if rows is not None and count <= max(_FEW, candidates):
                return [self._best(query, rows, k) for query in queries]
            mask = None if rows is None else self._mask(rows)
            if len(self._ids) <= self._config.exact_up_to or candidates >= count:
                found = self._flat_search(queries, min(k, count), mask)
            else:
                found = self._binary_codes().search(queries, candidates, mask)[1]
            return [self._best(query, near[near >= 0], k) for query, near in zip(queries, found, strict=True)]

    def ids(self) -> IdArray:
        with self._lock:
            return np.sort(self._ids)

    def vectors(self, ids: IdArray) -> FloatArray:
        """(N, D) vectors of ids. Raises KeyError: an id is not there."""
        with self._lock:
            for id in np.asarray(ids).tolist():
                if id not in self._metadata:
                    raise KeyError(id)
            return self._matrix()[self._rows_of(ids)].copy()

    def save(self) -> None:
        """Write the next generation and delete the files of those before."""
        with self._lock:
            if self.folder is None:
                return
            self.write_generation(self.generation + 1)
            for old in generations(self.folder):
                if old != self.generation:
                    generation_path(self.folder, old).unlink()

    def write_generation(self, generation: int) -> None:
        """Write everything as the given generation, and leave other generations as they are."""
        with self._lock:
            if self.folder is None:
                return
            path = generation_path(self.folder, generation)
            write_generation(path, self._ids, self._matrix(), [self._metadata[id] for id in self._ids.tolist()])
            self.generation = generation

    def close(self) -> None:
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        self._ids: IdArray = np.empty(0, dtype=np.int64)
        self._flat = faiss.IndexFlatIP(self.dimension)
        self._codes: BinaryCodes | None = None
        self._metadata = MetadataIndex()
        self._changed()

    def _load(self, folder: Path, generation: int | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        saved = generations(folder)
        wanted = generation if generation is not None else (saved[-1] if saved else 0)
        if wanted:
            stored = read_generation(generation_path(folder, wanted), self.dimension)
            self.add(stored.ids, stored.vectors, stored.metadata)
        self.generation = wanted

    def _changed(self) -> None:
        self._order: NDArray[np.intp] | None = None
        self._filters: dict[Where, IdArray] = {}

    def _matrix(self) -> FloatArray:
        """(N, D) view of what FAISS holds; valid until the next change."""
        size = self._flat.ntotal * self.dimension
        if not size:
            return np.empty((0, self.dimension), dtype=np.float32)
        return faiss.rev_swig_ptr(self._flat.get_xb(), size).reshape(-1, self.dimension)

    def _rows_of(self, ids: IdArray) -> IdArray:
        """Rows of ids that are there, in the order of the ids."""
        if self._order is None:
            self._order = np.argsort(self._ids)
        return self._order[np.searchsorted(self._ids, ids, sorter=self._order)].astype(np.int64)

    def _allowed(self, where: Where) -> IdArray | None:
        """Rows that a filter lets through; None: all."""
        if not where:
            return None
        if where not in self._filters:
            matching = self._metadata.matching(where)
            rows = np.sort(self._rows_of(np.fromiter(matching, dtype=np.int64, count=len(matching))))
            if len(self._filters) >= _REMEMBERED_FILTERS:
                self._filters.pop(next(iter(self._filters)))
            self._filters[where] = rows
        rows = self._filters[where]
        return None if len(rows) == len(self._ids) else rows

    def _mask(self, rows: IdArray) -> NDArray[np.bool_]:
        mask = np.zeros(len(self._ids), dtype=np.bool_)
        mask[rows] = True
        return mask

    def _flat_search(self, queries: FloatArray, count: int, mask: NDArray[np.bool_] | None) -> IdArray:
        """(Q, count) rows with the highest inner products."""
        parameters = faiss.SearchParameters(sel=row_selector(mask))  # pyright: ignore[reportCallIssue]
        return self._flat.search(queries, count, params=parameters)[1]

    def _binary_codes(self) -> BinaryCodes:
        """Codes of all rows, made afresh when the collection has doubled and its mean may have moved."""
        if self._codes is None or len(self._ids) > 2 * self._codes.built_from:
            self._codes = BinaryCodes(self._matrix())
        return self._codes

    def _best(self, query: FloatArray, rows: IdArray, k: int) -> list[tuple[int, float]]:
        """The k best of some rows by exact inner product; of equal ones the lower id is first."""
        scores = self._matrix()[rows] @ query  # (R, D) @ (D,) -> (R,)
        if len(rows) > k:
            kept = scores >= np.partition(scores, -k)[-k]
            rows, scores = rows[kept], scores[kept]
        ids = self._ids[rows]
        best = np.lexsort((ids, -scores))[:k]
        return list(zip(ids[best].tolist(), scores[best].tolist(), strict=True))


def check_batch(
    ids: IdArray, vectors: FloatArray, metadata: Sequence[Metadata], dimension: int
) -> tuple[IdArray, FloatArray]:
    """What is to be added, as int64 and contiguous float32.

    Raises:
        ValueError: shapes do not fit, an id comes twice or is negative, a number is not finite, or metadata are of
            an unknown kind.
    """
    ids, vectors = np.asarray(ids), np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise ValueError(f"vectors have shape {vectors.shape}, expected (N, {dimension})")
    if ids.shape != (len(vectors),) or len(metadata) != len(vectors):
        raise ValueError(f"{ids.shape} ids and {len(metadata)} metadata records for {len(vectors)} vectors")
    if len(ids) and not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids are {ids.dtype}, expected whole numbers")
    if len(ids) and ids.min() < 0:
        raise ValueError(f"id {ids.min()} is negative")
    if len(np.unique(ids)) < len(ids):
        raise ValueError("an id comes twice")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector holds a number that is not finite")
    for record in metadata:
        check_metadata(record)
    return ids.astype(np.int64), vectors


def check_queries(queries: FloatArray, k: int, dimension: int) -> FloatArray:
    """Queries as contiguous float32. Raises ValueError: shapes do not fit, k < 1, or a number is not finite."""
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != dimension:
        raise ValueError(f"queries have shape {queries.shape}, expected (Q, {dimension})")
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    if not np.isfinite(queries).all():
        raise ValueError("a query holds a number that is not finite")
    return queries
