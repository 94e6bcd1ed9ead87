"""One bit a dimension: a search that reads a 32nd of the vectors.

The sign of x_i - mean_i for each dimension i makes a code of D bits. The share of bits in which two codes differ
estimates the angle between the centred vectors (Charikar 2002, "Similarity estimation techniques from rounding
algorithms", section 3). It is too coarse to rank by, but the true neighbours are among the nearest thousand codes,
which the caller compares exactly.
"""

import faiss
import numpy as np
from numpy.typing import NDArray

from rag_qa.protocols import FloatArray, IdArray


class SignCodes:
    """Codes of the rows of a matrix, searched by Hamming distance; a row has the number that it has in the matrix."""

    def __init__(self, vectors: FloatArray) -> None:
        """(N, D) vectors; their mean is the point around which signs are taken, for rows that come later too."""
        self._mean = vectors.mean(axis=0)
        self.built_from = len(vectors)
        self._index = faiss.IndexBinaryFlat(8 * ((vectors.shape[1] + 7) // 8))
        self.add(vectors)

    def __len__(self) -> int:
        return self._index.ntotal

    def add(self, vectors: FloatArray) -> None:
        """Append (N, D) rows."""
        self._index.add(self.encode(vectors))

    def remove(self, rows: IdArray) -> None:
        """Remove rows; those behind them move up."""
        self._index.remove_ids(rows)

    def encode(self, vectors: FloatArray) -> NDArray[np.uint8]:
        """(N, D) vectors to (N, D/8 rounded up) bytes."""
        return np.packbits(vectors > self._mean, axis=1)

    def search(self, queries: FloatArray, count: int, parameters: faiss.SearchParameters | None) -> IdArray:
        """(Q, count) rows with the nearest codes, -1 where a filter leaves fewer."""
        return self._index.search(self.encode(queries), count, params=parameters)[1]


def row_selector(mask: NDArray[np.bool_]) -> faiss.SearchParameters:
    """Restrict a FAISS search to the rows that an (N,) mask holds true."""
    bits = np.packbits(mask, bitorder="little")
    # faiss's types know the constructors of its C++ side only.
    return faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))  # pyright: ignore[reportCallIssue]
