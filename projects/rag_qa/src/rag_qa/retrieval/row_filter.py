"""The store's filter for what is not in the store: which rows of an array fulfil the conditions."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rag_qa.protocols import Metadata, Where
from rag_qa.retrieval.sparse_retrieval import SparseIndex
from rag_qa.types import Chunk


class RowFilter:
    """Rows by the values of their fields. Building it reads every row once; a question costs a few array operations."""

    def __init__(self, metadata: Sequence[Metadata]) -> None:
        rows: dict[tuple[str, str | int], list[int]] = defaultdict(list)
        for row, fields in enumerate(metadata):
            for field, value in fields.items():
                for one in set(value) if isinstance(value, tuple) else (value,):
                    rows[field, one].append(row)
        self._rows = {key: np.array(found, dtype=np.int64) for key, found in rows.items()}
        self._size = len(metadata)

    def __call__(self, where: Where) -> NDArray[np.bool_]:
        """(N,) mask of the rows that fulfil all conditions."""
        allowed = np.ones(self._size, dtype=bool)
        for condition in where:
            any_of = np.zeros(self._size, dtype=bool)
            for value in condition.any_of:
                if (rows := self._rows.get((condition.field, value))) is not None:
                    any_of[rows] = True
            allowed &= any_of
        return allowed


class IndexFilter:
    """Mask over the rows of a sparse index, made of the chunks; made again when the sparse index is another."""

    def __init__(self, metadata_of: Callable[[Sequence[int]], Mapping[int, Metadata]]) -> None:
        self._metadata_of = metadata_of
        self._made: tuple[SparseIndex, RowFilter] | None = None

    def __call__(self, sparse: SparseIndex, where: Where) -> NDArray[np.bool_]:
        """(N,) mask over `sparse.ids`; chunks that are gone fulfil no condition."""
        made = self._made
        if made is None or made[0] is not sparse:
            ids = sparse.ids.tolist()
            metadata = self._metadata_of(ids)
            made = sparse, RowFilter([metadata.get(one, {}) for one in ids])
            self._made = made
        return made[1](where)


def chunk_metadata(chunk: Chunk) -> Metadata:
    """What a chunk can be filtered by."""
    return {"source": chunk.source, "page": chunk.page, "groups": chunk.groups}
