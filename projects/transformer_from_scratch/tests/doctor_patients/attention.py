"""One attention with a switch for each known bug, and functions likewise. Loaded by path, as a learner's file."""

import math

import torch
import torch.nn.functional as F
from torch import nn

SOFTMAX_AXIS = {"softmax_over_queries": -2, "softmax_over_heads": 1, "softmax_over_batch": 0}
FILLS = {
    "mask_wrong_fill": -1.0,
    "fill_typo": 1e-9,
    "fill_ten": -10.0,
    "fill_positive": 1e9,
    "fill_zero": 0.0,
}


def scale(bug, head_dim, width):
    return {
        "missing_scale": 1.0,
        "scale_without_root": 1 / head_dim,
        "scale_multiplied": math.sqrt(head_dim),
        "scale_by_model_width": 1 / math.sqrt(width),
    }.get(bug, 1 / math.sqrt(head_dim))


def core(q, k, v, mask, bug, width):
    """(B, H, T, D); mask True = may attend."""
    if bug == "keys_values_swapped":
        k, v = v, k
    turned = k.transpose(-2, -1)
    if bug == "key_reshaped":
        turned = k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2])
    if bug == "values_used_as_keys":
        turned = v.transpose(-2, -1)
    if bug == "queries_used_as_keys":
        turned = q.transpose(-2, -1)
    scores = q @ turned * scale(bug, q.shape[-1], width)
    if mask is not None and bug not in ("mask_after_softmax", "mask_ignored"):
        if bug == "inverted_mask":
            mask = ~mask.bool()
        scores = (
            scores * mask if bug == "mask_multiplied" else scores.masked_fill(mask == 0, FILLS.get(bug, -torch.inf))
        )
    weights = scores.softmax(SOFTMAX_AXIS.get(bug, -1))
    if mask is not None and bug == "mask_after_softmax":
        weights = weights * mask
    return weights @ (k if bug == "keys_used_as_values" else v)


def turn(x, start=0):
    width = x.shape[-1]
    angles = torch.outer(torch.arange(start, start + x.shape[-2]), 10_000.0 ** (-torch.arange(0, width, 2) / width))
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)


class Patient(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads=None, dropout=0.0, bug="", rotary=False, causal=False):
        super().__init__()
        self.n_heads, self.n_kv, self.bug = n_heads, n_kv_heads or n_heads, bug
        self.rotary, self.causal, self.p = rotary, causal, dropout
        self.head_dim = d_model // n_heads
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, self.n_kv * self.head_dim)
        self.v_proj = nn.Linear(d_model, self.n_kv * self.head_dim)
        self.out_proj = nn.Linear(d_model, d_model)

    def split(self, x, heads):
        if self.bug == "split_by_view":
            return x.view(x.shape[0], heads, x.shape[1], self.head_dim)
        return x.view(*x.shape[:2], heads, self.head_dim).transpose(1, 2)

    def forward(self, x, mask=None):
        B, T, C = x.shape
        q = self.split(self.q_proj(x), self.n_heads)
        k, v = self.split(self.k_proj(x), self.n_kv), self.split(self.v_proj(x), self.n_kv)
        if self.rotary:
            q, k = turn(q), (k if self.bug == "rotary_on_one" else turn(k))
            v = turn(v) if self.bug == "rotary_on_values" else v
        n = self.n_heads // self.n_kv
        share = (
            (lambda t: t.repeat(1, n, 1, 1)) if self.bug == "kv_heads_tiled" else (lambda t: t.repeat_interleave(n, 1))
        )
        if self.causal:
            diagonal = {"causal_off_by_one": 1, "causal_strict": -1}.get(self.bug, 0)
            mask = torch.ones(T, T, dtype=torch.bool).tril(diagonal)
            mask = ~mask if self.bug == "causal_inverted" else None if self.bug == "no_causal_mask" else mask
        y = core(q, share(k), share(v), mask, self.bug, C)
        if self.bug == "dropout_in_eval":
            y = F.dropout(y, self.p)
        y = y.reshape(B, T, C) if self.bug == "merge_by_view" else y.transpose(1, 2).reshape(B, T, C)
        y = y if self.bug == "missing_output_projection" else self.out_proj(y)
        return y.detach() if self.bug == "gradient_cut" else y


