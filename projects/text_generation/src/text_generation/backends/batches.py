"""Token ids as padded batches, and the cache of keys and values that goes with them."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.cache_utils import DynamicCache, DynamicLayer


def length_buckets(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield batches of indices so that texts of like length come together: little is padded. Longest first, so that a
    batch too large for the memory fails at once."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def left_padded(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad on the left, so that the last token of every row stands in the last column.

    Returns:
        Token ids (B, T) and attention mask (B, T): 1 at tokens, 0 at padding.
    """
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = torch.tensor(row)
        mask[index, width - len(row) :] = 1
    return ids.to(device), mask.to(device)


def positions_of(mask: Tensor) -> Tensor:
    """Position of each token among its row's tokens, (B, T); 0 at padding, where it does not matter."""
    return (mask.cumsum(dim=-1) - 1).clamp(min=0)


class PreallocatedLayer(DynamicLayer):
    """Keys and values of one layer in buffers of their full length, (B, n_kv_heads, capacity, head_dim).

    transformers' own layer concatenates, that is, copies everything that it holds for every new token.
    """

    _layer_type = None  # not registered as the class that transformers makes for a kind of layer

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._key_buffer = self._value_buffer = torch.empty(0)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        B, n_heads, _, head_dim = key_states.shape
        self._key_buffer = key_states.new_empty(B, n_heads, self._capacity, head_dim)
        self._value_buffer = value_states.new_empty(B, n_heads, self._capacity, value_states.shape[-1])

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        self._key_buffer[:, :, start:end] = key_states
        self._value_buffer[:, :, start:end] = value_states
        return self._show(end)

    def batch_select_indices(self, indices: Tensor) -> None:
        length = self.get_seq_length()
        self._key_buffer, self._value_buffer = self._key_buffer[indices], self._value_buffer[indices]
        self._show(length)

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self._key_buffer[:, :, :length], self._value_buffer[:, :, :length]
        return self.keys, self.values


def preallocated_cache(config: PreTrainedConfig, capacity: int) -> DynamicCache:
    """A cache for prompt and answer. A layer that is no plain one, as with a sliding window, is left as it is."""
    cache = DynamicCache(config=config)
    cache.layers = [PreallocatedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
