"""An encoder for tests: no model, and near texts share words."""

import re
import zlib
from collections.abc import Sequence

import numpy as np

from rag_qa.protocols import FloatArray


class HashEncoder:
    """A bag of hashed words: near texts share words."""

    name = "hash"
    fingerprint = "hash-1"
    dimension = 32
    max_tokens = 64

    def encode(self, texts: Sequence[str]) -> FloatArray:
        vectors = np.full((len(texts), self.dimension), 1e-3, dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                vectors[row, zlib.crc32(word.encode()) % self.dimension] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