class CausalPatient(Patient):
    def __init__(self, d_model, n_heads, bug=""):
        super().__init__(d_model, n_heads, bug=bug, causal=True)

    def forward(self, x):
        return super().forward(x)


class RotaryPatient(Patient):
    def __init__(self, d_model, n_heads, bug=""):
        super().__init__(d_model, n_heads, bug=bug, rotary=True)


class HardDropout(Patient):
    """Random whatever its arguments are."""

    def forward(self, x, mask=None):
        return F.dropout(super().forward(x, mask), 0.1)


class FusedPatient(nn.Module):
    """nanoGPT's names, with a fused projection and a built-in mask, wrong in two ways at once."""

    def __init__(self, n_embd, n_head, bugs=""):
        super().__init__()
        self.n_head, self.bugs = n_head, bugs.split()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.n_head, -1).transpose(1, 2) for t in self.c_attn(x).split(C, dim=2))
        scores = q @ k.transpose(-2, -1) * scale(self.bugs[0] if self.bugs else "", C // self.n_head, C)
        scores = scores.masked_fill(torch.ones(T, T).tril() == 0, -torch.inf)
        y = scores.softmax(dim=1 if "softmax_over_heads" in self.bugs else -1) @ v
        y = y.reshape(B, T, C) if "merge_by_view" in self.bugs else y.transpose(1, 2).reshape(B, T, C)
        return self.c_proj(y)


class CachedPatient(nn.Module):
    """Attention with a cache that it returns."""

    def __init__(self, d_model, n_heads, bug="", rotary=False):
        super().__init__()
        self.n_heads, self.bug, self.rotary = n_heads, bug, rotary
        self.qkv, self.proj = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, past=None):
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.n_heads, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        if self.rotary:
            start = 0 if past is None or self.bug == "cache_position_offset" else past[0].shape[2]
            q, k = turn(q, start), turn(k, start)
        if past is not None and self.bug != "cache_unused":
            pasts = (past[0].flip(-1), past[1]) if self.bug == "cache_mismatch" else past
            k, v = torch.cat((pasts[0], k), 2), torch.cat((pasts[1], v), 2)
        if self.bug == "cache_top_left_mask":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        elif self.bug == "top_left_chunk":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=T > 1)
        else:
            n_keys = k.shape[2]
            y = F.scaled_dot_product_attention(
                q, k, v, attn_mask=torch.ones(T, n_keys, dtype=torch.bool).tril(n_keys - T)
            )
        return self.proj(y.transpose(1, 2).reshape(B, T, C)), (k, v)


def attention(q, k, v, mask=None):
    return core(q, k, v, mask, "", 32)


def function_with(bug):
    def attention_with_bug(q, k, v, mask=None):
        return core(q, k, v, mask, bug, 32)

    return attention_with_bug


no_scale = function_with("missing_scale")
inverted = function_with("inverted_mask")
swapped = function_with("keys_values_swapped")
reshaped = function_with("key_reshaped")
after = function_with("mask_after_softmax")


def single_head(query, key, value, attn_mask=None):
    """(B, T, D), an additive mask."""
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return (scores if attn_mask is None else scores + attn_mask).softmax(-1) @ value


def lonely(q, k, v):
    """(T, D), softmax over the queries."""
    if q.dim() != 2:
        raise ValueError("two dimensions")
    return torch.softmax(q @ k.T / q.shape[1] ** 0.5, dim=0) @ v


def tokens_first(q, k, v):
    """(B, T, H, D), as flash attention takes it."""
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    return (torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v).transpose(1, 2)


def top_left(q, k, v, is_causal=False):
    return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)


def bottom_right(q, k, v, is_causal=False):
    mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(k.shape[-2] - q.shape[-2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask if is_causal else None)


def causal_attention(q, k, v):
    """Says causal, and is not."""
    return core(q, k, v, None, "", 32)
