"""One way to call any attention: (B, T, C) in, (B, T, C) out, one mask convention.

Inside are the learner's conventions: separate query, key and value or one input; batch first or time first; functions
on heads of (B, H, T, D), (B, T, H, D), (B, T, D) or (T, D); and masks in whatever form (`masks.py`).
"""

import copy
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from roadmap_shared.errors import UserError
from transformer_from_scratch.doctor.attention_roles import attention_roles, parameters_of
from transformer_from_scratch.doctor.loading import UnreadableOutput, where
from transformer_from_scratch.doctor.masks import SQUARE_SHAPES, MaskForm, ProbedMask, probe
from transformer_from_scratch.doctor.measuring import dependency, tensors_in, tolerance_of
from transformer_from_scratch.doctor.naming import usual_meaning

BATCH, TOKENS = 3, 7
"""No size here equals another one, so that no tensor fits where a different one belongs."""

MODULE_LAYOUTS = ("(B, T, C)", "(T, B, C)")
FUNCTION_LAYOUTS = ("(B, H, T, D)", "(B, T, H, D)", "(B, T, D)", "(T, D)")


class AttentionSubject:
    """A target, seen as attention.

    Args:
        name: how messages call it.
        function: what to call, `forward` of a module or a function.
        module: the module, None for a function.
        width: C of its input.
        heads: H if known.
        layout: one of the layouts above.
        dtype: numbers it computes with.
        mask_means: what True means in a mask, if the learner has said so.

    Raises:
        UserError: an argument of `function` is required and unknown.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        module: nn.Module | None,
        *,
        width: int,
        heads: int,
        layout: str,
        dtype: torch.dtype,
        mask_means: str | None = None,
    ) -> None:
        self.name, self.function, self.module = name, function, module
        self.width, self.heads, self.layout, self.dtype = width, heads, layout, dtype
        self.mask_means = mask_means
        self.tolerance = tolerance_of(dtype)
        self.parameters = parameters_of(function)
        self.roles = attention_roles(name, self.parameters)
        self.inputs = "separate" if {"query", "key"} <= self.roles.keys() else "one"
        if self.inputs == "one" and "memory" in self.roles and self._is_required(self.roles["memory"]):
            self.inputs = "input and memory"
        # A decoder layer attends to itself under its masks, and to a memory that is another sequence.
        names = " ".join(self.parameters)
        self.memory_is_fixed = self.inputs == "input and memory" and bool(re.search("tgt|trg|target|self_", names))
        self.inputs = "one" if self.memory_is_fixed else self.inputs
        self.masks: list[ProbedMask] = []
        self.mask_is_needed = False

    @property
    def takes_other_keys(self) -> bool:
        """Whether keys and values may come from another sequence than the queries."""
        return self.inputs != "one"

    @property
    def causal_flag(self) -> str | None:
        """The argument that asks for a causal mask."""
        return self.roles.get("causal")

    def random(self, n_tokens: int = TOKENS, seed: int = 0) -> Tensor:
        """(B, T, C) of standard normal numbers."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(BATCH, n_tokens, self.width, generator=generator, dtype=self.dtype)

    def __call__(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        allowed: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """(B, Tq, C) queries, (B, Tk, C) keys and values (default: the queries) -> (B, Tq, C).

        `allowed` (B, Tq, Tk), True = may attend; `causal` sets the target's own causal flag.
        """
        key = query if key is None else key
        value = key if value is None else value
        if allowed is None and self.mask_is_needed:
            allowed = torch.ones(query.shape[0], query.shape[1], key.shape[1], dtype=torch.bool)
        if self.layout == "(T, D)":
            rows = range(query.shape[0])
            masks = [None if allowed is None else allowed[row : row + 1] for row in rows]
            outputs = [self._call(query[[i]], key[[i]], value[[i]], masks[i], causal) for i in rows]
            return torch.cat(outputs)
        return self._call(query, key, value, allowed, causal)

    def _call(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, causal: bool) -> Tensor:
        arguments = self.arguments(query, key, value)
        if causal and self.causal_flag is not None:
            arguments[self.causal_flag] = True
        if allowed is not None:
            arguments |= self._mask_argument(allowed)
        return self.pick(self.function(**arguments), query)

    def arguments(self, query: Tensor, key: Tensor, value: Tensor, start: int = 0) -> dict[str, Any]:
        """The arguments of the function, masks left out, for tokens at the positions from `start` on."""
        roles = self.roles
        if self.inputs == "separate":
            given = {"query": query, "key": key, "value": value}
            arguments: dict[str, Any] = {roles[r]: self.arrange(x) for r, x in given.items() if r in roles}
        else:
            arguments = {roles["input"]: self.arrange(query)}
            if self.inputs == "input and memory":
                arguments[roles["memory"]] = self.arrange(key)
            elif self.memory_is_fixed:
                arguments[roles["memory"]] = self.arrange(self.random(seed=7))
        for role, name in roles.items():
            if name not in arguments and self._is_required(name):
                arguments[name] = self._required(role, query.shape[1], start)
        return arguments

    def _required(self, role: str, n_tokens: int, start: int) -> Any:
        positions = torch.arange(start, start + n_tokens)
        if role == "heads":
            return self.heads
        if role == "offset":
            return start
        if role == "positions":
            return positions
        if role == "turns":
            width = self.width // self.heads
            angles = torch.outer(positions, 1e4 ** (-torch.arange(0, width, 2) / width))
            return torch.polar(torch.ones_like(angles), angles)
        return False if role == "causal" else None

    def _is_required(self, name: str) -> bool:
        return self.parameters[name].default is inspect.Parameter.empty

    def _mask_argument(self, allowed: Tensor) -> dict[str, Any]:
        for mask in self.masks:
            value = mask.form.express(allowed, self.heads)
            if value is not None:
                return {mask.form.argument: value[0] if self.layout == "(T, D)" and value.dim() == 3 else value}
        raise UnreadableOutput(f"{self.name} takes no mask of this kind")

    def can_express(self, allowed: Tensor) -> bool:
        """Whether some mask argument can say this (B, Tq, Tk) mask."""
        return any(mask.form.express(allowed, self.heads) is not None for mask in self.masks)

    def arrange(self, x: Tensor) -> Tensor:
        """(B, T, C) -> the target's own layout."""
        match self.layout:
            case "(T, B, C)":
                return x.transpose(0, 1).contiguous()
            case "(B, H, T, D)":
                return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).contiguous()
            case "(B, T, H, D)":
                return x.unflatten(-1, (self.heads, -1)).contiguous()
            case "(T, D)":
                return x[0]
        return x.contiguous()

    def pick(self, result: Any, query: Tensor) -> Tensor:
        expected = self.arrange(query).shape
        for tensor in tensors_in(result):
            fits = tensor.dim() == len(expected) and tensor.shape[:-1] == expected[:-1]
            # A single head of a larger attention is narrower than its input.
            if fits and (tensor.shape[-1] == expected[-1] or self.module is not None):
                match self.layout:
                    case "(T, B, C)":
                        return tensor.transpose(0, 1)
                    case "(B, H, T, D)":
                        return tensor.transpose(1, 2).flatten(2)
                    case "(B, T, H, D)":
                        return tensor.flatten(2)
                    case "(T, D)":
                        return tensor[None]
                return tensor
        shapes = [tuple(tensor.shape) for tensor in tensors_in(result)]
        raise UnreadableOutput(f"no output of shape {tuple(expected)} among {shapes or type(result).__name__}")

    def try_out(self) -> None:
        """Call it once, with an all-allowing mask if it insists on one.

        Raises:
            Exception: whatever the target raises.
        """
        try:
            self(self.random())
        except Exception:
            needed = [name for role, name in self.roles.items() if role.startswith(("mask", "lengths"))]
            if not needed:
                raise
            self.mask_is_needed = True
            self.probe_masks()
            if not self.masks:
                raise

    def probe_masks(self) -> None:
        """Find out how its mask arguments work."""
        self.masks = []
        found = []
        for role, name in self.roles.items():
            if not role.startswith(("mask", "lengths")) or re.search("memory|cross|encoder", name):
                continue  # those of another sequence do nothing without it
            meaning = self.mask_means or usual_meaning(name) or "attend"
            result = probe(
                name,
                self._measure,
                TOKENS,
                meaning,
                has_heads=self.layout not in ("(B, T, D)", "(T, D)"),
                keys_only="key" in name or "pad" in name or name == "is_token",
                lengths=role == "lengths",
            )
            if result is not None:
                found.append(result)
        self.masks = sorted(found, key=lambda mask: mask.form.shape not in SQUARE_SHAPES)

    def _measure(self, form: MaskForm | None, allowed: Tensor) -> Tensor | None:
        """(T, T) influence of inputs on outputs under a mask in this form; None if the target refuses."""
        if form is None and self.mask_is_needed:
            return None
        self.masks = [] if form is None else [ProbedMask(form, "")]
        mask = None if form is None else allowed
        try:
            if not bool(self(self.random(), allowed=mask).isfinite().all()):
                return torch.full(allowed.shape[-2:], torch.nan)
            return self.influence(allowed=mask)
        except Exception:
            return None

    def influence(self, *, allowed: Tensor | None = None, causal: bool = False) -> Tensor:
        """(T, T): how much output i depends on token j, below the rounding error set to 0."""
        strength = dependency(lambda x: self(x, allowed=allowed, causal=causal), self.random(), self.random(seed=1))
        return strength.masked_fill(strength < self.tolerance / 100, 0.0)

    def by_convention(self) -> "AttentionSubject":
        """The same subject with masks handed over as their names, or the learner, say, not as they seem to work."""
        other = copy.copy(self)
        other.masks = [
            replace(mask, form=replace(mask.form, true_means=meaning))
            if mask.form.type != "added" and (meaning := self.mask_means or usual_meaning(mask.form.argument))
            else mask
            for mask in self.masks
        ]
        return other


