"""Build the learner's class small, whatever names its constructor uses.

Arguments are recognised by name (`naming.CONSTRUCTOR_ROLES`). A constructor that takes one `config` object gets the
dataclass it names, or an object that answers to every usual name, as attribute and as `config["key"]`.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from roadmap_shared.errors import UserError, did_you_mean, one_line
from transformer_from_scratch.doctor.any_config import FLAGS, AnyConfig
from transformer_from_scratch.doctor.loading import where
from transformer_from_scratch.doctor.naming import constructor_role, plain

_CONFIG_NAMES = (
    "config",
    "cfg",
    "args",
    "conf",
    "hparams",
    "modelargs",
    "modelconfig",
    "configuration",
    "params",
)
_USUAL = {
    # All different, so that no tensor fits where another belongs.
    "width": 32,
    "heads": 4,
    "kv_heads": 2,
    "head_width": 8,
    "layers": 2,
    "hidden": 64,
    "context": 24,
    "vocabulary": 13,
    "classes": 5,
    "dropout": 0.0,
    "epsilon": 1e-5,
    "pad": 0,
    "batch": 3,
    "capacity": 24,
}


@dataclass(frozen=True)
class _Plan:
    """One way to choose the arguments."""

    left_out: frozenset[str] = frozenset()
    """Roles whose optional arguments keep their default."""

    any_config: bool = False
    """Whether a config that the constructor does not annotate becomes an `AnyConfig`, not the file's own dataclass."""


# Fewer key/value heads than heads shows how they are shared, where the class can do that at all.
_PLANS = (
    _Plan(),
    _Plan(left_out=frozenset({"kv_heads"})),
    _Plan(left_out=frozenset(_USUAL)),
    _Plan(any_config=True),
    _Plan(left_out=frozenset({"kv_heads"}), any_config=True),
)


class _Missing(Exception):
    """An argument that only the learner knows."""


@dataclass
class Built:
    """An instance, and how to build another one like it."""

    instance: Any
    arguments: dict[str, Any]
    """What the constructor was called with."""

    values: dict[str, Any]
    """Value of each role: width, heads, …"""

    rebuild: Callable[..., Any]
    """Build another, with roles changed: `rebuild(dropout=0.5)`."""


