"""BERT with a number of heads and of feed-forward neurons of its own in each layer.

transformers' BERT has one size for all layers, and takes the width of a head from `hidden_size / heads`: a layer that
lost a head cannot be said in its config. `PrunedBert` can be saved, and read by `from_pretrained` wherever this module
was imported and `register_pruned` was called; a program without this package cannot read it.
"""

from typing import Any

from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification


@strict
class PrunedBertConfig(BertConfig):
    """BertConfig with the sizes of each layer.

    `num_attention_heads` and `intermediate_size` stay the original's: with `hidden_size`, the former gives the width of
    a head, and both are the most that a layer can have.
    """

    model_type = "pruned_bert"

    heads_per_layer: list[int] | None = None
    """Attention heads of each layer, the first layer first. None: all in every layer."""

    ffn_per_layer: list[int] | None = None
    """Feed-forward neurons of each layer. None: all in every layer."""

    def validate_sizes_of_layers(self) -> None:
        """Called by transformers when a config is made, read or saved.

        Raises:
            ValueError: a list has not one size for each layer, or a size that no layer can have.
        """
        most = {"heads_per_layer": self.num_attention_heads, "ffn_per_layer": self.intermediate_size}
        for name, largest in most.items():
            sizes = getattr(self, name)
            if sizes is None:
                continue
            if len(sizes) != self.num_hidden_layers:
                raise ValueError(f"{name} has {len(sizes)} sizes for {self.num_hidden_layers} layers")
            if not all(1 <= size <= largest for size in sizes):
                raise ValueError(f"{name} {sizes} must be between 1 and {largest}")

    def sizes(self) -> list[tuple[int, int]]:
        """(heads, neurons) of each layer."""
        heads = self.heads_per_layer or [self.num_attention_heads] * self.num_hidden_layers
        neurons = self.ffn_per_layer or [self.intermediate_size] * self.num_hidden_layers
        return list(zip(heads, neurons, strict=True))


class PrunedBertForSequenceClassification(BertForSequenceClassification):
    """BERT whose layers have the sizes that the config names."""

    config_class = PrunedBertConfig

    def __init__(self, config: PrunedBertConfig) -> None:
        super().__init__(config)
        width, head = config.hidden_size, config.hidden_size // config.num_attention_heads
        layers: Any = self.bert.encoder.layer
        for layer, (heads, neurons) in zip(layers, config.sizes(), strict=True):
            attention = layer.attention.self
            attention.num_attention_heads, attention.all_head_size = heads, heads * head
            for name in ("query", "key", "value"):
                setattr(attention, name, nn.Linear(width, heads * head))
            layer.attention.output.dense = nn.Linear(heads * head, width)
            layer.intermediate.dense = nn.Linear(width, neurons)
            layer.output.dense = nn.Linear(neurons, width)
        self.post_init()


def register_pruned() -> None:
    """Make `AutoConfig` and `AutoModelForSequenceClassification` know the class; again without effect."""
    AutoConfig.register(PrunedBertConfig.model_type, PrunedBertConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(PrunedBertConfig, PrunedBertForSequenceClassification, exist_ok=True)
