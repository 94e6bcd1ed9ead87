"""Rows of a key-value cache: sequences that join a batch, leave it, and are padded on the left to one width.

Each layer of the cache holds keys and values of shape (B, H, T, D): rows, heads, positions, head size. A row's own
positions end at the right edge. What lies left of them is padding, which the attention mask hides, so its content is of
no matter:

    row 0   . . a b c        lengths = [3, 5, 2], T = 5
    row 1   d e f g h
    row 2   . . . i j

A step writes every row's next token at the right edge. Joining pads the narrower side on the left; leaving drops rows,
and then the columns that are padding for all who stay.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer


def rows_can_move(config: PreTrainedConfig) -> bool:
    """Whether a model's cache is keys and values of all positions in every layer.

    A sliding window drops its oldest positions at the left edge, where shorter rows have their padding, and a recurrent
    state has no positions: such rows cannot be aligned with others.
    """
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def mask_of(lengths: list[int], width: int, device: torch.device) -> Tensor:
    """Return the attention mask (B, width): 1 in the last `lengths[b]` columns of row b, 0 in the padding before."""
    first = width - torch.tensor(lengths, device=device)  # (B,)
    return (torch.arange(width, device=device) >= first[:, None]).long()


def join_rows(cache: DynamicCache, newcomers: DynamicCache) -> None:
    """Append the rows of `newcomers` to `cache`, in place."""
    width = max(cache.get_seq_length(), newcomers.get_seq_length())
    for layer, other in zip(cache.layers, newcomers.layers, strict=True):
        for name in ("keys", "values"):
            rows = [_padded(getattr(side, name), width) for side in (layer, other)]
            setattr(layer, name, torch.cat(rows))  # (B + N, H, T, D)


def keep_rows(cache: DynamicCache, rows: list[int], width: int) -> None:
    """Drop all rows but these and all columns but the last `width`, in place."""
    for layer in cache.layers:
        for name in ("keys", "values"):
            setattr(layer, name, getattr(layer, name)[rows, :, -width:])  # (len(rows), H, width, D)


def _padded(states: Tensor, width: int) -> Tensor:
    """Pad keys or values (B, H, T, D) with zeros on the left, to (B, H, width, D)."""
    return F.pad(states, (0, 0, width - states.shape[-2], 0))
