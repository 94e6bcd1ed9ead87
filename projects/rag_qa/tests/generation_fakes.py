"""A small encoder and passages for the tests of generation."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from rag_qa.protocols import FloatArray
from rag_qa.types import Chunk, Retrieved


class WordEncoder:
    """Each word has a random direction, drawn from its hash; a text is their mean."""

    name = fingerprint = "words"
    dimension, max_tokens = 64, 256

    def encode(self, texts: Sequence[str]) -> FloatArray:
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"[\u4e00-\u9fff]|\w+", text.lower()) or [""]:
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
                row += np.random.default_rng(seed).standard_normal(self.dimension).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\w+", text)]


KETTLE = (
    "The Halden kettle holds 1.7 litres. The warranty of the kettle lasts 730 days from the day of purchase. "
    "Descale it with citric acid every two months."
)
BRIDGE = "The old bridge at Corven was built in 1871 by Ida Marsh. It crosses the river Tolm and carries two tracks."
CHINESE = "哈尔登水壶的容量是1.7升。水壶的保修期是730天。每两个月用柠檬酸除垢一次。"


def retrieved(*texts: str, first: int = 100) -> list[Retrieved]:
    """Chunks of documents d0, d1 …, each beginning at character `first` of its document."""
    return [
        Retrieved(
            chunk=Chunk(source=f"d{i}.txt", start=first, end=first + len(text), text=text, page=i + 2, id=i),
            score=1.0 - i / 10,
        )
        for i, text in enumerate(texts)
    ]
