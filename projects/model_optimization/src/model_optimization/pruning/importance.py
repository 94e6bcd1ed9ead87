"""How much a trained network needs each of its attention heads and feed-forward neurons.

Each unit's output is multiplied by a gate of 1. The derivative of a text's loss with respect to the gate is the
first-order estimate of what closing it, and so removing the unit, would change: L(0) ≈ L(1) - dL/dgate. Of a neuron
with activations a it is the sum over the tokens of a · dL/da, the Taylor criterion of Molchanov et al.
2017 ("Pruning Convolutional Neural Networks for Resource Efficient Inference", §2.2); for heads it is Michel et al.
2019 ("Are Sixteen Heads Really Better than One?", §4.1). One pass forward and one back rates all units at once, where
removing them one at a time takes a pass each.

Shapes: B texts of a batch, T tokens, U units (H heads of d numbers each, or F neurons of one) in a layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from model_optimization.batching import by_length, padded
from model_optimization.pruning.encoder_layers import encoder_layers
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import FloatArray, IntArray, Texts, TokenIds
from roadmap_shared.errors import UserError
from roadmap_shared.progress import progress


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Mean over the calibration texts of |dL/dgate| of each unit, one array a layer."""

    heads: tuple[FloatArray, ...]
    """(H,) of each layer."""

    neurons: tuple[FloatArray, ...]
    """(F,) of each layer."""

    texts: int
    """How many texts it was measured on."""


class Gate:
    """Multiplies what enters a linear layer by one number a unit: a hook for `register_forward_pre_hook`."""

    def __init__(self, units: int, fixed: Tensor | None = None) -> None:
        self.units = units
        self.fixed = fixed
        """(U,) gates that are the same for all texts. None: gates of 1 for each text, whose gradients are wanted."""

        self.values = torch.empty(0)
        """(B, 1, U), the gates of the last batch."""

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        (outputs,) = inputs  # (B, T, U d), of the units
        if self.fixed is None:
            self.values = torch.ones(len(outputs), 1, self.units, requires_grad=True)
        else:
            self.values = self.fixed.expand(len(outputs), 1, self.units)
        return outputs * self.values.repeat_interleave(outputs.shape[-1] // self.units, dim=-1)


@contextmanager
def gated(heads: Sequence[Gate], neurons: Sequence[Gate], network: PreTrainedModel) -> Iterator[None]:
    """Within it, each layer's heads and neurons pass through these gates, one of each kind a layer."""
    hooks = []
    try:
        for layer, head_gate, neuron_gate in zip(encoder_layers(network), heads, neurons, strict=True):
            hooks.append(layer.attention_out.register_forward_pre_hook(head_gate))
            hooks.append(layer.ffn_out.register_forward_pre_hook(neuron_gate))
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def masked(
    network: PreTrainedModel,
    *,
    heads: Sequence[ArrayLike] | None = None,
    neurons: Sequence[ArrayLike] | None = None,
) -> Iterator[None]:
    """Within it, the units whose mask is 0 say nothing: what the network answers once they are cut, at full cost.

    Args:
        network: stays as it is.
        heads: (H,) masks of 0 and 1, one a layer. None: all stay.
        neurons: (F,) masks, one a layer.
    """
    layers = encoder_layers(network)
    heads = heads or [np.ones(layer.n_heads) for layer in layers]
    neurons = neurons or [np.ones(layer.n_neurons) for layer in layers]
    with gated(_fixed(heads), _fixed(neurons), network):
        yield


def importance(classifier: TorchClassifier, part: Texts, batch_size: int = 32) -> Importance:
    """Rate all heads and neurons on labelled texts, one pass forward and one back.

    Raises:
        UserError: there are no texts, or the architecture's layers are not known.
    """
    if not len(part):
        raise UserError("importance needs at least one calibration text: raise --pruning.calibration_texts")
    layers = encoder_layers(classifier.network)
    heads, neurons = [Gate(layer.n_heads) for layer in layers], [Gate(layer.n_neurons) for layer in layers]
    totals = [torch.zeros(gate.units) for gate in (*heads, *neurons)]
    sequences = classifier.token_ids(part.texts)
    with gated(heads, neurons, classifier.network), progress(len(part), "importance", "text") as bar:
        for batch in by_length(sequences, batch_size):
            loss = _summed_loss(classifier, [sequences[index] for index in batch], part.targets[batch])
            for total, slope in zip(totals, gate_slopes(loss, [*heads, *neurons]), strict=True):
                total += slope.abs().sum(0)
            bar.update(len(batch))
    means = [(total / len(part)).numpy() for total in totals]
    return Importance(heads=tuple(means[: len(layers)]), neurons=tuple(means[len(layers) :]), texts=len(part))


def gate_slopes(loss: Tensor, gates: Sequence[Gate]) -> list[Tensor]:
    """dL/dgate of each text of the batch that passed last: one (B, U) tensor for each of the gates.

    Args:
        loss: () sum over the texts, not their mean: a text's gates change its own loss alone.
        gates: without fixed values.
    """
    return [slope[:, 0] for slope in torch.autograd.grad(loss, [gate.values for gate in gates])]


def normalised(scores: Sequence[FloatArray]) -> list[FloatArray]:
    """Each layer's scores divided by their Euclidean norm: layers can be compared (Molchanov et al. 2017, §2.2)."""
    return [layer / max(float(np.linalg.norm(layer)), np.finfo(np.float32).tiny) for layer in scores]


def calibration_texts(part: Texts, most: int, seed: int) -> Texts:
    """At most `most` texts, drawn without regard to their order, which may be by label."""
    if len(part) <= most:
        return part
    chosen = np.sort(np.random.default_rng(seed).choice(len(part), most, replace=False))
    return Texts(texts=tuple(part.texts[index] for index in chosen), targets=part.targets[chosen])


def _summed_loss(classifier: TorchClassifier, sequences: Sequence[TokenIds], targets: IntArray) -> Tensor:
    pad_id = classifier.tokenizer.pad_token_id
    assert isinstance(pad_id, int)
    input_ids, attention_mask = map(torch.from_numpy, padded(sequences, pad_id))
    logits = classifier.network.eval()(input_ids, attention_mask=attention_mask).logits
    return F.cross_entropy(logits, torch.from_numpy(targets), reduction="sum")


def _fixed(masks: Sequence[ArrayLike]) -> list[Gate]:
    tensors = [torch.as_tensor(np.asarray(mask, dtype=np.float32)) for mask in masks]
    return [Gate(len(tensor), tensor) for tensor in tensors]
