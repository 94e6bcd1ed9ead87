"""Does decoding with a key/value cache give what the whole sequence gives at once?

Works with caches that are returned (`y, present = f(x, past)`), handed over as an object (`KVCache(…)`, also a list of
one a layer), filled in place (`{}`), or kept inside (`start_pos`).
"""

import copy
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transformer_from_scratch.doctor.checks import Check, failed, noted, passed, skipped
from transformer_from_scratch.doctor.construction import build
from transformer_from_scratch.doctor.measuring import SINGLE_TOLERANCE, relative_error, shown
from transformer_from_scratch.doctor.naming import constructor_role, plain

PREFIX, STEP, CHUNK = 4, 1, 2
"""First 4 tokens, then 1, then 2 at once: a top-left mask gets the last wrong even where single steps are right."""

NAME = "cache equality"


@dataclass
class Cached:
    """A target that can be run piece by piece."""

    module: nn.Module
    function: Callable[..., Any]
    roles: dict[str, str]
    """Role -> argument of `function`."""

    arguments: Callable[[Tensor, int], dict[str, Any]]
    """Inputs, and the position of the first of them, as arguments."""

    pick: Callable[[Any, Tensor], Tensor]
    """The output (B, T, F) in what `function` returns for an input."""

    full: Callable[[Tensor], Tensor]
    """The result without a cache, causal."""

    sizes: dict[str, Any]
    """Constructor values, for the learner's own cache class."""

    causal: bool
    """Whether pieces of several tokens are masked by the target itself."""

    knows_positions: bool
    context: int | None
    """Rows of a table of positions, if there is one."""

    def on(self, module: nn.Module) -> "Cached":
        """The same for a changed copy of the module."""
        name = self.function.__name__
        moved = copy.copy(self)
        moved.module, moved.function = module, getattr(module, name)
        moved.full = lambda x: moved.pick(moved.function(**moved.arguments(x, 0)), x)
        return moved


class _CannotDrive(Exception):
    """No way of handing over the cache that the doctor knows works."""


def has_cache(roles: dict[str, str]) -> bool:
    """Whether a target with these arguments can decode in pieces."""
    return "cache" in roles or "offset" in roles


def cache_equality(cached: Cached, x: Tensor, other: Tensor) -> Check:
    """Compare decoding in pieces with the whole, and find out why they differ.

    Args:
        cached: the target.
        x: 7 tokens (B, 7) or (B, 7, C).
        other: as `x`, other tokens.
    """
    try:
        strategy, pieces = _working_strategy(cached, x)
    except _CannotDrive as error:
        return skipped(NAME, f"the doctor could not drive this cache ({error})")
    # Without a causal mask the whole sequence would see beyond the step.
    whole = cached.full(x if cached.causal else x[:, : PREFIX + STEP].contiguous())
    step_error = relative_error(pieces[1], whole[:, PREFIX : PREFIX + STEP])
    errors, text = [step_error], f"one token after {PREFIX}: off by {shown(step_error)}"
    if cached.causal and len(pieces) > 2:
        chunk_error = relative_error(pieces[2], whole[:, PREFIX + STEP :])
        errors.append(chunk_error)
        text += f"; {CHUNK} tokens at once after {PREFIX + STEP}: off by {shown(chunk_error)}"
    if max(errors) <= SINGLE_TOLERANCE:
        single = cached.causal and len(pieces) < 3
        return noted(NAME, f"{text}; it takes one new token at a time only") if single else passed(NAME, text)
    reason, bug = _explain(cached, strategy, x, other, step_is_right=step_error <= SINGLE_TOLERANCE)
    return failed(NAME, f"{text}; {reason}", bug)


_Strategy = Callable[[Cached, Tensor], list[Tensor]]


def _working_strategy(cached: Cached, x: Tensor) -> tuple[_Strategy, list[Tensor]]:
    """The first way to hand the cache on that runs, and the outputs: prefix, step, and, if possible, chunk."""
    errors: list[str] = []
    for strategy in _strategies(cached):
        try:
            pieces = strategy(cached, x)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}".splitlines()[0][:100])
            continue
        return strategy, pieces
    raise _CannotDrive(errors[-1] if errors else "no cache came back")


