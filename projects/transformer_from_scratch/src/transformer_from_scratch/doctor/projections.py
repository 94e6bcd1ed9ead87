"""Find the query, key, value and output projections inside a module that somebody else wrote.

By name (`q_proj`, `W_query`, `to_q`, `w_qs`, `c_attn`, `in_proj_weight` …), in lists of heads (`heads.0.key`), or,
failing that, by order (the four `linears` of The Annotated Transformer).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_from_scratch.doctor.naming import plain
from transformer_from_scratch.doctor.recipes import Recipe, merge_heads, split_heads

Map = Callable[[Tensor], Tensor]

_FUSED = {"cattn", "inproj", "attn", "querykeyvalue", "keyqueryvalue", "kqv", "qkv", "cqkv", "inprojweight"}
_FILLERS = (
    "linear",
    "lin",
    "projection",
    "proj",
    "layers",
    "layer",
    "weights",
    "weight",
    "matrix",
    "trans",
    "fc",
    "map",
)
_LETTERS = {
    "q": "query", "qs": "query", "query": "query", "queries": "query", "qx": "query",
    "k": "key", "ks": "key", "key": "key", "keys": "key",
    "v": "value", "vs": "value", "value": "value", "values": "value", "val": "value",
    "qkv": "fused", "kqv": "fused", "querykeyvalue": "fused", "kv": "key and value",
    "o": "output", "out": "output", "output": "output", "c": "output", "concat": "output", "dense": "output",
    "unifyheads": "output", "final": "output", "resid": "output", "combine": "output", "combiner": "output",
}  # fmt: skip


def projection_role(name: str) -> str | None:
    """What a layer of this name projects to: query, key, value, fused (all three), key and value, output; or None."""
    text = plain(name)
    if text in _FUSED:
        return "fused"
    for filler in _FILLERS:
        text = text.replace(filler, "")
    for candidate in (text, text.removeprefix("to"), text.removeprefix("w"), text.removesuffix("w")):
        if candidate in _LETTERS:
            return _LETTERS[candidate]
    return "output" if text == "" else None


@dataclass
class Projections:
    """The linear maps of an attention module, applied the way a `Recipe` says."""

    maps: dict[str, list[Map]]
    """By role; several where each head has its own."""

    named: bool = True
    """Whether the names say what each is; otherwise only their order does."""

    is_identity: bool = False
    """For plain functions of query, key and value."""

    raw: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def is_fused(self) -> bool:
        return "fused" in self.maps

    @property
    def has_output(self) -> bool:
        return "output" in self.maps

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> dict[str, Tensor]:
        """(B, T, C) inputs -> (B, T, width) by role, not yet split into heads."""
        if self.is_identity:
            return {"query": query, "key": key, "value": value}
        given = {"query": query, "key": key, "value": value}
        if self.is_fused:
            return {role: _apply(self.maps["fused"], x) for role, x in given.items()}
        if "key and value" in self.maps:
            halves = (_apply(self.maps["key and value"], x) for x in (key, value))
            keys, values = (both.chunk(2, dim=-1)[i] for i, both in enumerate(halves))
            return {"query": _apply(self.maps["query"], query), "key": keys, "value": values}
        return {role: _apply(self.maps[role], x) for role, x in given.items()}

    def heads(self, raw: dict[str, Tensor], n_heads: int, width: int, recipe: Recipe) -> list[Tensor] | None:
        """Query (B, H, T, D), key and value (B, K, T, D); None where the widths do not fit that many heads."""
        if self.is_fused:
            return _split_fused(raw, n_heads, width, recipe)
        names = ("query", "key", "value")
        parts = [raw[names[place]] for place in (recipe.order if not self.named else (0, 1, 2))]
        if parts[0].shape[-1] % n_heads:
            return None
        head_width = parts[0].shape[-1] // n_heads
        if any(
            part.shape[-1] % head_width or n_heads % (part.shape[-1] // head_width or n_heads + 1) for part in parts
        ):
            return None
        return [split_heads(part, part.shape[-1] // head_width, recipe) for part in parts]

    def finish(self, heads: Tensor, recipe: Recipe) -> Tensor | None:
        """(B, H, T, D) -> (B, T, C); None where the output projection does not fit."""
        merged = merge_heads(heads, recipe)
        if not (recipe.output and self.has_output):
            return merged
        try:
            return _apply(self.maps["output"], merged)
        except RuntimeError:
            return None


def _apply(maps: list[Map], x: Tensor) -> Tensor:
    return torch.cat([_apply_one(function, x) for function in maps], dim=-1)


def _apply_one(function: Map, x: Tensor) -> Tensor:
    width = getattr(function, "in_features", x.shape[-1])
    if width == x.shape[-1] or x.shape[-1] % width:
        return function(x)
    return function(x.unflatten(-1, (-1, width))).flatten(-2)  # one small map, shared by all heads


def _split_fused(raw: dict[str, Tensor], n_heads: int, width: int, recipe: Recipe) -> list[Tensor] | None:
    """Cut one projection of all three into heads, for any order of its axes."""
    total = raw["query"].shape[-1]
    names = ("query", "key", "value")
    if recipe.layout == "qkv h d" and total != 3 * width and width % n_heads == 0:  # fewer key/value heads
        head_width = width // n_heads
        kv_width = (total - width) // 2
        if (total - width) % (2 * head_width) or kv_width == 0 or recipe.order != (0, 1, 2):
            return None
        parts = [raw[n].split((width, kv_width, kv_width), dim=-1)[i] for i, n in enumerate(names)]
        return [split_heads(part, part.shape[-1] // head_width, recipe) for part in parts]
    if total % (3 * n_heads):
        return None
    axes = recipe.layout.split()
    sizes = {"qkv": 3, "h": n_heads, "d": total // (3 * n_heads)}
    heads = []
    for place, name in zip(recipe.order, names, strict=True):
        x = raw[name].unflatten(-1, tuple(sizes[axis] for axis in axes))  # (B, T, three axes)
        x = x.select(2 + axes.index("qkv"), place)
        flat = (x if axes.index("h") < axes.index("d") else x.transpose(2, 3)).flatten(2)  # (B, T, H * D)
        heads.append(split_heads(flat, n_heads, recipe))
    return heads


def find_projections(module: nn.Module) -> list[Projections]:
    """The projections of an attention module, in each way that they may be meant; empty if it has none."""
    layers = _layers(module)
    by_role: dict[str, list[Map]] = defaultdict(list)
    unknown: list[Map] = []
    for name, layer in layers:
        role = projection_role(name)
        (unknown if role is None else by_role[role]).append(layer)
    found: list[Projections] = []
    if "output" not in by_role and len(unknown) == 1:
        by_role["output"] = unknown
    if _is_complete(by_role):
        found.append(Projections(dict(by_role)))
    elif len(layers) in (3, 4):
        found.append(Projections(_by_order([layer for _, layer in layers]), named=False))
    for orientation in ("in out", "out in"):
        maps: dict[str, list[Map]] = {role: list(values) for role, values in by_role.items()}
        maps |= {role: [layer] for role, layer in _parameters(module, orientation)}
        if len(maps) > len(by_role) and _is_complete(maps):
            found.append(Projections(maps))
    return found


def _is_complete(maps: dict[str, list[Map]]) -> bool:
    separate = {"query", "key", "value"} <= maps.keys() or {"query", "key and value"} <= maps.keys()
    return "fused" in maps or separate


def _by_order(layers: list[Map]) -> dict[str, list[Map]]:
    roles = ("query", "key", "value", "output")
    return {role: [layer] for role, layer in zip(roles, layers, strict=False)}


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear map, such as `nn.Linear` or the `Conv1D` of Hugging Face's GPT-2."""
    kind = type(module).__name__
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() == 2 and ("Linear" in kind or kind == "Conv1D")


