"""Attention (Vaswani et al. 2017, "Attention Is All You Need", §3.2), written by hand.

Notable choices:
- One mask convention in this whole package: **boolean, True = may attend**, broadcastable to (B, H, Tq, Tk).
  Libraries that use another convention are converted at the border, never inside.
- A causal mask is aligned to the *last* key: with a cache of 4 keys and 1 new query, that query sees all 5 keys.
  (`F.scaled_dot_product_attention(is_causal=True)` aligns to the first key, and would show it key 0 only.)
- A query that may attend to nothing receives zeros, not NaN.
- Two paths with the same result: a plain one, which returns the weights for study and plots, and a fast one through
  PyTorch's fused kernel. `return_weights=True` chooses the plain path.
- Grouped-query attention (Ainslie et al. 2023): `n_kv_heads < n_heads` keys and values are shared by groups of queries.

Shapes: B batch, Tq queries, Tk keys, H heads, K key/value heads, D head width, C = H * D model width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_from_scratch.positional_encoding import rotate


def causal_mask(n_queries: int, n_keys: int, device: torch.device | str | None = None) -> Tensor:
    """(Tq, Tk) boolean mask: query i, counted from the end, sees every key up to its own position."""
    query_position = torch.arange(n_keys - n_queries, n_keys, device=device)[:, None]  # (Tq, 1)
    key_position = torch.arange(n_keys, device=device)[None, :]  # (1, Tk)
    return key_position <= query_position


def padding_mask(is_token: Tensor) -> Tensor:
    """(B, Tk) True at real tokens -> (B, 1, 1, Tk): nobody attends to padding."""
    return is_token[:, None, None, :]


def combine_masks(*masks: Tensor | None) -> Tensor | None:
    """The mask that allows what every given mask allows; None allows everything."""
    combined = None
    for mask in masks:
        if mask is not None:
            combined = mask if combined is None else combined & mask
    return combined


def repeat_kv(keys_or_values: Tensor, n_heads: int) -> Tensor:
    """(B, K, T, D) -> (B, H, T, D): each key/value head serves H / K consecutive query heads."""
    n_kv_heads = keys_or_values.shape[1]
    if n_kv_heads == n_heads:
        return keys_or_values
    return keys_or_values.repeat_interleave(n_heads // n_kv_heads, dim=1)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """softmax(query keyᵀ / sqrt(D) + bias) value, step by step (Vaswani et al. 2017, eq. 1).

    Args:
        query: (B, H, Tq, D).
        key, value: (B, H, Tk, D).
        mask: boolean, True = may attend, broadcastable to (B, H, Tq, Tk).
        bias: added to the scores before the softmax, broadcastable to (B, H, Tq, Tk) (ALiBi).
        dropout: probability with which a weight is set to zero (the others are scaled up).

    Returns:
        The output (B, H, Tq, D) and the weights (B, H, Tq, Tk). Weights of a query sum to 1, or to 0 where the mask
        leaves it nothing to attend to.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (B, H, Tq, Tk)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(dim=-1)  # over the keys
    if mask is not None:
        # softmax over a row of -inf alone is 0/0.
        weights = weights.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
    if dropout > 0:
        weights = F.dropout(weights, dropout)
    return weights @ value, weights  # (B, H, Tq, D), (B, H, Tq, Tk)


def fast_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """The same through PyTorch's fused kernel, which never stores the (Tq, Tk) weights (Dao et al. 2022).

    `causal=True` asks for the kernel's own causal path, which is right only where queries and keys are the same
    positions; the caller passes an explicit mask in every other case.
    """
    if bias is not None:
        # The kernel takes one tensor: either booleans or numbers to add.
        bias = bias.to(query.dtype)
        mask = bias if mask is None else bias.masked_fill(~mask, -torch.inf)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal)


