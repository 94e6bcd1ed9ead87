"""Examine a whole model: its properties, and every attention and norm inside it."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from transformer_from_scratch.config import DoctorConfig
from transformer_from_scratch.doctor import attention_checks, model_checks
from transformer_from_scratch.doctor.cache_checks import Cached, cache_equality, has_cache
from transformer_from_scratch.doctor.checks import Check, Examination, Status, guarded, noted, skipped
from transformer_from_scratch.doctor.construction import Built, name_of
from transformer_from_scratch.doctor.inner_checks import inner_attention, inner_norms
from transformer_from_scratch.doctor.measuring import default_dtype, randomize
from transformer_from_scratch.doctor.model_subject import ModelSubject


def examine_model(
    examination: Examination,
    target: Callable[..., Any],
    built: Built,
    config: DoctorConfig,
    *,
    expected_causal: bool | None,
) -> None:
    """Run every check of a model and append them."""
    examination.kind = "model"
    fresh = _subject(target, copy.deepcopy(built.instance), built, config)
    logits = fresh(fresh.random())
    randomize(built.instance, seed=config.seed + 1)
    subject = _subject(target, built.instance, built, config)
    if subject.mask is not None:
        examination.facts.append(f"takes {subject.mask.form}")
    out = examination.checks
    out.append(_deterministic(subject, built, target, config))
    if out[-1].status is Status.FAIL and not torch.equal(subject(subject.random()), subject(subject.random())):
        examination.facts.append("random in eval mode: mend that first, then ask again")
        return
    is_logits = logits.shape[-1] == subject.vocabulary
    # A loss of tokens that see each other would be a leak; a model of unknown name that has one is taken for a decoder.
    guess = is_logits and subject.loss_argument() is not None
    causality = _causality(subject, expected_causal, guess=guess)
    positions = guarded("order of tokens", lambda: _positions(target, built, config))
    out += [*_properties(subject, causality), positions, *_inner(subject, built)]
    out.append(model_checks.first_loss(logits, subject.vocabulary))
    is_decoder = expected_causal is True or (expected_causal is None and causality.status is not Status.NOTE)
    out += _loss_checks(subject, built, config, is_decoder=is_decoder)
    knows_positions = positions.status is not Status.FAIL
    out.append(_cache(subject, built, causality, knows_positions=knows_positions))


def _properties(subject: ModelSubject, causality: Check) -> list[Check]:
    """What can be measured without looking inside."""
    mask = subject.mask
    return [
        guarded("finite outputs", lambda: model_checks.finite(subject)),
        guarded("batch independence", lambda: model_checks.batch_independence(subject)),
        causality,
        *([] if mask is None else [attention_checks.mask_convention(mask, subject.mask_means)]),
        guarded("padding invariance", lambda: model_checks.padding(subject)),
        guarded("gradient reaches every parameter", lambda: _gradients(subject)),
    ]


def _inner(subject: ModelSubject, built: Built) -> list[Check]:
    heads = built.values.get("heads")
    found = inner_attention(subject.module, lambda: subject(subject.random()), heads, subject.tolerance)
    return [*found, *inner_norms(subject.module, subject.dtype, subject.tolerance)]


def _gradients(subject: ModelSubject) -> Check:
    return attention_checks.gradients(subject.module, lambda: subject(subject.random()), context=subject.context)


def _loss_checks(subject: ModelSubject, built: Built, config: DoctorConfig, *, is_decoder: bool) -> list[Check]:
    expected = None if config.shifted is None else "same" if config.shifted else "shifted"
    pad = built.values["pad"] if "pad" in built.values else model_checks.padding_id(built.instance)
    return [
        guarded("labels", lambda: model_checks.labels(subject, is_decoder=is_decoder, expected=expected)),
        guarded("padding in the loss", lambda: model_checks.padding_in_loss(subject, pad)),
    ]


def _subject(target: Callable[..., Any], module: nn.Module, built: Built, config: DoctorConfig) -> ModelSubject:
    embeddings = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Embedding)]
    words = [m.num_embeddings for n, m in embeddings if "pos" not in n and not n.endswith("wpe")]
    tables = [m.num_embeddings for n, m in embeddings if "pos" in n or n.endswith("wpe")]
    subject = ModelSubject(
        name_of(target),
        module,
        vocabulary=built.values.get("vocabulary") or (words[0] if words else 13),
        context=built.values.get("context") or (tables[0] if tables else 24),
        mask_means=None if config.mask == "auto" else config.mask,
    )
    subject.prepare()
    return subject


def _deterministic(subject: ModelSubject, built: Built, target: Callable[..., Any], config: DoctorConfig) -> Check:
    tokens = subject.random()
    if "dropout" not in built.values:
        return attention_checks.deterministic(subject(tokens), subject(tokens), "")
    noisy = _subject(target, built.rebuild(dropout=0.5).eval(), built, config)
    return attention_checks.deterministic(noisy(tokens), noisy(tokens), " with dropout 0.5")


def _causality(subject: ModelSubject, expected: bool | None, *, guess: bool) -> Check:
    if subject.is_pooled:
        return noted("causality", "one output a sequence, as of a classifier")
    influence = subject.influence()
    seen = attention_checks.describe_visibility(influence)
    if seen == "self":
        return noted("causality", "each output depends on its own token alone: the model has no context")
    if seen == "all" and expected is None and not guess:
        text = "every token sees every other: right for an encoder, wrong for a language model (say --causal True)"
        return noted("causality", text)
    return attention_checks.judge_causality(influence, expected=expected if expected is not None else guess, how="")


def _positions(target: Callable[..., Any], built: Built, config: DoctorConfig) -> Check:
    has_layers = "layers" in built.values
    module = built.rebuild(layers=1) if has_layers else copy.deepcopy(built.instance)
    randomize(module, seed=config.seed + 2)
    shallow = _subject(target, module.eval(), built, config)
    return model_checks.positions(shallow, one_layer=has_layers or built.values.get("layers") == 1)


def _cache(subject: ModelSubject, built: Built, causality: Check, *, knows_positions: bool) -> Check:
    """Compare decoding with a cache in float32, the type in which most caches are made."""
    if not has_cache(subject.roles):
        return skipped("cache equality", "takes no cache")
    if causality.status is not Status.PASS:
        return skipped("cache equality", "without a causal mask earlier outputs change with every new token")
    module = subject.module.float()
    with default_dtype(torch.float32):
        configs = [value for name, value in built.arguments.items() if name in ("config", "cfg", "args")]
        cached = Cached(
            module=module,
            function=module.forward,
            roles=subject.roles,
            arguments=lambda tokens, _: subject.arguments(tokens),
            pick=subject.pick,
            full=subject,
            sizes=built.values | ({"config": configs[0]} if configs else {}),
            causal=True,
            knows_positions=knows_positions,
            context=subject.context,
        )
        check = guarded("cache equality", lambda: cache_equality(cached, subject.random(), subject.other()))
    module.to(subject.dtype)
    return check