def build(target: Callable[..., Any], given: Mapping[str, Any], seed: int) -> Built:
    """Call the class (or a function that returns a model) with small sizes.

    Args:
        target: the class or factory.
        given: constructor arguments of the learner's choice; they win.
        seed: of the initial weights.

    Raises:
        UserError: an argument is unknown or missing, or the constructor fails.
    """
    values = {**_USUAL, **_sizes_in_module(target)}
    values |= {role: value for name, value in given.items() if (role := constructor_role(name)) is not None}
    if "heads" not in _roles_of(given) and values["width"] % values["heads"]:
        values["heads"] = 1
    if "head_width" not in _roles_of(given):
        values["head_width"] = max(1, values["width"] // values["heads"])
    error: Exception | None = None
    for plan in _PLANS:
        try:
            arguments, used = _arguments(target, given, values, plan)
            instance = _call(target, arguments, seed)
        except _Missing as missing:
            raise UserError(str(missing)) from missing
        except Exception as problem:
            error = error or problem
            continue

        def rebuild(**changes: Any) -> Any:
            return _call(target, _arguments(target, given, values | changes, plan)[0], seed)  # noqa: B023

        for argument in arguments.values():
            used |= argument.asked if isinstance(argument, AnyConfig) else set()
        return Built(instance, arguments, {role: values[role] for role in used}, rebuild)
    assert error is not None  # the loop returns or leaves one
    shown = ", ".join(f"{name}={value!r}" for name, value in _arguments(target, given, values, _PLANS[0])[0].items())
    raise UserError(
        f"{name_of(target)}({shown}) failed: {where(error)}. Give its arguments yourself: --arguments name=value …"
    ) from error


def name_of(target: Any) -> str:
    """The target's own name."""
    return getattr(target, "__name__", type(target).__name__)


def _call(target: Callable[..., Any], arguments: Mapping[str, Any], seed: int) -> Any:
    torch.manual_seed(seed)
    instance = target(**arguments)
    if isinstance(instance, nn.Module):
        instance.eval()
    return instance


def _module_names(target: Any) -> dict[str, Any]:
    """The global names of the file that defines the target."""
    function = target.__init__ if inspect.isclass(target) else target
    return dict(getattr(function, "__globals__", {}))


def _roles_of(arguments: Mapping[str, Any]) -> set[str | None]:
    return {constructor_role(name) for name in arguments}


def _sizes_in_module(target: Any) -> dict[str, int]:
    """Sizes that the learner's file keeps as global variables, such as `n_embd = 384`, which its classes then read."""
    return {
        role: value
        for name, value in _module_names(target).items()
        if type(value) is int
        and len(name) > 2
        and 0 < value <= 4096
        and (role := constructor_role(name)) in ("width", "heads", "vocabulary", "context", "kv_heads")
    }


def _arguments(
    target: Callable[..., Any], given: Mapping[str, Any], values: Mapping[str, Any], plan: _Plan
) -> tuple[dict[str, Any], set[str]]:
    """The constructor's arguments, and the roles among them."""
    parameters = inspect.signature(target).parameters
    config_name = next((name for name in parameters if plain(name) in _CONFIG_NAMES), None)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [name for name in given if name not in parameters]
    if unknown and config_name is None and not takes_any:
        hint = did_you_mean(unknown[0], parameters) or f"It takes: {', '.join(parameters) or 'nothing'}."
        raise _Missing(f"--arguments: {name_of(target)} has no argument '{unknown[0]}'. {hint}")
    arguments: dict[str, Any] = {name: given[name] for name in given if name in parameters or takes_any}
    roles = {role for name in arguments if (role := constructor_role(name)) in values}
    for name, parameter in parameters.items():
        if name in arguments or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        role = constructor_role(name)
        has_default = parameter.default is not parameter.empty
        if name == config_name and (not has_default or parameter.default is None):
            arguments[name], config_roles = _config(target, parameter, {u: given[u] for u in unknown}, values, plan)
            roles |= config_roles
        elif (
            role is not None and role in values and not (has_default and _keeps_default(role, parameter.default, plan))
        ):
            arguments[name] = values[role]
            roles.add(role)
        elif has_default:
            continue
        elif plain(name) in FLAGS or parameter.annotation in (bool, "bool"):
            arguments[name] = FLAGS.get(plain(name), False)
        else:
            raise _Missing(
                f"{name_of(target)} needs '{name}', which the doctor does not know: give it as --arguments {name}=VALUE"
            )
    return arguments, {role for role in roles if role is not None}


def _keeps_default(role: str | None, default: Any, plan: _Plan) -> bool:
    return role in plan.left_out or role in ("epsilon", "pad", "batch", "capacity") or isinstance(default, bool)


def _config(
    target: Any,
    parameter: inspect.Parameter,
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    plan: _Plan,
) -> tuple[Any, set[str]]:
    """The `config` argument: its own class where one is known, else an object that answers to every name."""
    config_class = _config_class(target, parameter, any_config=plan.any_config)
    if config_class is None:
        answers = {role: value for role, value in values.items() if role != "kv_heads" or role not in plan.left_out}
        return AnyConfig(answers, given), set()
    fields = inspect.signature(config_class).parameters
    known = {name: value for name, value in given.items() if name in fields}
    if unknown := [name for name in given if name not in fields]:
        hint = did_you_mean(unknown[0], fields) or f"It takes: {', '.join(fields)}."
        raise _Missing(f"--arguments: {config_class.__name__} has no '{unknown[0]}'. {hint}")
    arguments, roles = _arguments(config_class, known, values, plan)
    return config_class(**arguments), roles


def _config_class(target: Any, parameter: inspect.Parameter, *, any_config: bool) -> type | None:
    """The class of a `config` argument: as annotated, as Hugging Face names it, or the file's only `…Config`."""
    try:
        hint = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target).get(parameter.name)
    except (NameError, TypeError, AttributeError):
        hint = None
    named = hint or getattr(target, "config_class", None)
    if inspect.isclass(named) and named is not dict and not named.__module__.startswith(("builtins", "typing")):
        return named
    if any_config:
        return None
    candidates = [
        value
        for name, value in _module_names(target).items()
        if dataclasses.is_dataclass(value) and inspect.isclass(value) and name.endswith(("Config", "Args"))
    ]
    return candidates[0] if len(candidates) == 1 else None


def as_text(target: Any, arguments: Mapping[str, Any]) -> str:
    """How the target was built, as Python."""
    shown = (f"{name}={_short(value)}" for name, value in arguments.items())
    return f"{name_of(target)}({', '.join(shown)})"


def _short(value: Any) -> str:
    text = one_line(repr(value))
    return text if len(text) <= 40 else f"{type(value).__name__}(…)"
