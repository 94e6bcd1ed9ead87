"""Examine attention: find out how to call it, measure its properties, compare it with references."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from transformer_from_scratch.config import DoctorConfig
from transformer_from_scratch.doctor import attention_checks as checks
from transformer_from_scratch.doctor.attention_subject import (
    BATCH,
    FUNCTION_LAYOUTS,
    MODULE_LAYOUTS,
    TOKENS,
    AttentionSubject,
    make_subject,
)
from transformer_from_scratch.doctor.cache_checks import Cached, cache_equality, has_cache
from transformer_from_scratch.doctor.checks import Check, Examination, Status, guarded, skipped
from transformer_from_scratch.doctor.construction import Built, name_of
from transformer_from_scratch.doctor.inner_checks import inner_attention, inner_norms
from transformer_from_scratch.doctor.measuring import default_dtype, randomize
from transformer_from_scratch.doctor.parity import Case, Search, head_counts, parity_check, projections_of
from transformer_from_scratch.doctor.projections import find_projections, is_linear


def examine_attention(
    examination: Examination,
    target: Callable[..., Any],
    built: Built | None,
    config: DoctorConfig,
    *,
    expected_causal: bool | None,
) -> None:
    """Run every check of attention and append them; `built` is None for a plain function."""
    examination.kind = "attention"
    subject = _subject(target, built, config)
    examination.facts += _facts(subject)
    out = examination.checks
    out.append(_deterministic(subject, built))
    if out[-1].status is Status.FAIL and not _repeats(subject):
        examination.facts.append("random in eval mode: mend that first, then ask again")
        return
    out += _properties(subject, expected_causal=bool(expected_causal))
    parity, match = parity_check("parity", _search(subject, built))
    knows_positions = match is not None and match.recipe.rotary != "none"
    out.append(
        guarded("permutation equivariance", lambda: checks.permutation(subject, knows_positions=knows_positions))
    )
    module = subject.module
    if module is None:
        out.append(parity)
        return
    inner = _inner(subject, module, built) if parity.status is Status.SKIP else []
    out += inner or [parity]
    name = "gradient reaches every parameter"
    out.append(guarded(name, lambda: checks.gradients(module, lambda: subject(subject.random()))))
    if has_cache(subject.roles):
        out.append(guarded("cache equality", lambda: _cache(subject, built, knows_positions)))
    else:
        out.append(skipped("cache equality", "takes no cache"))


def _properties(subject: AttentionSubject, *, expected_causal: bool) -> list[Check]:
    """What can be measured without looking inside."""
    return [
        guarded("finite outputs", lambda: checks.finite(subject)),
        guarded("batch independence", lambda: checks.batch_independence(subject)),
        guarded("causality", lambda: checks.causality(subject, expected=expected_causal)),
        *(checks.mask_convention(mask, subject.mask_means) for mask in subject.masks),
        guarded("padding invariance", lambda: checks.padding(subject)),
        guarded("query without keys", lambda: checks.fully_masked(subject)),
        guarded("causal mask, more keys than queries", lambda: checks.causal_alignment(subject)),
        guarded("weights sum to 1", lambda: checks.weights_sum_to_one(subject)),
    ]


def _subject(target: Callable[..., Any], built: Built | None, config: DoctorConfig) -> AttentionSubject:
    """The target in the layout in which it is right, or else in the first in which it runs."""
    mask_means = None if config.mask == "auto" else config.mask
    if built is None:
        subjects = make_subject(
            name_of(target), target, None, width=32, heads=4, layouts=FUNCTION_LAYOUTS, mask_means=mask_means
        )
    else:
        module: nn.Module = built.instance
        randomize(module, seed=config.seed + 1)
        is_core = not any(is_linear(child) for child in module.modules()) and not find_projections(module)
        width = _width(built)
        heads = head_counts(module, built.values.get("heads"), width)[0]
        layouts = FUNCTION_LAYOUTS if is_core else MODULE_LAYOUTS
        if any(getattr(child, "batch_first", None) is False for child in module.modules()):
            layouts = ("(T, B, C)",)
        subjects = make_subject(
            type(module).__name__,
            module.forward,
            module,
            width=width,
            heads=heads,
            layouts=layouts,
            mask_means=mask_means,
        )
    for subject in subjects:
        with default_dtype(subject.dtype):
            if not subject.masks:
                subject.probe_masks()
    right = (subject for subject in subjects if _search(subject, built).run(known_bugs=False) is not None)
    chosen = next(right, subjects[0])
    torch.set_default_dtype(chosen.dtype)
    return chosen


def _width(built: Built) -> int:
    """Width of the input: as built, if a linear layer has it, else that of the first linear layer."""
    module: nn.Module = built.instance
    widths = [layer.in_features for layer in module.modules() if isinstance(layer, nn.Linear)]
    named: int = built.values.get("width", 32)
    return named if named in widths or not widths else widths[0]


def _facts(subject: AttentionSubject) -> list[str]:
    shown = [f"called with input {subject.layout}" + (" as query, key and value" if subject.takes_other_keys else "")]
    shown += [f"takes {mask.form}" for mask in subject.masks]
    return shown


def _repeats(subject: AttentionSubject) -> bool:
    x = subject.random()
    return torch.equal(subject(x).nan_to_num(), subject(x).nan_to_num())


def _deterministic(subject: AttentionSubject, built: Built | None) -> Check:
    x = subject.random()
    if built is None or "dropout" not in built.values:
        return checks.deterministic(subject(x), subject(x), "")
    noisy = _copy(subject, built.rebuild(dropout=0.5).to(subject.dtype).eval(), subject.dtype)
    return checks.deterministic(noisy(x), noisy(x), " with dropout 0.5")


def _inner(subject: AttentionSubject, module: nn.Module, built: Built | None) -> list[Check]:
    """For a block that holds its attention as a part: compare that part, and its norms."""
    heads = None if built is None else built.values.get("heads")
    found = inner_attention(module, lambda: subject(subject.random()), heads, subject.tolerance)
    return [*found, *inner_norms(module, subject.dtype, subject.tolerance)]


def _search(subject: AttentionSubject, built: Built | None) -> Search:
    is_core = subject.layout in FUNCTION_LAYOUTS
    candidates = projections_of(None if is_core else subject.module)
    if is_core or built is None:
        heads = [subject.heads]
    else:
        heads = head_counts(_module(subject), built.values.get("heads"), subject.width)
    return Search(
        candidates=candidates,
        cases=list(_cases(subject)) if candidates else [],
        heads=heads,
        tolerance=subject.tolerance,
        is_order_free=checks.permutation(subject, knows_positions=False).status is Status.PASS,
        is_causal=checks.describe_visibility(subject.influence()) == "past and self",
    )


def _module(subject: AttentionSubject) -> nn.Module:
    assert subject.module is not None  # a function has no projections to look for
    return subject.module


def _cases(subject: AttentionSubject) -> Iterator[Case]:
    """Calls that no two recipes answer alike: unmasked, masked, with the causal flag, with keys of another length."""
    subject = subject.by_convention()
    query = subject.random()
    apart = subject.inputs == "separate"
    key = subject.random(seed=1) if subject.takes_other_keys else query
    value = subject.random(seed=2) if apart else key
    yield Case(query, key, value, subject(query, key, value))
    for allowed in _masks():
        if subject.can_express(allowed):
            yield Case(query, key, value, subject(query, key, value, allowed), allowed)
            break
    if checks.flag_influence(subject) is not None:
        yield Case(query, key, value, subject(query, key, value, causal=True), causal=True)
    if apart:
        try:
            short = subject(query, key[:, :5], value[:, :5])
        except Exception:
            return
        yield Case(query, key[:, :5], value[:, :5], short)


def _masks() -> Iterator[Tensor]:
    """(B, Tq, Tk) masks with something allowed in every row, the most telling first."""
    generator = torch.Generator().manual_seed(3)
    yield (torch.rand(BATCH, TOKENS, TOKENS, generator=generator) < 0.5) | torch.eye(TOKENS, dtype=torch.bool)
    yield (
        ((torch.rand(TOKENS, TOKENS, generator=generator) < 0.5) | torch.eye(TOKENS, dtype=torch.bool))
        .expand(BATCH, TOKENS, TOKENS)
        .contiguous()
    )
    hidden = torch.tensor([[5, 6], [2, 6], [3, 4]])
    keys = torch.ones(BATCH, TOKENS, dtype=torch.bool).scatter(1, hidden, False)
    yield keys[:, None].expand(BATCH, TOKENS, TOKENS).contiguous()
    prefix = torch.arange(TOKENS) < torch.tensor([[7], [5], [3]])
    yield prefix[:, None].expand(BATCH, TOKENS, TOKENS).contiguous()


def _cache(subject: AttentionSubject, built: Built | None, knows_positions: bool) -> Check:
    """Compare decoding with a cache in float32, the type in which most caches are made."""
    module = _module(subject).float()
    with default_dtype(torch.float32):
        single = _copy(subject, module, torch.float32)
        causal_alone = checks.describe_visibility(single.influence()) == "past and self"
        flag = None if causal_alone else subject.causal_flag

        def arguments(x: Tensor, start: int) -> dict[str, Any]:
            given = single.arguments(x, x, x, start) | ({flag: True} if flag else {})
            if "positions" in single.roles:  # where tokens stand is the caller's business
                given[single.roles["positions"]] = torch.arange(start, start + x.shape[1])
            return given

        cached = Cached(
            module=module,
            function=module.forward,
            roles=single.roles,
            arguments=arguments,
            pick=single.pick,
            full=lambda x: single.pick(module.forward(**arguments(x, 0)), x),
            sizes={} if built is None else built.values | {"layers": 1},
            causal=causal_alone or flag is not None,
            knows_positions=knows_positions,
            context=None if built is None else built.values.get("context"),
        )
        check = cache_equality(cached, single.random(), single.random(seed=1))
    module.to(subject.dtype)
    return check


def _copy(subject: AttentionSubject, module: nn.Module, dtype: torch.dtype) -> AttentionSubject:
    """The same subject around another module or with inputs of another type."""
    other = AttentionSubject(
        subject.name,
        module.forward,
        module,
        width=subject.width,
        heads=subject.heads,
        layout=subject.layout,
        dtype=dtype,
        mask_means=subject.mask_means,
    )
    other.masks, other.mask_is_needed = subject.masks, subject.mask_is_needed
    return other
