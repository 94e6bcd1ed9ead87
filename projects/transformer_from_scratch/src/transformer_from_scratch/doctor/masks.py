"""Masks in all the ways that attention code takes them, told apart by trying.

A form is a shape (B, 1, Tq, Tk), (Tq, Tk), (B, Tk) …, a type (bool, 0/1, 0/-inf to add, lengths) and a meaning of True.
The doctor hands the same mask over in each form and keeps the one under which nothing leaks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SQUARE_SHAPES = ("(B, 1, Tq, Tk)", "(B, H, Tq, Tk)", "(B, Tq, Tk)", "(Tq, Tk)", "(B*H, Tq, Tk)")
KEY_SHAPES = ("(B, 1, 1, Tk)", "(B, 1, Tk)", "(B, Tk)")
LENGTHS = "lengths (B,)"
_TYPES = ("bool", "0/1 int", "0/1 float", "added")


@dataclass(frozen=True)
class MaskForm:
    """How one argument of a target takes a mask."""

    argument: str
    shape: str
    type: str
    true_means: str = "attend"
    """"attend" or "ignore"; a mask to add has 0 where one may attend."""

    def express(self, allowed: Tensor, heads: int) -> Tensor | None:
        """(B, Tq, Tk) True = may attend -> the argument's value; None where this form cannot say it."""
        batch, n_queries, n_keys = allowed.shape
        if self.shape == LENGTHS:
            return _lengths(allowed)
        if self.shape in KEY_SHAPES:
            keys = allowed[:, 0]  # (B, Tk)
            if not torch.equal(allowed, keys[:, None].expand_as(allowed)):
                return None
            shaped = keys.reshape(
                {"(B, 1, 1, Tk)": (batch, 1, 1, n_keys), "(B, 1, Tk)": (batch, 1, n_keys)}.get(
                    self.shape, (batch, n_keys)
                )
            )
        elif self.shape == "(Tq, Tk)":
            if not torch.equal(allowed, allowed[:1].expand_as(allowed)):
                return None
            shaped = allowed[0]
        elif self.shape == "(B, Tq, Tk)":
            shaped = allowed
        elif self.shape == "(B*H, Tq, Tk)":
            shaped = allowed.repeat_interleave(heads, dim=0)
        else:
            n_heads = heads if "H" in self.shape else 1
            shaped = allowed[:, None].expand(batch, n_heads, n_queries, n_keys)
        return self._typed(shaped.contiguous())

    def _typed(self, allowed: Tensor) -> Tensor:
        if self.type == "added":
            return torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)
        mask = allowed if self.true_means == "attend" else ~allowed
        if self.type == "bool":
            return mask
        return mask.long() if self.type == "0/1 int" else mask.to(torch.get_default_dtype())

    def __str__(self) -> str:
        if self.shape == LENGTHS:
            return f"{self.argument}: {LENGTHS}"
        if self.type == "added":
            return f"{self.argument}: {self.shape}, added to the scores"
        sense = "may attend" if self.true_means == "attend" else "masked out"
        true = "True" if self.type == "bool" else "1"
        return f"{self.argument}: {self.shape}, {true} = {sense}"


def _lengths(allowed: Tensor) -> Tensor | None:
    lengths = allowed[:, 0].sum(dim=-1)  # (B,)
    prefix = torch.arange(allowed.shape[-1]) < lengths[:, None]  # (B, Tk)
    return lengths if torch.equal(allowed, prefix[:, None].expand_as(allowed)) else None


@dataclass(frozen=True)
class ProbedMask:
    """A form that an argument takes, and what it was seen to do."""

    form: MaskForm
    behaviour: str
    """"works"; "leaks": masked tokens still matter; "unused": nothing changes; "not finite"."""

    leak: float = 0.0
    """Largest influence of a masked token, relative to the spread of the outputs."""


