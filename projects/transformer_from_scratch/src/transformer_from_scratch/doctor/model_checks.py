"""Properties of a whole model, measured from outside: batch, padding, positions, first loss, labels."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_from_scratch.doctor.attention_checks import describe_visibility
from transformer_from_scratch.doctor.checks import Check, failed, noted, passed, skipped
from transformer_from_scratch.doctor.measuring import relative_error, shown
from transformer_from_scratch.doctor.model_subject import BATCH, ModelSubject

LOSS_TOLERANCE = 1e-4
"""Nats; the losses under different shifts differ by far more."""


def finite(subject: ModelSubject) -> Check:
    """No NaN and no infinity for ordinary input."""
    output = subject(subject.random())
    bad = ~output.isfinite().all(dim=-1)
    if not bool(bad.any()):
        return passed("finite outputs", f"{output.numel()} numbers")
    positions = sorted({int(position) for position in bad.nonzero()[:, 1]})
    return failed("finite outputs", f"NaN or inf at positions {positions} of {subject.n_tokens}")


def batch_independence(subject: ModelSubject) -> Check:
    """One sequence of a batch does not change another."""
    tokens = subject.random()
    changed = torch.cat((tokens[:1], subject.other()[1:]))
    error = relative_error(subject(changed)[:1], subject(tokens)[:1])
    name = "batch independence"
    if error <= subject.tolerance:
        return passed(name, f"row 0 moves by {shown(error)} when the others change")
    return failed(name, f"row 0 moves by {shown(error)} of its spread when the others change", "softmax_over_batch")


def padding(subject: ModelSubject) -> Check:
    """What stands in the padding (at the end), and how much of it there is, does not matter."""
    name = "padding invariance"
    if subject.mask is None:
        return skipped(name, "takes no mask of padding")
    n_tokens, n_real = subject.n_tokens, subject.n_tokens - 2
    keep = torch.arange(n_tokens) < n_real
    allowed = keep.expand(BATCH, n_tokens, n_tokens).contiguous()
    tokens = subject.random()
    other = torch.cat((tokens[:, :n_real], subject.other()[:, n_real:]), dim=1)
    padded = subject(tokens, allowed)[:, :n_real]
    content = relative_error(subject(other, allowed)[:, :n_real], padded)
    length = relative_error(padded, subject(tokens[:, :n_real], allowed[:, :n_real, :n_real].contiguous()))
    text = f"outputs move by {shown(content)} when padding changes, by {shown(length)} when it is cut off"
    if max(content, length) <= subject.tolerance:
        return passed(name, text)
    return failed(name, text)


def positions(subject: ModelSubject, *, one_layer: bool) -> Check:
    """The order of the tokens matters.

    In a decoder of one layer without positions, the last output does not change when the earlier tokens are shuffled;
    in an encoder without positions, shuffled tokens give shuffled outputs. Behind several causal layers the order
    matters even without positions.
    """
    name = "order of tokens"
    if describe_visibility(subject.influence()) == "self":
        return skipped(name, "each output depends on its own token alone")
    tokens = subject.random()
    order = torch.arange(subject.n_tokens)
    order[:-1] = order[:-1].flip(0)
    last = relative_error(subject(tokens[:, order])[:, -1:], subject(tokens)[:, -1:])
    text = f"the last output moves by {shown(last)} when the earlier tokens are shuffled"
    if last <= subject.tolerance:
        return failed(name, text, "positions_missing")
    same = tokens[:, :1].expand(-1, subject.n_tokens).contiguous()
    outputs = subject(same)
    varies = relative_error(outputs[:, 1:], outputs[:, :1].expand_as(outputs[:, 1:]))
    is_causal = bool((subject.influence().triu(1) == 0).all())
    if one_layer or not is_causal or varies > subject.tolerance:
        return passed(name, text)
    return skipped(name, "cannot be told from outside behind several causal layers")


def first_loss(logits: Tensor, vocabulary: int) -> Check:
    """Before training a model knows nothing: its loss is ln V, or little above."""
    name = "loss before training"
    if logits.shape[-1] != vocabulary:
        return skipped(name, "the outputs are no logits over the vocabulary")
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(vocabulary, logits.shape[:-1], generator=generator)
    loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).item()
    text = f"{loss:.2f} nats on random targets; ln V = {math.log(vocabulary):.2f}"
    if loss <= math.log(vocabulary) + 1:
        return passed(name, text)
    return noted(
        name,
        f"{text}: the logits start too large. Initialise the embeddings with a smaller std, such as 0.02",
    )


def shifted_losses(logits: Tensor, targets: Tensor, ignored: int = -100) -> dict[str, float]:
    """The cross-entropy under each idea of which logits meet which targets."""
    pairs = {
        "same": (logits, targets),
        "shifted": (logits[:, :-1], targets[:, 1:]),
        "shifted twice": (logits[:, :-2], targets[:, 2:]),
        "shifted backwards": (logits[:, 1:], targets[:, :-1]),
    }
    return {
        name: F.cross_entropy(scores.flatten(0, 1), aims.flatten(), ignore_index=ignored).item()
        for name, (scores, aims) in pairs.items()
    }


_SHIFT_WORDS = {
    "same": "logits[:, t] meets target t",
    "shifted": "logits[:, t] meets target t + 1",
    "shifted twice": "logits[:, t] meets target t + 2",
    "shifted backwards": "logits[:, t] meets target t - 1",
}


def labels(subject: ModelSubject, *, is_decoder: bool, expected: str | None) -> Check:
    """Each logit meets the next token: shifted once, by the caller (`targets`) or inside (`labels`)."""
    name = "labels"
    tokens, targets = subject.random(), subject.random(seed=4)
    loss = subject.loss_of(tokens, targets)
    if loss is None or subject(tokens).shape[-1] != subject.vocabulary:
        return skipped(name, "computes no loss of tokens")
    argument = subject.loss_argument() or ""
    by_name = "shifted" if is_decoder and argument in ("labels", "label", "tokens", "input_ids") else "same"
    return judge_labels(name, loss, shifted_losses(subject(tokens), targets), expected or by_name, argument)


def judge_labels(name: str, loss: float, hypotheses: dict[str, float], expected: str, argument: str) -> Check:
    """Which shift explains the loss, and whether it is the right one."""
    found = next((shift for shift, value in hypotheses.items() if abs(value - loss) < LOSS_TOLERANCE), None)
    values = ", ".join(f"{shift} {value:.4f}" for shift, value in hypotheses.items())
    if found is None:
        return noted(name, f"loss {loss:.4f} is no mean cross-entropy of these logits ({values})")
    text = f"loss {loss:.4f}: {_SHIFT_WORDS[found]} of '{argument}'"
    if found == expected:
        return passed(name, text)
    if found == "same":
        return failed(name, f"{text}; '{argument}' are the tokens themselves ({values})", "unshifted_labels")
    return failed(
        name,
        f"{text} ({values})",
        "double_shifted_labels" if found != "shifted backwards" else "unshifted_labels",
    )


def padding_in_loss(subject: ModelSubject, pad: int | None) -> Check:
    """Targets that are padding do not count."""
    name = "padding in the loss"
    if pad is None:
        return skipped(name, "the model knows no padding id")
    if any(base.__module__.startswith("transformers.") for base in type(subject.module).__mro__):
        return skipped(name, "in Hugging Face's convention padded labels are -100, whatever the padding id is")
    tokens, targets = subject.random(), subject.random(seed=4)
    targets[:, -3:] = pad
    loss = subject.loss_of(tokens, targets)
    if loss is None or subject(tokens).shape[-1] != subject.vocabulary:
        return skipped(name, "computes no loss of tokens")
    return judge_padding(name, loss, subject(tokens), targets, pad)


def judge_padding(name: str, loss: float, logits: Tensor, targets: Tensor, pad: int) -> Check:
    """Which of the targets the mean runs over."""
    without = shifted_losses(logits, targets, ignored=pad)
    counted = shifted_losses(logits, targets)
    share = (targets != pad).double().mean().item()
    if any(abs(value - loss) < LOSS_TOLERANCE for value in without.values()):
        return passed(name, f"loss {loss:.4f} is the mean over real tokens")
    if any(abs(value - loss) < LOSS_TOLERANCE for value in counted.values()):
        text = f"loss {loss:.4f} is the mean over all targets, padding {pad} included; without it {without['same']:.4f}"
        return failed(name, text, "loss_counts_padding")
    if abs(without["same"] * share - loss) < LOSS_TOLERANCE:
        text = f"loss {loss:.4f} sums the real tokens but divides by all; their mean is {without['same']:.4f}"
        return failed(name, text, "loss_counts_padding")
    return noted(name, f"loss {loss:.4f} fits neither the mean over all targets nor over the real ones")


def padding_id(module: nn.Module) -> int | None:
    """The token id that a model knows as padding, from an attribute or its embedding."""
    for name in (
        "pad_id",
        "pad_idx",
        "pad_token_id",
        "padding_idx",
        "pad_token",
        "src_pad_idx",
        "trg_pad_idx",
    ):
        value = getattr(module, name, None)
        if type(value) is int:
            return value
    embeddings = [m for m in module.modules() if isinstance(m, nn.Embedding) and m.padding_idx is not None]
    return embeddings[0].padding_idx if embeddings else None


def evaluate_twice(rebuild: Callable[..., nn.Module], run: Callable[[nn.Module], Tensor]) -> tuple[Tensor, Tensor, str]:
    """Two runs of a copy with dropout 0.5, in evaluation mode."""
    noisy = rebuild(dropout=0.5)
    noisy.eval()
    return run(noisy), run(noisy), " with dropout 0.5"
