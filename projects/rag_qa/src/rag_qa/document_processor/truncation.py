"""How much of each chunk the encoder never sees: it reads its first tokens and drops the rest in silence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_qa.document_processor.token_ruler import TokenSpans
from rag_qa.types import Chunk

N_WORST = 10


@dataclass(frozen=True, kw_only=True)
class TruncatedChunk:
    """A chunk that the encoder sees in part."""

    chunk: Chunk
    tokens: int
    unseen: float
    """Share of its tokens that lie behind the limit, 0 to 1."""

    first_unseen: int
    """Offset in the document from which on it is unseen."""


@dataclass(frozen=True, kw_only=True)
class TruncationReport:
    """What an encoder with a limit sees of chunks."""

    limit: int
    """Content tokens that the encoder sees of a text."""

    tokens: NDArray[np.int64]
    """(n_chunks,) tokens of each chunk."""

    unseen: NDArray[np.float64]
    """(n_chunks,) share of each chunk's tokens behind the limit."""

    cut: tuple[TruncatedChunk, ...]
    """The chunks that exceed the limit, the largest unseen share first."""

    @property
    def worst(self) -> tuple[TruncatedChunk, ...]:
        """The first ten of them."""
        return self.cut[:N_WORST]

    @property
    def truncated(self) -> int:
        """Number of chunks that are cut."""
        return len(self.cut)

    @property
    def unseen_from(self) -> dict[int, int]:
        """Offset in the document from which on each cut chunk is unseen, by the chunk's id."""
        return {item.chunk.id: item.first_unseen for item in self.cut}

    @property
    def unseen_share(self) -> float:
        """Share of all chunks' tokens that is never seen."""
        total = int(self.tokens.sum())
        return float(np.maximum(self.tokens - self.limit, 0).sum() / total) if total else 0.0

    def line(self) -> str:
        """The report in one line."""
        n = len(self.tokens)
        if not n:
            return "no chunks"
        spread = ", ".join(f"{name} {value:.0f}" for name, value in self.quantiles().items())
        return (
            f"{self.truncated:,} of {n:,} chunks exceed the encoder's {self.limit} tokens; "
            f"{self.unseen_share:.1%} of all tokens are never seen (tokens a chunk: {spread})"
        )

    def quantiles(self) -> dict[str, float]:
        """Tokens of a chunk: minimum, median, 95 % quantile and maximum; empty where there are no chunks."""
        if not len(self.tokens):
            return {}
        values = np.quantile(self.tokens, [0, 0.5, 0.95, 1])
        return dict(zip(("minimum", "median", "95 %", "maximum"), map(float, values), strict=True))


def measure_truncation(chunks: Sequence[Chunk], token_spans: TokenSpans, limit: int) -> TruncationReport:
    """Measure what part of each chunk lies behind the encoder's limit.

    Args:
        chunks: as they are embedded.
        token_spans: tokens of a text, without a cut, `Encoder.token_spans`.
        limit: content tokens that the encoder sees, `Encoder.max_tokens`.

    Raises:
        ValueError: the limit is below 1.
    """
    if limit < 1:
        raise ValueError(f"an encoder sees at least 1 token, got {limit}")
    lengths: list[int] = []
    cut: list[TruncatedChunk] = []
    for chunk in chunks:
        spans = token_spans(chunk.text)
        lengths.append(len(spans))
        if len(spans) > limit:
            share = 1 - limit / len(spans)
            first = chunk.start + spans[limit][0]
            cut.append(TruncatedChunk(chunk=chunk, tokens=len(spans), unseen=share, first_unseen=first))
    tokens = np.array(lengths, dtype=np.int64)
    unseen = 1 - limit / np.maximum(tokens, limit)
    cut.sort(key=lambda item: -item.unseen)
    return TruncationReport(limit=limit, tokens=tokens, unseen=unseen, cut=tuple(cut))
