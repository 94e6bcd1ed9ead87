"""Documents as one stream of tokens, cut into windows: no position is spent on padding."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def pack(documents: Iterable[Sequence[int]], end: int) -> np.ndarray:
    """All documents in one row of token ids, (N,) int64, each followed by `end`.

    The model sees the end of one document before the beginning of the next (Brown et al. 2020, appendix B).
    """
    parts = [part for document in documents for part in (np.asarray(document, dtype=np.int64), np.array([end]))]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


class Windows:
    """Windows of `context` tokens from a packed stream, in an order that depends on seed and place alone.

    An epoch visits every window once. Each epoch cuts the stream at another offset, so that a token is not always
    predicted from the same place in its window.
    """

    def __init__(self, tokens: np.ndarray, context: int, seed: int) -> None:
        """Raises ValueError if the stream holds no whole window with one token to predict after it."""
        if len(tokens) < 2 * context + 1:
            raise ValueError(f"{len(tokens):,} tokens are too few for windows of {context}")
        self.tokens, self.context, self.seed = torch.from_numpy(tokens), context, seed
        self.starts_of_epoch = lru_cache(maxsize=2)(self._draw_starts)

    @property
    def per_epoch(self) -> int:
        """Windows in one pass; what remains at the ends is less than one window."""
        return (len(self.tokens) - 1) // self.context - 1

    def batch(self, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """(B, T) inputs and the (B, T) tokens that follow them, of a step counted from 0."""
        places = [divmod(place, self.per_epoch) for place in range(step * batch_size, (step + 1) * batch_size)]
        starts = torch.tensor([self.starts_of_epoch(epoch)[position] for epoch, position in places])
        rows = self.tokens[starts[:, None] + torch.arange(self.context + 1)]  # (B, T + 1)
        return rows[:, :-1], rows[:, 1:]

    def _draw_starts(self, epoch: int) -> np.ndarray:
        """Where each window of the epoch begins, (per_epoch,)."""
        generator = np.random.default_rng([self.seed, epoch])
        offset = generator.integers(self.context)
        return offset + self.context * generator.permutation(self.per_epoch)
