"""The attention modules and norms inside a model, with what went in and what came out of each."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from transformer_from_scratch.doctor.measuring import tensors_in
from transformer_from_scratch.doctor.naming import forward_role
from transformer_from_scratch.doctor.parity import Case
from transformer_from_scratch.doctor.projections import find_projections, is_linear


@dataclass
class Captured:
    """One module inside a model, and its first call."""

    name: str
    module: nn.Module
    case: Case


def capture(model: nn.Module, modules: dict[str, nn.Module], run: Any) -> list[Captured]:
    """Run the model once and keep what goes in and out of the given modules."""
    calls: dict[str, Case] = {}
    handles = []
    for name, module in modules.items():

        def keep(owner: nn.Module, args: Any, kwargs: Any, result: Any, name: str = name) -> None:
            case = _case(owner, args, kwargs, result)
            if case is not None:
                calls.setdefault(name, case)

        handles.append(module.register_forward_hook(keep, with_kwargs=True))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return [Captured(name, modules[name], case) for name, case in calls.items()]


def _case(owner: nn.Module, args: Any, kwargs: Any, result: Any) -> Case | None:
    try:
        given = inspect.signature(owner.forward).bind(*args, **kwargs).arguments
    except TypeError:
        return None
    flat = {**given, **given.get("kwargs", {})} if isinstance(given.get("kwargs"), dict) else given
    inputs = {n: v for n, v in flat.items() if isinstance(v, Tensor) and v.dim() == 3 and v.is_floating_point()}
    if not inputs:
        return None
    first = next(iter(inputs.values()))
    roles = {forward_role(name): value for name, value in inputs.items()}
    query = roles.get("query", first)
    key = roles.get("key", roles.get("memory", query))
    outputs = [t for t in tensors_in(result) if t.dim() == 3 and t.shape[:2] == query.shape[:2]]
    if not outputs:
        return None
    case = Case(query=query, key=key, value=roles.get("value", key), output=outputs[0])
    if getattr(owner, "batch_first", True):
        return case
    query, key, value, output = (x.transpose(0, 1) for x in (case.query, case.key, case.value, case.output))
    return Case(query, key, value, output)


def attention_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Modules inside a model that have query, key and value projections of their own."""
    return {
        name: module
        for name, module in model.named_modules()
        if name and not is_linear(module) and any(p.named or "att" in name.lower() for p in find_projections(module))
    }


def norm_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Norms inside a model that the learner wrote: not those of PyTorch."""
    return {
        name: module
        for name, module in model.named_modules()
        if "norm" in type(module).__name__.lower() and not type(module).__module__.startswith("torch.")
    }


def outermost(names: list[str]) -> Iterator[str]:
    """The names that lie within no other one of the list."""
    return (name for name in names if not any(name.startswith(f"{other}.") for other in names))
