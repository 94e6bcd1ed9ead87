"""Where each architecture keeps the layers that a fine-tuning method changes.

A pattern stands for the end of a module's name: `value` is every module that is called so, `attention\\.output\\.dense`
only the one within the attention. It may be any regular expression.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from roadmap_shared.errors import UserError


@dataclass(frozen=True)
class Architecture:
    """Patterns of one architecture's modules, inside each layer of its encoder."""

    linear: tuple[str, ...]
    """Every weight matrix: what LoRA and DoRA update."""

    keys_values: tuple[str, ...]
    """The projections to keys and values, whose outputs (IA)³ scales."""

    hidden: tuple[str, ...]
    """The second layer of the feed-forward network, whose input (IA)³ scales."""

    after_attention: tuple[str, ...]
    """The last module before the attention's result joins the residual stream: an adapter follows it."""

    after_feed_forward: tuple[str, ...]
    """The same for the feed-forward network."""


_BERT = Architecture(
    linear=(r"layer\.\d+\.(?:.*\.)?(?:query|key|value|dense)",),
    keys_values=("key", "value"),
    # `output.dense` alone would be the attention's output projection as well.
    hidden=(r"layer\.\d+\.output\.dense",),
    after_attention=(r"attention\.output\.dropout",),
    after_feed_forward=(r"layer\.\d+\.output\.dropout",),
)

ARCHITECTURES = {
    "bert": _BERT,
    "roberta": _BERT,
    "distilbert": Architecture(
        linear=("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"),
        keys_values=("k_lin", "v_lin"),
        hidden=("lin2",),
        after_attention=("out_lin",),
        after_feed_forward=(r"ffn\.dropout",),
    ),
    # One set of weights serves all layers, hence one update, scale or adapter does too.
    "albert": Architecture(
        linear=("query", "key", "value", r"attention\.dense", "ffn", "ffn_output"),
        keys_values=("key", "value"),
        hidden=("ffn_output",),
        after_attention=(r"attention\.output_dropout",),
        after_feed_forward=("ffn_output",),
    ),
    # Queries, keys and values come from one matrix: (IA)³ scales the queries too.
    "modernbert": Architecture(
        linear=("Wqkv", "Wo", "Wi"),
        keys_values=("Wqkv",),
        hidden=(r"mlp\.Wo",),
        after_attention=(r"attn\.out_drop",),
        after_feed_forward=(r"mlp\.Wo",),
    ),
}


def architecture_of(network: PreTrainedModel, method: str) -> Architecture:
    """The table's row for the network.

    Raises:
        UserError: it has none.
    """
    model_type = network.config.model_type
    if model_type not in ARCHITECTURES:
        raise UserError(
            f"--method.name {method}: which layers of {model_type} to change is not known here. Name them with "
            f"--method.target_modules; its linear layers are {linear_names(network)}"
        )
    return ARCHITECTURES[model_type]


def matching(network: PreTrainedModel, patterns: Iterable[str], kind: type[nn.Module] = nn.Module) -> list[str]:
    """Names of the encoder's modules of this kind whose names end as one of the patterns says."""
    ends = re.compile(rf"(?:.*\.)?(?:{'|'.join(f'(?:{pattern})' for pattern in patterns)})")
    return [name for name, module in _encoder_modules(network) if isinstance(module, kind) and ends.fullmatch(name)]


def target_names(network: PreTrainedModel, patterns: tuple[str, ...], kind: type[nn.Module] = nn.Module) -> list[str]:
    """`matching` for patterns that a user gave.

    Raises:
        UserError: one of them matches nothing, or is no regular expression.
    """
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"--method.target_modules {pattern}: is no regular expression: {error}") from None
        if not matching(network, [pattern], kind):
            raise UserError(
                f"--method.target_modules {pattern}: no such layer in the encoder; its linear layers are "
                f"{linear_names(network)}"
            )
    return matching(network, patterns, kind)


def head_names(network: PreTrainedModel) -> list[str]:
    """Names of the modules between the encoder and the logits: `classifier`, for DistilBERT also `pre_classifier`, for
    ModernBERT also `head`. BERT's pooler is part of the pretrained encoder."""
    return [
        name
        for name, module in network.named_children()
        if name != network.base_model_prefix and any(True for _ in module.parameters())
    ]


def linear_names(network: PreTrainedModel) -> str:
    """The last parts of the names of the encoder's linear layers, for a message."""
    names = (name.rpartition(".")[2] for name, module in _encoder_modules(network) if isinstance(module, nn.Linear))
    return ", ".join(dict.fromkeys(names))


def _encoder_modules(network: PreTrainedModel) -> Iterable[tuple[str, nn.Module]]:
    prefix = f"{network.base_model_prefix}."
    return ((name, module) for name, module in network.named_modules() if name.startswith(prefix))
