"""Reference attention in float64, right and wrong in every way that the doctor knows.

A `Recipe` is one way to compute attention. The default is the right one (Vaswani et al. 2017, §3.2); each known bug
changes one field of it. Whichever recipe gives the target's own numbers names the bug.

Shapes: B batch, Tq queries, Tk keys, H heads, K key/value heads, D head width, C = H * D.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Recipe:
    """One way to compute attention."""

    # Styles: all of them are right.
    layout: str = "qkv h d"
    """Order of the axes in the width of one fused projection."""

    order: tuple[int, int, int] = (0, 1, 2)
    """Where query, key and value stand in a fused projection."""

    features: str = "h d"
    """Order of heads and head features in the width of a separate projection."""

    always_causal: bool = False
    """Whether the target applies a causal mask by itself."""

    rotary: str = "none"
    """Rotary positions: "none", "neighbours" (features 2i, 2i+1), "halves" (i, i + D/2)."""

    qk_norm: bool = False
    fill: float = -math.inf
    """What a masked score becomes."""

    # Where the bugs are.
    scale: str = "1/sqrt(D)"
    axis: str = "keys"
    """Over what the softmax runs: keys, queries, heads, batch."""

    masking: str = "fill"
    """"fill", "multiply" (scores by 0/1), "after" (weights by 0/1, not renormalised), "ignore"."""

    inverted: bool = False
    causal: str = "past and self"
    """Keys that a query sees under a causal mask: also "one ahead", "past", "future", "future and self"."""

    roles: str = "qkv"
    """What serves as query, as key and as value."""

    transpose_key: bool = True
    """False: the key is reshaped to (D, Tk) instead of transposed."""

    split: str = "transpose"
    merge: str = "transpose"
    """"view": the (B, T, C) memory is read as (B, H, T, D), or the other way round, without moving the axes."""

    output: bool = True
    """Whether the output projection is applied."""

    rotates: str = "qk"
    """What rotary positions turn."""

    sharing: str = "consecutive"
    """Which query heads share a key/value head: neighbours, or every K-th ("tiled")."""


SCALES = {
    "1/sqrt(D)": lambda d, c: d**-0.5,
    "1": lambda d, c: 1.0,
    "1/sqrt(C)": lambda d, c: c**-0.5,
    "1/D": lambda d, c: 1 / d,
    "1/C": lambda d, c: 1 / c,
    "sqrt(D)": lambda d, c: d**0.5,
}

_CORE_BUGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("missing_scale", {"scale": "1"}),
    ("scale_by_model_width", {"scale": "1/sqrt(C)"}),
    ("scale_by_model_width", {"scale": "1/C"}),
    ("scale_without_root", {"scale": "1/D"}),
    ("scale_multiplied", {"scale": "sqrt(D)"}),
    ("softmax_over_queries", {"axis": "queries"}),
    ("softmax_over_heads", {"axis": "heads"}),
    ("softmax_over_batch", {"axis": "batch"}),
    ("inverted_mask", {"inverted": True}),
    ("inverted_mask", {"causal": "future"}),
    ("inverted_mask", {"causal": "future and self"}),
    ("causal_off_by_one", {"causal": "one ahead"}),
    ("causal_off_by_one", {"causal": "past"}),
    ("mask_multiplied", {"masking": "multiply"}),
    ("mask_after_softmax", {"masking": "after"}),
    ("mask_ignored", {"masking": "ignore"}),
    *(("mask_wrong_fill", {"fill": fill}) for fill in (1e-9, -1e-9, -1.0, -10.0, 1.0, 1e9)),
    ("keys_values_swapped", {"roles": "qvk"}),
    ("values_used_as_keys", {"roles": "qvv"}),
    ("keys_used_as_values", {"roles": "qkk"}),
    ("queries_used_as_keys", {"roles": "qqv"}),
    ("key_reshaped", {"transpose_key": False}),
)
_PROJECTION_BUGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("split_by_view", {"split": "view"}),
    ("merge_by_view", {"merge": "view"}),
    ("missing_output_projection", {"output": False}),
    ("kv_heads_tiled", {"sharing": "tiled"}),
    ("rotary_on_values", {"rotates": "qkv"}),
    ("rotary_on_one", {"rotates": "q"}),
    ("rotary_on_one", {"rotates": "k"}),
)


def bug_changes(*, has_projections: bool) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Each known bug with the fields of a `Recipe` that it changes."""
    return _CORE_BUGS + _PROJECTION_BUGS if has_projections else _CORE_BUGS


