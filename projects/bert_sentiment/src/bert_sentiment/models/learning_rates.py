"""One learning rate for each depth of the encoder, a larger one for the new layer on top."""

import re
from collections import defaultdict
from typing import Any

from torch import nn

from bert_sentiment.config import TrainerConfig

_LAYER = re.compile(r"\.(?:layer|layers|albert_layer_groups)\.(\d+)\.")
_EMBEDDINGS = re.compile(r"\b(?:embeddings|embed_tokens|tok_embeddings)\b")
_FACTOR = re.compile(r"\.ia3_l\.")
_HEAD = re.compile(r"(?:^|\.)(?:classifier|pre_classifier|score|head|qa_outputs)\.")


def parameter_groups(network: nn.Module, config: TrainerConfig) -> list[dict[str, Any]]:
    """Groups for the optimiser: each depth with its learning rate (Howard & Ruder 2018, "ULMFiT", §3.2), matrices with
    weight decay, biases, norms and the factors of (IA)³ without: decay would pull a factor from 1 to 0.

    The top layer learns at `learning_rate`, each one below `layer_decay` times slower, the embeddings slowest, and the
    classification layer `head_factor` times faster than the top layer. What a fine-tuning method adds to a layer learns
    as the layer does, virtual tokens as the top layer.
    """
    n_layers = 1 + max(
        (depth for name, _ in network.named_parameters() if (depth := layer_of(name)) is not None), default=0
    )
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and not _FACTOR.search(name)
            decay = config.weight_decay if is_matrix else 0.0
            groups[rate_factor(name, n_layers, config), decay].append(parameter)
    return [
        {"params": parameters, "lr": config.learning_rate * factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def layer_of(name: str) -> int | None:
    """The encoder layer that a parameter belongs to, counted from the input; None for one outside the layers."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def rate_factor(name: str, n_layers: int, config: TrainerConfig) -> float:
    """A parameter's learning rate as a multiple of the top layer's."""
    layer = layer_of(name)
    if layer is not None:
        return config.layer_decay ** (n_layers - 1 - layer)
    if _HEAD.search(name):
        return config.head_factor
    return config.layer_decay**n_layers if _EMBEDDINGS.search(name) else 1.0
