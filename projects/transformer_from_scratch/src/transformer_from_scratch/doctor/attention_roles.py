"""Which argument of somebody's attention is the query, which the mask, which the cache."""

import inspect
from collections.abc import Callable
from typing import Any

from roadmap_shared.errors import UserError
from transformer_from_scratch.doctor.naming import forward_role


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named parameters of a function, in order."""
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def attention_roles(name: str, parameters: dict[str, inspect.Parameter]) -> dict[str, str]:
    """Role -> argument. Several masks get the roles "mask", "mask 2", …"""
    roles: dict[str, str] = {}
    for parameter in parameters:
        role = forward_role(parameter)
        if role == "mask" and role in roles:
            role = f"mask {len(roles)}"
        if role is not None and role not in roles:
            roles[role] = parameter
    required = [p for p, info in parameters.items() if info.default is info.empty]
    if not {"query", "input"} & roles.keys():
        unknown = [p for p in required if p not in roles.values()]
        names = ("query", "key", "value") if len(unknown) >= 3 else ("input",)
        roles |= dict(zip(names, unknown, strict=False))
    if not {"query", "input"} & roles.keys() and "targets" in roles:
        roles["input"] = roles.pop("targets")
    if "input" in roles and "targets" in roles and "memory" not in roles and "query" not in roles:
        roles["memory"] = roles.pop("targets")  # forward(x, y)
    if "query" in roles and "key" not in roles and "memory" in roles:
        roles["key"] = roles.pop("memory")
    if missing := [p for p in required if p not in roles.values()]:
        raise UserError(
            f"{name} needs the argument '{missing[0]}', which the doctor does not know: "
            "wrap it in a function of (query, key, value, mask)"
        )
    if not {"query", "input"} & roles.keys():
        raise UserError(f"{name} takes no input that looks like a sequence: its arguments are {', '.join(parameters)}")
    return roles