def _strategies(cached: Cached) -> Iterator[_Strategy]:
    if "cache" not in cached.roles:
        yield _stateful
        return
    for make in _cache_objects(cached):
        yield lambda c, x, make=make: _in_place(c, x, make())
    for place in range(4):
        yield lambda c, x, place=place: _returned(c, x, place)
    yield lambda c, x: _in_place(c, x, {})


def _call(cached: Cached, x: Tensor, start: int, **extra: Any) -> tuple[Tensor, Any]:
    arguments = cached.arguments(x, start) | extra
    if "use_cache" in cached.roles:
        arguments[cached.roles["use_cache"]] = True
    if "offset" in cached.roles:
        arguments[cached.roles["offset"]] = start
    result = cached.function(**arguments)
    return cached.pick(result, x), result


def _cut(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    first, second, third = x.split((PREFIX, STEP, x.shape[1] - PREFIX - STEP), dim=1)
    return first.contiguous(), second.contiguous(), third.contiguous()


def _in_place(cached: Cached, x: Tensor, cache: Any) -> list[Tensor]:
    """The target appends to an object that it is given."""
    outputs: list[Tensor] = []
    start = 0
    for piece in _cut(x):
        try:
            outputs.append(_call(cached, piece, start, **{cached.roles["cache"]: cache})[0])
        except Exception:
            if len(outputs) < 2:
                raise
        start += piece.shape[1]
    return outputs


def _stateful(cached: Cached, x: Tensor) -> list[Tensor]:
    """The target keeps the cache itself and is told where the tokens stand."""
    outputs: list[Tensor] = []
    start = 0
    for piece in _cut(x):
        outputs.append(_call(cached, piece, start)[0])
        start += piece.shape[1]
    return outputs


def _returned(cached: Cached, x: Tensor, place: int) -> list[Tensor]:
    """The target returns the cache, as the output's part number `place` of those that can be one."""
    outputs: list[Tensor] = []
    state: Any = None
    start = 0
    for piece in _cut(x):
        extra = {} if state is None else {cached.roles["cache"]: state}
        if state is None and cached.roles["cache"] in _required(cached.function):
            extra = {cached.roles["cache"]: None}
        try:
            output, result = _call(cached, piece, start, **extra)
        except Exception:
            if len(outputs) < 2:
                raise
            break
        states = _states(result, output)
        if place >= len(states):
            raise LookupError("no cache came back")
        state = states[place]
        start += piece.shape[1]
        outputs.append(output)
    return outputs


def _required(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters
    return [name for name, parameter in parameters.items() if parameter.default is parameter.empty]


def _states(result: Any, output: Tensor) -> list[Any]:
    """What may be a cache among the parts of a result, likeliest first."""
    named = [getattr(result, name, None) for name in ("past_key_values", "present", "cache", "kv_cache")]
    parts = list(result) if isinstance(result, tuple) else []
    parts = [part for part in parts if part is not output and not (isinstance(part, Tensor) and part.dim() == 0)]
    plausible = [*named, *reversed(parts[1:] if len(parts) > 1 and isinstance(parts[0], Tensor) else parts)]
    return [part for part in [*plausible, *parts] if part is not None]


def _cache_objects(cached: Cached) -> Iterator[Callable[[], Any]]:
    """Makers of the learner's own caches: classes in the target's module, or used by it, with "cache" in their name."""
    module = sys.modules.get(type(cached.module).__module__)
    names = dict(getattr(cached.function, "__globals__", {})) or vars(module or inspect)
    hint = str(inspect.signature(cached.function).parameters[cached.roles["cache"]].annotation)
    classes = [v for n, v in names.items() if inspect.isclass(v) and "cache" in plain(n) and "Static" not in n]
    classes.sort(key=lambda cls: cls.__name__ not in hint)
    n_layers = cached.sizes.get("layers")
    given = {name: value for name, value in cached.sizes.items() if name == "config"}
    for cls in classes:

        def make(cls: type = cls) -> Any:
            accepted = inspect.signature(cls).parameters
            own = {n: v for n, v in given.items() if n in accepted}
            return _build_cache(cls, cached.sizes, own)

        yield make
        if isinstance(n_layers, int):
            yield lambda make=make: [make() for _ in range(n_layers)]


def _build_cache(cls: type, sizes: dict[str, Any], given: dict[str, Any]) -> Any:
    for name in inspect.signature(cls).parameters:
        role = constructor_role(name)
        if role in sizes and name not in given:
            given[name] = sizes[role]
        elif plain(name) in ("config", "cfg") and "config" in sizes:
            given[name] = sizes["config"]
    return build(cls, given, seed=0).instance


def _explain(cached: Cached, strategy: _Strategy, x: Tensor, other: Tensor, *, step_is_right: bool) -> tuple[str, str]:
    """Why the pieces differ from the whole: in words, and as a bug."""
    piece = 2 if step_is_right else 1
    start = PREFIX + STEP if step_is_right else PREFIX
    before = strategy(cached, x)[piece]
    influence = []
    for token in range(start + before.shape[1]):
        changed = x.clone()
        changed[:, token] = other[:, token]
        difference = (strategy(cached, changed)[piece] - before).abs().flatten(2).amax(dim=(0, 2))
        influence.append((difference > 1e-5 * before.std()).tolist())  # of each output of the piece
    seen = [[token for token in range(start) if influence[token][row]] for row in range(before.shape[1])]
    if not any(seen):
        return "none of the cached tokens matters", "cache_unused"
    if all(max(tokens, default=0) <= row for row, tokens in enumerate(seen)):
        return f"new tokens see only the first cached ones: {seen}", "cache_top_left_mask"
    if any(influence[start + row + 1][row] for row in range(before.shape[1] - 1)):
        return "new tokens see later ones of the same piece", "no_causal_mask"
    blind = _without_positions(cached.module, cached.context)
    if blind is not None:
        copy_of = cached.on(blind)
        error = relative_error(strategy(copy_of, x)[piece], copy_of.full(x)[:, start : start + before.shape[1]])
        if error <= SINGLE_TOLERANCE:
            return f"with all positions made equal they agree to {shown(error)}", "cache_position_offset"
    if cached.knows_positions and blind is None and all(tokens == list(range(start)) for tokens in seen):
        return "every cached token matters, so it is not the mask", "cache_position_offset"
    return f"new tokens see the cached ones {seen} of {start}", "cache_mismatch"


def _without_positions(module: nn.Module, context: int | None) -> nn.Module | None:
    """A copy in which every position has the encoding of position 0; None where no encoding is found."""
    blind = copy.deepcopy(module)
    found = False
    with torch.no_grad():
        for owner_name, owner in blind.named_modules():
            tensors = {
                **dict(owner.named_parameters(recurse=False)),
                **dict(owner.named_buffers(recurse=False)),
                **{name: value for name, value in vars(owner).items() if isinstance(value, Tensor)},
            }
            for name, tensor in tensors.items():
                full_name = f"{owner_name}.{name}".lower()
                is_square = tensor.dim() >= 2 and tensor.shape[-1] == tensor.shape[-2]  # a causal mask
                if (
                    tensor.dtype == torch.bool
                    or is_square
                    or any(mark in full_name for mark in ("mask", "tril", "cache", "slopes"))
                ):
                    continue
                if "inv_freq" in full_name or "invfreq" in full_name:
                    tensor.zero_()
                    found = True
                elif tensor.dim() >= 2 and (context in tensor.shape[:-1]):
                    axis = tensor.shape.index(context)
                    tensor.copy_(tensor.select(axis, 0).unsqueeze(axis).expand_as(tensor).clone())
                    found = True
    return blind if found else None
