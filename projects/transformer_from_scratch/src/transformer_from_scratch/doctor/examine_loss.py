"""Examine a function of (logits, targets): which logit meets which target, and whether padding counts."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from roadmap_shared.errors import UserError
from transformer_from_scratch.config import DoctorConfig
from transformer_from_scratch.doctor.checks import Examination, skipped
from transformer_from_scratch.doctor.construction import name_of
from transformer_from_scratch.doctor.loading import where
from transformer_from_scratch.doctor.model_checks import judge_labels, judge_padding, shifted_losses
from transformer_from_scratch.doctor.naming import constructor_role, forward_role

_BATCH, _TOKENS, _VOCABULARY = 3, 7, 13


def examine_loss(examination: Examination, function: Callable[..., Any], config: DoctorConfig) -> None:
    """Run both checks of a loss function and append them.

    Raises:
        UserError: the function cannot be called on logits (B, T, V) and targets (B, T).
    """
    examination.kind = "loss"
    parameters = inspect.signature(function).parameters
    names = {role: name for name in parameters if (role := forward_role(name)) is not None}
    first, *others = parameters
    logits_name = names.get("logits", first)
    targets_name = names.get("targets") or names.get("input") or others[0]
    pad_name = next((name for name in parameters if constructor_role(name) == "pad" or name == "ignore_index"), None)
    pad = 0 if pad_name is not None and pad_name != "ignore_index" else None

    generator = torch.Generator().manual_seed(config.seed)
    logits = torch.randn(_BATCH, _TOKENS, _VOCABULARY, generator=generator)
    targets = torch.randint(1, _VOCABULARY, (_BATCH, _TOKENS), generator=generator)

    def loss_of(aims: Tensor) -> float:
        given: dict[str, Any] = {logits_name: logits, targets_name: aims}
        if pad_name is not None and pad is not None:
            given[pad_name] = pad
        try:
            return float(function(**given))
        except Exception as error:
            shapes = f"logits {tuple(logits.shape)} and targets {tuple(aims.shape)}"
            raise UserError(f"calling {name_of(function)} on {shapes} failed: {where(error)}") from error

    by_name = "shifted" if targets_name in ("labels", "label", "tokens", "input_ids") else "same"
    expected = by_name if config.shifted is None else "same" if config.shifted else "shifted"
    examination.facts.append(f"called as {name_of(function)}({logits_name} (B, T, V), {targets_name} (B, T))")
    check = judge_labels("labels", loss_of(targets), shifted_losses(logits, targets), expected, targets_name)
    examination.checks.append(check)
    if pad is None:
        examination.checks.append(skipped("padding in the loss", "takes no padding id"))
        return
    padded = targets.clone()
    padded[:, -3:] = pad
    examination.checks.append(judge_padding("padding in the loss", loss_of(padded), logits, padded, pad))
