"""Attention heads and feed-forward neurons cut out of a network, whose matrices really shrink.

A neuron is a row of the first feed-forward matrix, its bias, and a column of the second. A head is d rows of each of
the query, key and value matrices, and d columns of the matrix behind them. The network that is left gives the same
logits as the whole one whose units are masked, in less time.

Shapes: D the encoder's width, H heads of d numbers each, F feed-forward neurons.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from model_optimization.config.pruning import PruningConfig
from model_optimization.pruning.encoder_layers import encoder_layers, keep_inputs, keep_outputs, set_sizes
from model_optimization.pruning.importance import Importance, normalised
from model_optimization.pruning.pruned_bert import PrunedBertConfig, register_pruned
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import FloatArray
from roadmap_shared.errors import UserError

Kept = Sequence[NDArray[np.int64]]
"""Numbers of the units that stay, ascending, one array a layer."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The units that stay."""

    heads: Kept
    neurons: Kept


def choose_units(rated: Importance, config: PruningConfig) -> Choice:
    """The most important heads and neurons, as many as `config` keeps.

    Raises:
        UserError: a layer would keep no head.
    """
    most = min(len(scores) for scores in rated.heads)
    if round(config.heads_keep * most) < 1:
        raise UserError(
            f"--pruning.heads_keep {config.heads_keep} leaves none of the {most} heads of a layer: give at least "
            f"{1 / most:.2g}"
        )
    choose = uniform_choice if config.budget == "uniform" else per_layer_choice
    return Choice(
        heads=choose(rated.heads, config.heads_keep, 1),
        neurons=choose(rated.neurons, config.ffn_keep, config.ffn_multiple),
    )


def uniform_choice(scores: Sequence[FloatArray], keep: float, multiple: int) -> Kept:
    """Of each layer the same share: its best `keep` of them, rounded to a multiple and at least one."""
    return [_best(layer, _rounded(keep * len(layer), multiple, len(layer))) for layer in scores]


def per_layer_choice(scores: Sequence[FloatArray], keep: float, multiple: int) -> Kept:
    """The best `keep` of all layers together, so that a layer which is needed more keeps more of its units.

    Scores are divided by their layer's norm before they are compared. Each layer keeps at least one multiple.
    """
    comparable = normalised(scores)
    together = np.concatenate(comparable)
    worst = np.sort(together)[::-1][max(1, round(keep * len(together))) - 1]
    return [_best(layer, _rounded(int((layer >= worst).sum()), multiple, len(layer))) for layer in comparable]


def cut_units(classifier: TorchClassifier, choice: Choice) -> TorchClassifier:
    """A new classifier without the heads and neurons that `choice` leaves out; the given one stays as it is.

    Raises:
        UserError: a layer would be left without heads or neurons, there is no such unit, or the architecture's
            config cannot say what is left.
    """
    network = copy.deepcopy(classifier.network)
    layers = encoder_layers(network)
    for kept, what, counts in (
        (choice.heads, "heads", [layer.n_heads for layer in layers]),
        (choice.neurons, "neurons", [layer.n_neurons for layer in layers]),
    ):
        _check(kept, what, counts)
    for layer, heads, neurons in zip(layers, choice.heads, choice.neurons, strict=True):
        rows = torch.from_numpy((heads[:, None] * layer.head_size + np.arange(layer.head_size)).ravel())  # (H d,)
        for projection in (layer.query, layer.key, layer.value):
            keep_outputs(projection, rows)
        keep_inputs(layer.attention_out, rows)
        keep_outputs(layer.ffn_in, torch.from_numpy(neurons))
        keep_inputs(layer.ffn_out, torch.from_numpy(neurons))
    return TorchClassifier(reloadable(network), classifier.tokenizer, classifier.max_length)


def cut_neurons(classifier: TorchClassifier, kept: Kept) -> TorchClassifier:
    """`cut_units` with all heads."""
    heads = [np.arange(layer.n_heads) for layer in encoder_layers(classifier.network)]
    return cut_units(classifier, Choice(heads=heads, neurons=kept))


def cut_heads(classifier: TorchClassifier, kept: Kept) -> TorchClassifier:
    """`cut_units` with all neurons. Since transformers 5 has no `prune_heads`, this is what takes its place."""
    neurons = [np.arange(layer.n_neurons) for layer in encoder_layers(classifier.network)]
    return cut_units(classifier, Choice(heads=kept, neurons=neurons))


def reloadable(network: PreTrainedModel) -> PreTrainedModel:
    """A network whose matrices were cut, with a config that says so, in a class that `from_pretrained` can build.

    Layers of one size, with all their heads, need no class of their own. Other BERTs become `PrunedBert`.

    Raises:
        UserError: another architecture than BERT, whose layers differ or lack heads.
    """
    layers = encoder_layers(network)
    heads, neurons = [layer.n_heads for layer in layers], [layer.n_neurons for layer in layers]
    config = network.config
    if config.model_type != PrunedBertConfig.model_type:
        if set(heads) == {config.num_attention_heads} and len(set(neurons)) == 1:
            set_sizes(network, len(layers), neurons[0])
            return network
        refuse_ragged(config.model_type)
    settings = {name: value for name, value in config.to_dict().items() if name not in ("model_type", "architectures")}
    settings |= {"heads_per_layer": heads, "ffn_per_layer": neurons, "num_hidden_layers": len(layers)}
    register_pruned()
    pruned = AutoModelForSequenceClassification.from_config(
        PrunedBertConfig(**settings), attn_implementation=config._attn_implementation
    )
    pruned.load_state_dict(network.state_dict())
    return pruned.eval()


def refuse_ragged(model_type: str) -> None:
    """Stop where layers are to differ, or to lack heads, and only BERT has a class that can say so.

    Raises:
        UserError: the architecture is not BERT.
    """
    if model_type not in ("bert", PrunedBertConfig.model_type):
        raise UserError(
            f"a model of type {model_type} can lose layers, and the same number of neurons in each layer, but no "
            "heads: keep --pruning.heads_keep 1 and --pruning.budget uniform, or give a BERT"
        )


def _check(kept: Kept, what: str, counts: Sequence[int]) -> None:
    if len(kept) != len(counts):
        raise UserError(f"{what} to keep are named for {len(kept)} layers, but the network has {len(counts)}")
    for number, (units, count) in enumerate(zip(kept, counts, strict=True)):
        if not len(units):
            raise UserError(f"layer {number}: all {count} {what} would be cut: keep at least one, or cut the layer")
        if len(np.unique(units)) != len(units) or units.min() < 0 or units.max() >= count:
            raise UserError(f"layer {number}: its {what} are 0 to {count - 1}, each named once, not {units.tolist()}")


def _best(scores: FloatArray, count: int) -> NDArray[np.int64]:
    """Numbers of the `count` highest scores, ascending; of equal ones the first."""
    return np.sort(np.argsort(-scores, kind="stable")[:count]).astype(np.int64)


def _rounded(count: float, multiple: int, most: int) -> int:
    """The nearest multiple that is at least one and at most all; all stay all."""
    if count >= most:
        return most
    return min(most, max(1, round(count / multiple)) * multiple)