def probe(
    argument: str,
    measure: Callable[[MaskForm | None, Tensor], Tensor | None],
    n_tokens: int,
    preferred: str,
    *,
    has_heads: bool,
    keys_only: bool = False,
    lengths: bool = False,
) -> ProbedMask | None:
    """Find the form in which an argument takes masks.

    Args:
        argument: its name.
        measure: runs the target under a form and a (B, Tq, Tk) mask, and returns the (T, T) dependency of outputs on
            inputs; None when the target refuses the form. With the form None: without a mask.
        n_tokens: T.
        preferred: meaning of True to assume when no form works.
        has_heads: whether shapes with a head axis make sense.
        keys_only: whether only masks of keys make sense (token masks of a model).
        lengths: whether the argument takes lengths.

    Returns:
        The first form under which nothing leaks, else the first that runs, None if none runs.
    """
    unmasked = measure(None, torch.ones(1, n_tokens, n_tokens, dtype=torch.bool))
    fallback: ProbedMask | None = None
    for form in _candidates(argument, preferred, has_heads=has_heads, keys_only=keys_only, lengths=lengths):
        allowed = _pattern(n_tokens, square=form.shape in SQUARE_SHAPES, prefix=form.shape == LENGTHS)
        influence = measure(form, allowed)
        if influence is None:
            continue
        result = _judge(form, influence, allowed[0], unmasked)
        if result.behaviour == "works":
            return result
        better = fallback is None or (fallback.behaviour != "leaks" and result.behaviour == "leaks")
        if better and form.type != "added":
            fallback = result
    return fallback


def _candidates(
    argument: str, preferred: str, *, has_heads: bool, keys_only: bool, lengths: bool
) -> Iterator[MaskForm]:
    if lengths:
        yield MaskForm(argument, LENGTHS, "0/1 int")
        return
    squares = [] if keys_only else [s for s in SQUARE_SHAPES if has_heads or "H" not in s]
    shapes = [*squares, "(B, Tk)", "(B, 1, 1, Tk)", "(B, 1, Tk)"]
    for shape in shapes:
        for kind in _TYPES:
            yield MaskForm(argument, shape, kind, "attend" if kind == "added" else preferred)


def _pattern(n_tokens: int, *, square: bool, prefix: bool) -> Tensor:
    """(3, T, T) with an allowed and a forbidden key in every row, and, when square, in every column."""
    if square:
        rows = torch.arange(n_tokens)[:, None]
        columns = torch.arange(n_tokens)[None, :]
        allowed = ((rows - columns) % 3 != 1) | (rows == columns)
    else:
        keys = torch.arange(n_tokens) < n_tokens - 2 if prefix else torch.arange(n_tokens) % 3 != 1
        allowed = keys[None, :].expand(n_tokens, n_tokens)
    return allowed.expand(3, n_tokens, n_tokens).contiguous()


def _judge(form: MaskForm, influence: Tensor, allowed: Tensor, unmasked: Tensor | None) -> ProbedMask:
    """Compare the (T, T) influence with the mask. The diagonal does not count: a residual connection fills it."""
    if not bool(influence.isfinite().all()):
        return ProbedMask(form, "not finite")
    off_diagonal = ~torch.eye(len(allowed), dtype=torch.bool)
    visible = off_diagonal if unmasked is None else off_diagonal & (unmasked > 1e-7)
    forbidden, permitted = visible & ~allowed, visible & allowed
    threshold = 1e-7
    leak = influence[forbidden].max().item() if bool(forbidden.any()) else 0.0
    if leak <= threshold and bool((influence[permitted] > threshold).any()):
        return ProbedMask(form, "works")
    if bool((influence[permitted] <= threshold).all()) and form.type != "added" and form.shape != LENGTHS:
        other = "ignore" if form.true_means == "attend" else "attend"
        return ProbedMask(MaskForm(form.argument, form.shape, form.type, other), "works")
    unused = unmasked is not None and torch.allclose(influence, unmasked, rtol=1e-6, atol=1e-9)
    return ProbedMask(form, "unused" if unused else "leaks", leak)
