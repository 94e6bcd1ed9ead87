"""Exact evaluation of a language model: every held-out token is predicted once, none twice, none is left out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roadmap_shared.metrics import Interval, bootstrap_ratio


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout off inside the block, and back to what it was behind it."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No gradients, no dropout; afterwards the model is in the mode that it was in."""
    with evaluation_mode(model), torch.no_grad():
        yield


@dataclass(frozen=True)
class WindowLosses:
    """Loss of each window of a text: sums in nats, and how many tokens each sum is over."""

    sums: np.ndarray
    counts: np.ndarray

    @property
    def mean(self) -> float:
        """Nats a token over the whole text."""
        return float(self.sums.sum() / self.counts.sum())

    def interval(self, tokens_per_character: float, n_resamples: int) -> Interval:
        """Nats a character with its 95 % bootstrap interval over windows."""
        return bootstrap_ratio(self.sums * tokens_per_character, self.counts, n_resamples=n_resamples)


def window_losses(model: nn.Module, ids: Tensor, context: int, batch_size: int) -> WindowLosses:
    """Loss of `ids` (N,), cut into consecutive windows of `context` tokens; each token but the first is a target once.

    A token sees what stands before it in its own window (as in nanoGPT), so the first ones of each window have little
    to go by: a longer context lowers the loss a little through that alone.
    """
    device = next(model.parameters()).device
    inputs, targets = ids[:-1], ids[1:]
    n_whole = len(inputs) // context * context
    sums: list[Tensor] = []
    with evaluating(model):
        for batch in range(0, n_whole, batch_size * context):
            end = min(batch + batch_size * context, n_whole)
            losses = token_losses(
                model,
                inputs[batch:end].view(-1, context).to(device),
                targets[batch:end].view(-1, context).to(device),
            )
            sums.append(losses.sum(dim=1))
        if n_whole < len(inputs):
            rest = token_losses(model, inputs[None, n_whole:].to(device), targets[None, n_whole:].to(device))
            sums.append(rest.sum(dim=1))
    counts = [context] * (n_whole // context) + ([len(inputs) - n_whole] if n_whole < len(inputs) else [])
    return WindowLosses(torch.cat(sums).double().cpu().numpy(), np.array(counts, dtype=np.float64))


def token_losses(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """(B, T) cross-entropy in nats of each target, in fp32."""
    logits = model(inputs).float()
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
