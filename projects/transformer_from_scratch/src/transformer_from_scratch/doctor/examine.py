"""Decide what a target is, build it, and run the checks that apply."""

import copy
import inspect
import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from roadmap_shared.errors import UserError
from transformer_from_scratch.config import DoctorConfig
from transformer_from_scratch.doctor import norm_checks
from transformer_from_scratch.doctor.any_config import parse_arguments
from transformer_from_scratch.doctor.capture import attention_modules
from transformer_from_scratch.doctor.checks import Examination
from transformer_from_scratch.doctor.construction import Built, as_text, build, name_of
from transformer_from_scratch.doctor.examine_attention import examine_attention
from transformer_from_scratch.doctor.examine_loss import examine_loss
from transformer_from_scratch.doctor.examine_model import examine_model
from transformer_from_scratch.doctor.loading import load_target, where
from transformer_from_scratch.doctor.measuring import default_dtype, randomize
from transformer_from_scratch.doctor.naming import forward_role
from transformer_from_scratch.doctor.projections import find_projections

_EXAMINES = (
    "the doctor examines torch modules, functions of (query, key, value, mask), losses of (logits, targets), "
    "and functions that make a module"
)
_ENCODER = re.compile(
    r"encoder(?!_?decoder)|bert|mlm|masked_?lm|masked_?language|classif|vision|bidirectional", re.IGNORECASE
)
_DECODER = re.compile(r"causal|decoder|gpt|llama|lm$|language|generat|masked_?(self|multi|att)", re.IGNORECASE)


def examine(config: DoctorConfig) -> Examination:
    """Import the target, build it small and run every check that applies.

    Raises:
        UserError: the target cannot be imported, built or called.
    """
    target = load_target(config.target)
    given = parse_arguments(config.arguments)
    with (
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
        default_dtype(torch.float32),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        return _examine(target, given, config)


def _examine(target: Callable[..., Any], given: dict[str, Any], config: DoctorConfig) -> Examination:
    examination = Examination(target=config.target, kind=config.kind)
    if not inspect.isclass(target):
        roles = {forward_role(name) for name in _parameters(target)}
        if config.kind == "loss" or (config.kind == "auto" and "logits" in roles and "targets" in roles):
            examine_loss(examination, target, config)
            return examination
        if {"query", "key"} <= roles or (config.kind == "attention" and not _builds_module(target, given, config)):
            examine_attention(examination, target, None, config, expected_causal=_expects_causal(target, config))
            return examination
    elif config.kind == "loss":
        raise UserError(f"--kind loss: {name_of(target)} is a class; name a function of (logits, targets)")
    built = _build(target, given, config)
    examination.facts.append(f"built as {as_text(target, built.arguments)}")
    kind = _kind_of(target, built) if config.kind == "auto" else config.kind
    examination.kind = kind
    if kind == "norm":
        _examine_norm(examination, built)
    elif kind == "attention":
        examine_attention(examination, target, built, config, expected_causal=_expects_causal(target, config))
    else:
        examine_model(examination, target, built, config, expected_causal=_expects_causal(target, config))
    return examination


def _build(target: Callable[..., Any], given: dict[str, Any], config: DoctorConfig) -> Built:
    """The instance of a class, or what a function that makes one returns."""
    try:
        built = build(target, given, config.seed)
    except UserError as error:
        if inspect.isclass(target):
            raise
        arguments = ", ".join(_parameters(target))
        raise UserError(f"{name_of(target)}({arguments}): {_EXAMINES}. Wrap it in one of these") from error
    if not isinstance(built.instance, nn.Module):
        raise UserError(f"{config.target} gives a {type(built.instance).__name__}: {_EXAMINES}")
    return built


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{name_of(function)} does not say what arguments it takes: "
            "wrap it in a function of (query, key, value, mask)"
        ) from error


def _builds_module(target: Callable[..., Any], given: dict[str, Any], config: DoctorConfig) -> bool:
    try:
        return isinstance(build(target, given, config.seed).instance, nn.Module)
    except UserError:
        return False


def _kind_of(target: Callable[..., Any], built: Built) -> str:
    """Attention, model or norm: by its name, its layers and its input."""
    module: nn.Module = built.instance
    kind = type(module).__name__.lower()
    children = [child for child in module.modules() if child is not module]
    if "norm" in kind and not any(isinstance(child, nn.Linear) for child in children):
        return "norm"
    if "att" not in kind and any(isinstance(child, nn.Embedding) for child in children):
        return "model"
    takes_query = {"query", "key"} <= {forward_role(name) for name in inspect.signature(module.forward).parameters}
    if "att" in kind or takes_query or find_projections(module) or attention_modules(module):
        return "attention"
    raise UserError(
        f"{name_of(target)} looks like no attention (no query, key and value), no model (no nn.Embedding), "
        "and no norm: say what it is with --kind"
    )


def _expects_causal(target: Callable[..., Any], config: DoctorConfig) -> bool | None:
    """Whether the target is meant to be causal: as the learner says, or as its name says; None if neither does."""
    if config.causal is not None:
        return config.causal
    name = name_of(target)
    if re.search("encoder_?decoder", name, re.IGNORECASE):
        return True
    if _ENCODER.search(name):
        return False
    return True if _DECODER.search(name) else None


def _examine_norm(examination: Examination, built: Built) -> None:
    module: nn.Module = copy.deepcopy(built.instance).double()
    randomize(module, seed=1)
    weights = [parameter for parameter in module.parameters() if parameter.dim() == 1]
    width = len(weights[0]) if weights else built.values.get("width", 32)
    with default_dtype(torch.float64):
        x = norm_checks.probe_input(width, torch.float64)
        try:
            output = module(x)
        except Exception as error:
            raise UserError(
                f"calling {type(module).__name__} on shape {tuple(x.shape)} failed: {where(error)}"
            ) from error
        examination.checks.append(norm_checks.norm_check("parity", module, x, output, tolerance=1e-6))