def make_subject(
    name: str,
    function: Callable[..., Any],
    module: nn.Module | None,
    *,
    width: int,
    heads: int,
    layouts: tuple[str, ...],
    mask_means: str | None,
) -> list[AttentionSubject]:
    """The target in every layout in which it runs, in float64 where it can.

    Raises:
        UserError: it runs in none.
    """
    running: list[AttentionSubject] = []
    first_error: Exception | None = None
    for dtype in (torch.float64, torch.float32):
        if module is not None:
            module.to(dtype)
        torch.set_default_dtype(dtype)
        for layout in layouts:
            n_heads = 1 if layout in ("(B, T, D)", "(T, D)") else heads
            subject = AttentionSubject(
                name,
                function,
                module,
                width=width,
                heads=n_heads,
                layout=layout,
                dtype=dtype,
                mask_means=mask_means,
            )
            try:
                subject.try_out()
            except Exception as error:
                first_error = first_error or error
                continue
            running.append(subject)
        if running:
            return running
    assert first_error is not None  # nothing ran
    shape = {"(B, T, C)": (BATCH, TOKENS, width)}.get(layouts[0], (BATCH, heads, TOKENS, width // max(heads, 1)))
    raise UserError(
        f"calling {name}{inspect.signature(function)} with input of shape {shape} failed: {where(first_error)}. "
        "Name its sizes with --arguments name=value, or wrap it in a function of (query, key, value, mask)"
    ) from first_error
