"""Every attention and norm inside a model or block, compared with the references."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from transformer_from_scratch.doctor.capture import attention_modules, capture, norm_modules, outermost
from transformer_from_scratch.doctor.checks import Check
from transformer_from_scratch.doctor.norm_checks import norm_check, probe_input
from transformer_from_scratch.doctor.parity import Search, head_counts, parity_check, projections_of


def inner_attention(model: nn.Module, run: Callable[[], Any], heads: int | None, tolerance: float) -> list[Check]:
    """Compare what each attention inside the model did in one `run()` with every recipe.

    Args:
        model: the model.
        run: calls the model once.
        heads: their number if known.
        tolerance: largest relative error that counts as equal.
    """
    captured = {call.name: call for call in capture(model, attention_modules(model), run)}
    results: list[Check] = []
    for outer in outermost(list(captured)):
        # A module of several heads may hold them as attentions of their own; they speak only if it is no known recipe.
        nested = [outer, *(name for name in captured if name.startswith(f"{outer}."))]
        found: list[Check] = []
        for name in nested:
            module, case = captured[name].module, captured[name].case
            if not bool(case.query.isfinite().all()):
                continue  # an earlier layer gave NaN, and is reported itself
            counts = head_counts(module, heads, case.query.shape[-1])
            parent = model.get_submodule(name.rpartition(".")[0])
            search = Search(
                candidates=projections_of(module),
                cases=[case],
                heads=counts,
                tolerance=tolerance,
                output_is_elsewhere="att" in type(parent).__name__.lower(),
            )
            check, match = parity_check(f"parity of {name}", search)
            found.append(check)
            if match is not None:
                break
        results += found[-1:]
    return _merged(results)


def inner_norms(model: nn.Module, dtype: torch.dtype, tolerance: float) -> list[Check]:
    """Put nearly constant vectors through each norm that the learner wrote."""
    results = []
    for name, module in norm_modules(model).items():
        weights = [parameter for parameter in module.parameters() if parameter.dim() == 1]
        if not weights:
            continue
        x = probe_input(len(weights[0]), dtype)
        try:
            output = module(x)
        except Exception:
            continue  # takes other input than vectors; the model as a whole runs
        results.append(norm_check(f"parity of {name}", module, x, output, tolerance))
    return _merged(results)


def _merged(checks: list[Check]) -> list[Check]:
    """One check for all with the same result: the first, with the number of its like."""
    count = Counter((check.status, check.bugs) for check in checks)
    first = {(check.status, check.bugs): check for check in reversed(checks)}
    return [
        replace(check, name=f"{check.name} and {count[key] - 1} more") if count[key] > 1 else check
        for key, check in reversed(first.items())
    ]
