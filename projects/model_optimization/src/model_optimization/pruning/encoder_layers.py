"""The parts of an encoder's layers by their role, whatever the architecture calls them.

Shapes: B texts, T tokens, D the encoder's width, H heads of d numbers each, F feed-forward neurons.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from roadmap_shared.errors import UserError


@dataclass(frozen=True, kw_only=True)
class _Names:
    """Where an architecture keeps the parts of a layer, and what its config calls the sizes."""

    layers: str
    query: str
    key: str
    value: str
    attention_out: str
    ffn_in: str
    ffn_out: str
    n_layers: str
    n_neurons: str


_BERT = _Names(
    layers="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_out="attention.output.dense",
    ffn_in="intermediate.dense",
    ffn_out="output.dense",
    n_layers="num_hidden_layers",
    n_neurons="intermediate_size",
)
_DISTILBERT = _Names(
    layers="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_out="attention.out_lin",
    ffn_in="ffn.lin1",
    ffn_out="ffn.lin2",
    n_layers="n_layers",
    n_neurons="hidden_dim",
)
_LIKE_BERT = ("bert", "pruned_bert", "roberta", "xlm-roberta", "camembert", "electra")
_ARCHITECTURES: dict[str, _Names] = {**dict.fromkeys(_LIKE_BERT, _BERT), "distilbert": _DISTILBERT}


@dataclass(frozen=True, kw_only=True)
class EncoderLayer:
    """One layer's matrices."""

    query: nn.Linear
    """D -> H d."""

    key: nn.Linear
    value: nn.Linear
    attention_out: nn.Linear
    """H d -> D: its input holds the heads' outputs side by side."""

    ffn_in: nn.Linear
    """D -> F."""

    ffn_out: nn.Linear
    """F -> D."""

    head_size: int
    """d."""

    @property
    def n_heads(self) -> int:
        """H."""
        return self.query.weight.shape[0] // self.head_size

    @property
    def n_neurons(self) -> int:
        """F."""
        return self.ffn_in.weight.shape[0]


def encoder_layers(network: PreTrainedModel) -> list[EncoderLayer]:
    """The layers of a classifier's encoder, the first one first; the matrices are the network's own.

    Raises:
        UserError: an architecture whose layers are not known.
    """
    names = _names(network)
    head_size = network.config.hidden_size // network.config.num_attention_heads
    roles = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
    return [
        EncoderLayer(head_size=head_size, **{role: _linear(layer, getattr(names, role)) for role in roles})
        for layer in layer_list(network)
    ]


def layer_list(network: PreTrainedModel) -> nn.ModuleList:
    """The list that the encoder runs through."""
    found = network.base_model.get_submodule(_names(network).layers)
    assert isinstance(found, nn.ModuleList)
    return found


def set_layers(network: PreTrainedModel, layers: Sequence[nn.Module]) -> None:
    """Let the encoder run through these layers only, and number them anew. The config stays as it is."""
    parent, _, name = _names(network).layers.rpartition(".")
    setattr(network.base_model.get_submodule(parent), name, nn.ModuleList(layers))
    for number, layer in enumerate(layers):
        for part in layer.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = number  # type: ignore[assignment]


def set_sizes(network: PreTrainedModel, n_layers: int, n_neurons: int) -> None:
    """Write the number of layers, and of neurons in each, into the config."""
    names = _names(network)
    setattr(network.config, names.n_layers, n_layers)
    setattr(network.config, names.n_neurons, n_neurons)


@torch.no_grad()
def keep_outputs(linear: nn.Linear, kept: Tensor) -> None:
    """Cut a linear layer in place to the outputs (rows of the weight) in `kept`, (n_kept,) int64."""
    linear.weight = nn.Parameter(linear.weight[kept].clone())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias[kept].clone())
    linear.out_features = len(kept)


@torch.no_grad()
def keep_inputs(linear: nn.Linear, kept: Tensor) -> None:
    """Cut a linear layer in place to the inputs (columns of the weight) in `kept`, (n_kept,) int64."""
    linear.weight = nn.Parameter(linear.weight[:, kept].clone())
    linear.in_features = len(kept)


def _linear(layer: nn.Module, name: str) -> nn.Linear:
    found = layer.get_submodule(name)
    assert isinstance(found, nn.Linear)
    return found


def _names(network: PreTrainedModel) -> _Names:
    kind = network.config.model_type
    if kind not in _ARCHITECTURES:
        known = ", ".join(sorted(set(_ARCHITECTURES) - {"pruned_bert"}))
        raise UserError(f"a model of type {kind} cannot be pruned: its layers are not known, only those of {known}")
    return _ARCHITECTURES[kind]
