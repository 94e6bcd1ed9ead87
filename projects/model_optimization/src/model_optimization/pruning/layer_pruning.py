"""Whole layers taken out of an encoder (Fan et al. 2020, "Reducing Transformer Depth on Demand"; Sajjad et al. 2023,
"On the Effect of Dropping Layers of Pre-trained Transformer Models").

Each layer adds to what passes it by, so that a network without one of them still runs; what it lost is measured, by the
validation loss without each layer, and repaired by training. Time and the encoder's size fall in proportion.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel

from model_optimization.pruning.encoder_layers import layer_list, set_layers
from model_optimization.pruning.structured_pruning import reloadable
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Texts
from roadmap_shared.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LayerRemoval:
    """What the network loses with one more layer."""

    layer: int
    """Its number in the whole network, from 0."""

    without: tuple[int, ...]
    """Layers that are out already."""

    loss: float
    """Mean -log p(target) of the texts without it, in nats."""

    accuracy: float


def cut_layers(classifier: TorchClassifier, kept: Sequence[int]) -> TorchClassifier:
    """A new classifier with these layers only, in this order; the given one stays as it is.

    Raises:
        UserError: no layer is left, or one of them is none of the network's.
    """
    count = len(layer_list(classifier.network))
    if not kept or len(set(kept)) != len(kept) or not set(kept) <= set(range(count)):
        raise UserError(f"layers to keep must be some of 0 to {count - 1}, each named once, not {list(kept)}")
    network = copy.deepcopy(classifier.network)
    layers = layer_list(network)
    set_layers(network, [layers[number] for number in kept])
    return TorchClassifier(reloadable(network), classifier.tokenizer, classifier.max_length)


def choose_layers(classifier: TorchClassifier, part: Texts, keep: int) -> tuple[tuple[int, ...], list[LayerRemoval]]:
    """Layers to keep, ascending, and everything that was tried.

    The layer goes whose absence leaves the lowest loss, then the next with that one out, and so on: of n layers, at
    most n (n + 1) / 2 passes over the texts.

    Args:
        classifier: stays as it is.
        part: validation texts.
        keep: how many layers stay.

    Raises:
        UserError: the network has fewer layers than are to stay, or there are no texts.
    """
    count = len(layer_list(classifier.network))
    if not 1 <= keep <= count:
        raise UserError(f"--pruning.layers_keep {keep}: the model has {count} layers, of which 1 to {count} can stay")
    left, tried = list(range(count)), list[LayerRemoval]()
    while len(left) > keep:
        round_ = removals(classifier, part, left)
        tried += round_
        left.remove(min(round_, key=lambda removal: removal.loss).layer)
        print(f"layers {', '.join(map(str, left))} stay", flush=True)
    return tuple(left), tried


def removals(classifier: TorchClassifier, part: Texts, left: Sequence[int]) -> list[LayerRemoval]:
    """Loss and accuracy without each of the layers that are left, one at a time.

    Raises:
        UserError: there are no texts.
    """
    if not len(part):
        raise UserError("layers are chosen on validation texts, and there are none")
    out = tuple(sorted(set(range(len(layer_list(classifier.network)))) - set(left)))
    found = []
    for layer in left:
        with only_layers(classifier.network, [number for number in left if number != layer]):
            logits = torch.from_numpy(classifier.logits(part.texts))
        targets = torch.from_numpy(part.targets)
        loss, right = F.cross_entropy(logits, targets), logits.argmax(1) == targets
        found.append(LayerRemoval(layer=layer, without=out, loss=loss.item(), accuracy=right.float().mean().item()))
    return found


@contextmanager
def only_layers(network: PreTrainedModel, kept: Sequence[int]) -> Iterator[None]:
    """Within it, the network runs through these layers only."""
    layers = list(layer_list(network))
    try:
        set_layers(network, [layers[number] for number in kept])
        yield
    finally:
        set_layers(network, layers)