def changed(recipe: Recipe, fields: dict[str, Any]) -> Recipe | None:
    """The recipe with these fields, or None where the change makes no difference."""
    is_pointless = ("rotates" in fields and recipe.rotary == "none") or all(
        getattr(recipe, name) == value for name, value in fields.items()
    )
    return None if is_pointless else replace(recipe, **fields)


def causal_pattern(name: str, n_queries: int, n_keys: int) -> Tensor:
    """(Tq, Tk) True = visible."""
    ahead = torch.arange(n_keys)[None, :] - torch.arange(n_keys - n_queries, n_keys)[:, None]
    return {
        "past and self": ahead <= 0,
        "one ahead": ahead <= 1,
        "past": ahead < 0,
        "future": ahead > 0,
        "future and self": ahead >= 0,
    }[name]


def rotate(heads: Tensor, style: str, base: float = 10_000.0) -> Tensor:
    """Rotary positions 0 … T-1 on (B, H, T, D) (Su et al. 2021)."""
    width = heads.shape[-1]
    frequencies = base ** (-torch.arange(0, width, 2, dtype=heads.dtype) / width)  # (D / 2,)
    angles = torch.outer(torch.arange(heads.shape[-2], dtype=heads.dtype), frequencies)  # (T, D / 2)
    cos, sin = angles.cos(), angles.sin()
    if style == "halves":
        first, second = heads.chunk(2, dim=-1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    even, odd = heads[..., 0::2], heads[..., 1::2]
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)


def attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, recipe: Recipe, width: int) -> Tensor:
    """(B, H, Tq, D) queries, (B, K, Tk, D) keys and values -> (B, H, Tq, D), as the recipe says.

    Args:
        query, key, value: heads.
        allowed: (B, Tq, Tk) True = may attend, the causal mask included; None allows everything.
        recipe: the way to compute it.
        width: C, for the wrong scales.
    """
    if recipe.qk_norm:
        query, key = (torch.nn.functional.rms_norm(x, x.shape[-1:]) for x in (query, key))
    if recipe.rotary != "none":
        query = rotate(query, recipe.rotary) if "q" in recipe.rotates else query
        key = rotate(key, recipe.rotary) if "k" in recipe.rotates else key
        value = rotate(value, recipe.rotary) if "v" in recipe.rotates else value
    given = {"q": query, "k": key, "v": value}
    query, key, value = (_share(given[role], query.shape[1], recipe.sharing) for role in recipe.roles)
    turned = key.transpose(-2, -1) if recipe.transpose_key else key.reshape(*key.shape[:2], key.shape[3], key.shape[2])
    scores = query @ turned * SCALES[recipe.scale](query.shape[-1], width)  # (B, H, Tq, Tk)
    weights = _weights(scores, allowed, recipe)
    return weights @ value


def _share(heads: Tensor, n_heads: int, sharing: str) -> Tensor:
    """(B, K, T, D) -> (B, H, T, D)."""
    copies = n_heads // heads.shape[1]
    if copies == 1:
        return heads
    return heads.repeat_interleave(copies, dim=1) if sharing == "consecutive" else heads.repeat(1, copies, 1, 1)


def _weights(scores: Tensor, allowed: Tensor | None, recipe: Recipe) -> Tensor:
    dim = {"keys": 3, "queries": 2, "heads": 1, "batch": 0}[recipe.axis]
    if allowed is None or recipe.masking == "ignore":
        return scores.softmax(dim)
    keep = ~allowed[:, None] if recipe.inverted else allowed[:, None]  # (B, 1, Tq, Tk)
    if recipe.masking == "multiply":
        return (scores * keep).softmax(dim)
    if recipe.masking == "after":
        return scores.softmax(dim) * keep
    return scores.masked_fill(~keep, recipe.fill).softmax(dim)


def split_heads(x: Tensor, n_heads: int, recipe: Recipe) -> Tensor:
    """(B, T, H * D) -> (B, H, T, D)."""
    batch, n_tokens, width = x.shape
    head_width = width // n_heads
    if recipe.split == "view":
        return x.reshape(batch, n_heads, n_tokens, head_width)
    if recipe.features == "d h":
        return x.reshape(batch, n_tokens, head_width, n_heads).permute(0, 3, 1, 2)
    return x.reshape(batch, n_tokens, n_heads, head_width).transpose(1, 2)


def merge_heads(heads: Tensor, recipe: Recipe) -> Tensor:
    """(B, H, T, D) -> (B, T, H * D)."""
    batch, n_heads, n_tokens, head_width = heads.shape
    if recipe.merge == "view":
        return heads.reshape(batch, n_tokens, n_heads * head_width)
    order = (0, 2, 3, 1) if recipe.features == "d h" else (0, 2, 1, 3)
    return heads.permute(order).reshape(batch, n_tokens, n_heads * head_width)
