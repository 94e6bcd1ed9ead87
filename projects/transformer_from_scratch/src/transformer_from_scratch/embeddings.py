"""From token ids to vectors: the token's own, and those of the n-grams that it ends."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_from_scratch.config import ModelConfig

# 2^64 divided by the golden ratio, as a signed number: multiplying by it spreads neighbouring keys (Knuth, TAOCP 6.4).
FIBONACCI = 0x9E3779B97F4A7C15 - 2**64


class TokenEmbedding(nn.Module):
    """Tokens to vectors, and, when tied, vectors back to logits with the same table (Press & Wolf 2017)."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.scale = math.sqrt(config.d_model) if config.scale_embeddings else 1.0
        self.head = None if config.tie_embeddings else nn.Linear(config.d_model, vocab_size, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, C)."""
        embedded = self.embedding(tokens)
        return embedded if self.scale == 1.0 else embedded * self.scale

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, V)."""
        return F.linear(hidden, self.embedding.weight) if self.head is None else self.head(hidden)


def latest_ngrams(before: Tensor, tokens: Tensor, is_token: Tensor | None) -> Tensor:
    """The last n real tokens at each place, itself included, -1 where there are not so many: (B, T, n).

    Args:
        before: (B, n - 1) tokens that precede, -1 where there is none.
        tokens: (B, T).
        is_token: (B, T) False at padding, which n-grams reach over; None: no padding.
    """
    n = before.shape[1] + 1
    known = torch.cat((before, tokens), dim=1)  # (B, n - 1 + T)
    if is_token is None:
        return known.unfold(1, n, 1)  # (B, T, n)
    is_real = torch.cat((before >= 0, is_token), dim=1)
    real_columns = (~is_real).byte().argsort(dim=1, stable=True)  # columns of the real tokens first, in their order
    rank = is_real.cumsum(dim=1)[:, n - 1 :] - 1  # (B, T) which of the real tokens is the newest at each place
    ranks = rank[..., None] - torch.arange(n - 1, -1, -1, device=tokens.device)  # (B, T, n)
    columns = real_columns.gather(1, ranks.clamp(min=0).flatten(1))
    return known.gather(1, columns).view_as(ranks).masked_fill(ranks < 0, -1)


def ngram_rows(ngrams: Tensor, vocab_size: int, n_rows: int) -> Tensor:
    """(..., n) n-grams of token ids -> (...) rows of their table.

    Where the table has a row for each of the V^n n-grams, each gets its own; otherwise they are hashed, and some share
    one.
    """
    key = torch.zeros_like(ngrams[..., 0])
    for position in range(ngrams.shape[-1]):
        key = key * vocab_size + ngrams[..., position]
    if vocab_size ** ngrams.shape[-1] > n_rows:
        key = (key * FIBONACCI) >> 20  # the product wraps around; its upper bits are the well-mixed ones
    return key % n_rows


class NgramEmbedding(nn.Module):
    """Adds what the last two, three, … tokens say together, which spares the blocks learning what often follows what.

    Tables are looked up, never multiplied, so their rows cost memory and next to no time (hashed n-gram embeddings:
    Huang et al. 2025, "Over-Tokenized Transformer"). They start at zero: an n-gram that was never trained adds nothing.

    Args:
        vocab_size: V.
        orders: the lengths n of the n-grams.
        n_rows: rows of each table; V^n where that is fewer.
        width: of each table; all together are projected to `d_model`.
    """

    def __init__(self, vocab_size: int, orders: tuple[int, ...], n_rows: int, width: int, d_model: int) -> None:
        super().__init__()
        self.vocab_size, self.orders = vocab_size, orders
        self.n_before = max(orders) - 1
        self.tables = nn.ModuleList(nn.Embedding(min(n_rows, vocab_size**order), width) for order in orders)
        self.projection = nn.Linear(len(orders) * width, d_model, bias=False)

    def forward(self, ngrams: Tensor) -> Tensor:
        """(B, T, n_before + 1) newest tokens at each place, -1 where there is none -> (B, T, C)."""
        vectors = []
        for order, table in zip(self.orders, self.tables, strict=True):
            ngram = ngrams[..., -order:]
            is_there = ngram[..., :1] >= 0  # (B, T, 1); where the oldest token is there, the others are
            rows = ngram_rows(ngram, self.vocab_size, len(table.weight))  # type: ignore[arg-type]
            vectors.append(table(rows).masked_fill(~is_there, 0.0))  # (B, T, width)
        return self.projection(torch.cat(vectors, dim=-1))
