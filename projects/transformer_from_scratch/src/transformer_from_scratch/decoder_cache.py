"""What a decoder keeps of the tokens that it has read, so that each new one costs one step and not a whole pass."""

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_from_scratch.attention import KVCache, padding_mask
from transformer_from_scratch.config import ModelConfig


def real_positions(is_token: Tensor) -> Tensor:
    """(B, T) True at real tokens -> (B, T) position of each among the real ones of its row, padding not counted."""
    return (is_token.cumsum(dim=1) - 1).clamp(min=0)


class DecoderCache:
    """What a decoder remembers of the tokens so far: keys and values a block, positions, and which are padding.

    `recent`, (B, n - 1), holds the last real tokens for n-gram embeddings, -1 where there is none.

    Args:
        batch_size: rows.
        capacity: tokens a row, padding included.
        n_source: tokens a row of the source that an encoder-decoder's cross-attention reads; None without one.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        capacity: int,
        *,
        n_source: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        n_kv_heads = config.n_heads if config.n_kv_heads is None else config.n_kv_heads
        head_width = config.d_model // config.n_heads

        def layers(n_tokens: int) -> list[KVCache]:
            shape = (batch_size, n_kv_heads, n_tokens, head_width)
            return [KVCache(*shape, dtype=dtype, device=device) for _ in range(config.n_layers)]

        self.layers = layers(capacity)
        self.source_layers = None if n_source is None else layers(n_source)
        self.counted = torch.arange(capacity, device=device)
        # True until padding is seen, so that a step without any has nothing to write here.
        self.positions = self.counted.repeat(batch_size, 1)  # (B, capacity)
        self.is_token = torch.ones(batch_size, capacity, dtype=torch.bool, device=device)
        n_recent = max(config.ngram_orders, default=1) - 1
        self.recent = torch.full((batch_size, n_recent), -1, dtype=torch.long, device=device)
        self.has_padding = False

    @property
    def length(self) -> int:
        return self.layers[0].length

    @property
    def capacity(self) -> int:
        return self.layers[0].capacity

    def extend(self, is_token: Tensor | None, n_new: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Note `n_new` more tokens of which (B, n_new) `is_token` are real; None: all.

        Returns their positions, the positions of all keys, and the (B, 1, 1, Tk) padding mask or None.

        Raises:
            ValueError: the cache is too small for them.
        """
        start, end = self.length, self.length + n_new
        if end > self.capacity:
            raise ValueError(f"the key/value cache holds {self.capacity} positions, {end} were asked for")
        if is_token is not None:
            self.is_token[:, start:end] = is_token
            self.has_padding = self.has_padding or not bool(is_token.all())
        if not self.has_padding:
            return self.counted[start:end], self.counted[:end], None
        n_before = self.is_token[:, :start].sum(dim=1, keepdim=True)  # (B, 1)
        counted = n_before + self.is_token[:, start:end].cumsum(dim=1)  # (B, n_new)
        self.positions[:, start:end] = (counted - 1).clamp(min=0)
        return self.positions[:, start:end], self.positions[:, :end], padding_mask(self.is_token[:, :end])

    def reorder(self, rows: Tensor, *, same_source: bool = False) -> None:
        """Keep the given batch rows, in that order.

        `same_source`: each new row reads the same source as the row whose place it takes, so that the keys and values
        of the source can stay where they are.
        """
        for layer in self.layers:
            layer.reorder(rows)
        if self.source_layers is not None and not same_source:
            for layer in self.source_layers:
                layer.reorder(rows)
        self.positions, self.is_token = self.positions[rows], self.is_token[rows]
        self.recent = self.recent[rows]

    def rewind(self, tokens: Tensor) -> None:
        """Forget all but the first tokens, which are (B, length) `tokens`."""
        for layer in self.layers:
            layer.length = tokens.shape[1]
        n_recent = self.recent.shape[1]
        self.recent = F.pad(tokens, (n_recent, 0), value=-1)[:, tokens.shape[1] :]