def _layers(module: nn.Module) -> list[tuple[str, Map]]:
    """Linear layers that belong to the module itself: direct ones, in lists, and in lists of heads."""
    found: list[tuple[str, Map]] = []
    for name, child in module.named_children():
        if is_linear(child):
            found.append((name, child))
        elif isinstance(child, nn.Sequential):
            found += [(name, child)] if any(is_linear(layer) for layer in child) else []
        elif isinstance(child, nn.ModuleList):
            for index, item in enumerate(child):
                own = [(f"{name}{index}", item)] if is_linear(item) else item.named_children()
                found += [(inner, layer) for inner, layer in own if is_linear(layer)]
        elif not isinstance(child, nn.ModuleDict) and projection_role(name) == "output":
            # As in BERT, whose output layer is a module with dropout and a norm: no plain projection.
            continue
    return found


def _parameters(module: nn.Module, orientation: str) -> Iterator[tuple[str, Map]]:
    """Projections that are bare parameters: `in_proj_weight`, (C, C) matrices, (H, C, D) and (H, D, C) stacks."""
    own = dict(module.named_parameters(recurse=False))
    for name, weight in own.items():
        role = projection_role(name.removesuffix("_weight"))
        if role is None or "bias" in name:
            continue
        if name == "in_proj_weight":
            yield "fused", _linear(weight, own.get("in_proj_bias"))
        elif weight.dim() == 2:
            yield role, _linear(weight.T if orientation == "in out" else weight, None)
        elif weight.dim() == 3 and role == "output":
            yield role, lambda x, w=weight: x @ w.flatten(0, 1)  # (H, D, C)
        elif weight.dim() == 3:
            yield role, lambda x, w=weight: torch.einsum("btc,hcd->bthd", x, w).flatten(2)


def _linear(weight: Tensor, bias: Tensor | None) -> Map:
    return lambda x: F.linear(x, weight, bias)