class KVCache:
    """Keys and values of one attention layer, kept for the tokens to come, in memory reserved once.

    Appending writes into place: no reallocation, no copy of what is there already.
    """

    def __init__(
        self,
        batch_size: int,
        n_kv_heads: int,
        capacity: int,
        head_width: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        shape = (batch_size, n_kv_heads, capacity, head_width)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, K, T_new, D) keys and values; return views of all (B, K, length, D) so far."""
        end = self.length + keys.shape[2]
        if end > self.capacity:
            raise ValueError(f"the key/value cache holds {self.capacity} positions, {end} were asked for")
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.view()

    def view(self) -> tuple[Tensor, Tensor]:
        """All keys and values so far, (B, K, length, D) each, without a copy."""
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def reorder(self, rows: Tensor) -> None:
        """Keep the given batch rows, in that order (beam search: which beam each new beam grew from)."""
        self.keys = self.keys.index_select(0, rows)
        self.values = self.values.index_select(0, rows)


class MultiHeadAttention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, §3.2.2); self-attention unless `memory` is given.

    Args:
        d_model: width C of input and output.
        n_heads: query heads H; must divide `d_model`.
        n_kv_heads: key/value heads K; must divide `n_heads`. Default: H. K = 1 is multi-query attention.
        bias: whether the four projections add a bias.
        dropout: on the attention weights, in training only.
        qk_norm: scale each query and key head to unit root mean square, which bounds the scores
            (Henry et al. 2020, "Query-Key Normalization").

    Raises:
        ValueError: the heads do not divide the width, or the key/value heads do not divide the heads.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        bias: bool = False,
        dropout: float = 0.0,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} is not a multiple of n_heads {n_heads}")
        if n_heads % n_kv_heads:
            raise ValueError(f"n_heads {n_heads} is not a multiple of n_kv_heads {n_kv_heads}")
        self.n_heads, self.n_kv_heads, self.head_width = n_heads, n_kv_heads, d_model // n_heads
        self.dropout, self.qk_norm = dropout, qk_norm
        self.query = nn.Linear(d_model, n_heads * self.head_width, bias=bias)
        self.key = nn.Linear(d_model, n_kv_heads * self.head_width, bias=bias)
        self.value = nn.Linear(d_model, n_kv_heads * self.head_width, bias=bias)
        self.output = nn.Linear(d_model, d_model, bias=bias)

    def forward(
        self,
        x: Tensor,
        *,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        bias: Tensor | None = None,
        rotation: Tensor | None = None,
        cache: KVCache | None = None,
        return_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `x` to itself, or to `memory`.

        Args:
            x: (B, Tq, C).
            memory: (B, Tk, C) for cross-attention. Without it keys and values come from `x`.
            mask: boolean, True = may attend, broadcastable to (B, H, Tq, Tk).
            causal: also forbid attending to later positions.
            bias: added to the scores, broadcastable to (B, H, Tq, Tk).
            rotation: of a rotary encoding (`RotaryPosition.rotation`), applied to queries and keys of
                self-attention.
            cache: self-attention: earlier keys and values, to which the new ones are appended. Cross-attention: those
                of `memory`, which are computed at the first call and found there at every later one.
            return_weights: take the plain path and return the attention weights.

        Returns:
            The output (B, Tq, C), and the weights (B, H, Tq, Tk) or None.
        """
        query = self.project_query(x)  # (B, H, Tq, D)
        if memory is not None and cache is not None and cache.length > 0:
            key, value = cache.view()  # (B, K, Tk, D)
        else:
            key, value = self.project_memory(x if memory is None else memory)  # (B, K, Tk, D)
            if rotation is not None:
                query, key = rotate(query, rotation), rotate(key, rotation)
            if cache is not None:
                key, value = cache.append(key, value)
        key, value = repeat_kv(key, self.n_heads), repeat_kv(value, self.n_heads)  # (B, H, Tk, D)

        kernel_is_causal = False
        n_queries, n_keys = query.shape[2], key.shape[2]
        if causal and n_queries > 1:  # one query, the newest, sees every key: no mask needed
            kernel_is_causal = n_queries == n_keys and mask is None and bias is None and not return_weights
            if not kernel_is_causal:
                mask = combine_masks(mask, causal_mask(n_queries, n_keys, x.device))

        dropout = self.dropout if self.training else 0.0
        if return_weights:
            heads, weights = scaled_dot_product_attention(query, key, value, mask, bias, dropout)
        else:
            heads, weights = fast_attention(query, key, value, mask, bias, dropout, kernel_is_causal), None
        return self.output(self.merge_heads(heads)), weights

    def project_query(self, x: Tensor) -> Tensor:
        """(B, Tq, C) -> queries (B, H, Tq, D)."""
        query = self.split_heads(self.query(x), self.n_heads)
        return F.rms_norm(query, (self.head_width,)) if self.qk_norm else query

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Tk, C) -> keys and values, (B, K, Tk, D) each."""
        key = self.split_heads(self.key(memory), self.n_kv_heads)
        value = self.split_heads(self.value(memory), self.n_kv_heads)
        return (F.rms_norm(key, (self.head_width,)) if self.qk_norm else key), value

    def split_heads(self, x: Tensor, n_heads: int) -> Tensor:
        """(B, T, heads * D) -> (B, heads, T, D)."""
        return x.view(*x.shape[:2], n_heads, self.head_width).transpose(1, 2)

    def merge_heads(self, x: Tensor) -> Tensor:
        """(B, H, T, D) -> (B, T, C)."""
        return x.transpose(1, 2).flatten(2)
