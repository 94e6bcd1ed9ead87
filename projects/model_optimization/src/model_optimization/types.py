"""What the parts of the project hand to each other. Shapes: N texts, K labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
TokenIds = list[int]
"""Token numbers of one text, special tokens included, not padded."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Labelled texts of one part of a data set."""

    texts: tuple[str, ...]
    targets: IntArray
    """(N,) indices into the labels."""

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A data set: what a model learns from, what settings are chosen on, and what is only ever measured."""

    labels: tuple[str, ...]
    train: Texts
    validation: Texts
    test: Texts
    origin: str
    """Where the texts come from, for reports."""

    rejected: tuple[str, ...] = ()
    """One line for each row that could not be used."""


class Classifier(Protocol):
    """Texts in, logits out, whatever computes them. Safe to use from one thread at a time."""

    labels: tuple[str, ...]
    max_length: int
    """Tokens of a text that are seen, special tokens included; the rest is cut off."""

    def token_ids(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token numbers of each text, cut to `max_length`."""
        ...

    def logits_of_tokens(self, sequences: Sequence[TokenIds]) -> FloatArray:
        """(N, K) logits of texts that are computed as one batch, padded to the longest of them."""
        ...

    def logits(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """(N, K) logits of texts in their order, computed in batches of texts of similar length."""
        ...

    def close(self) -> None:
        """Free what is held."""
        ...
