"""One training loop for the original, for networks that lost weights or bits, and for students.

What differs between them is the loss of a batch and what happens after a step, and both are handed in.
Shapes: N texts, B a batch of them, T tokens, K labels.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_optimization.batching import padded
from model_optimization.config.trainer import TrainerConfig
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Texts, TokenIds
from roadmap_shared.progress import progress

_BUCKET = 20  # batches that are sorted by length together: little padding, and still another order each epoch


@dataclass(frozen=True, kw_only=True)
class TokenisedTexts:
    """Texts as a network sees them."""

    sequences: Sequence[TokenIds]
    targets: Tensor
    """(N,) int64."""

    pad_id: int


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One step's texts."""

    inputs: Mapping[str, Tensor]
    """`input_ids` and `attention_mask`, both (B, T)."""

    targets: Tensor
    """(B,) int64."""

    indices: Tensor
    """(B,) places of the texts in the training part, for what was computed for each of them before."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training cost and came to."""

    losses: tuple[float, ...]
    """Mean loss of each epoch."""

    steps: int
    cpu_seconds: float


Loss = Callable[[nn.Module, Batch], Tensor]
AfterStep = Callable[[int, int], None]
"""Takes the number of steps done and of all steps."""


def tokenised(classifier: TorchClassifier, part: Texts) -> TokenisedTexts:
    """The texts of a part in the classifier's tokens."""
    return TokenisedTexts(
        sequences=classifier.token_ids(part.texts),
        targets=torch.from_numpy(part.targets),
        pad_id=classifier.pad_id,
    )


def cross_entropy(network: nn.Module, batch: Batch) -> Tensor:
    """Mean over the batch of -log p(target)."""
    return F.cross_entropy(network(**batch.inputs).logits, batch.targets)


def fine_tune(
    network: nn.Module,
    data: TokenisedTexts,
    config: TrainerConfig,
    *,
    seed: int,
    loss: Loss = cross_entropy,
    after_step: AfterStep | None = None,
    description: str = "fine-tuning",
) -> TrainingResult:
    """Train in place, and leave the network in evaluation mode.

    Args:
        network: of transformers, in training or evaluation mode.
        data: the training texts.
        config: epochs, rates, batches.
        seed: of the order of the texts and of dropout.
        loss: of a batch, () tensor.
        after_step: called after each optimiser step, for masks and schedules.
        description: for the progress line.

    Raises:
        FloatingPointError: the loss is no number; the learning rate is too high.
    """
    started = time.process_time()
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    steps = config.epochs * -(-len(data.sequences) // config.batch_size)
    # Fused: one pass over the weights instead of several. On a CPU a whole step takes a quarter less time by it.
    optimizer = torch.optim.AdamW(_groups(network, config), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _linear(steps, config.warmup_share))
    network.train()
    epochs, done = [], 0
    with progress(steps, description, "step") as bar:
        for _ in range(config.epochs):
            losses = []
            for batch in batches(data, config.batch_size, generator):
                value = loss(network, batch)
                if not torch.isfinite(value):
                    raise FloatingPointError(f"the loss is {value.item()} at step {done + 1}: lower the learning rate")
                value.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                done += 1
                if after_step is not None:
                    after_step(done, steps)
                losses.append(value.item())
                bar.update()
            epochs.append(float(np.mean(losses)))
    network.eval()
    return TrainingResult(losses=tuple(epochs), steps=done, cpu_seconds=time.process_time() - started)


def batches(data: TokenisedTexts, batch_size: int, generator: np.random.Generator) -> Iterator[Batch]:
    """All texts once, in a new order, those of similar length together."""
    order = generator.permutation(len(data.sequences))
    pool = _BUCKET * batch_size
    cut: list[np.ndarray] = []
    for start in range(0, len(order), pool):
        chosen = order[start : start + pool]
        by_length = chosen[np.argsort([len(data.sequences[index]) for index in chosen], kind="stable")]
        cut += [by_length[first : first + batch_size] for first in range(0, len(by_length), batch_size)]
    for place in generator.permutation(len(cut)):
        indices = cut[place]
        input_ids, attention_mask = padded([data.sequences[index] for index in indices], data.pad_id)
        chosen = torch.from_numpy(indices)
        yield Batch(
            inputs={"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(attention_mask)},
            targets=data.targets[chosen],
            indices=chosen,
        )


def _groups(network: nn.Module, config: TrainerConfig) -> list[dict[str, object]]:
    """Parameters by learning rate and weight decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith("classifier."), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.learning_rate * (config.head_factor if head else 1),
            "weight_decay": config.weight_decay if matrix else 0.0,
        }
        for (head, matrix), parameters in groups.items()
    ]


def _linear(steps: int, warmup_share: float) -> Callable[[int], float]:
    """Factor of the learning rate at a step: up to 1 in a line, then down to 0 in a line."""
    warmup = round(warmup_share * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return (steps - step) / max(1, steps - warmup)

    return factor
