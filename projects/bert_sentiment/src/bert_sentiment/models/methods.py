"""Fine-tuning methods: which weights are trained, and which are added for it.

`full` trains everything, `head` the classification layer, `bitfit` the biases too (Ben Zaken et al. 2022); `adapter`
adds bottleneck layers; the others come from peft. The classification layer is trained by all of them. `lora`, `dora`,
`ia3`, `adapter`, `head` and `bitfit` start from the base model's outputs; virtual tokens change them from the start.

BERT, RoBERTa, DistilBERT and ALBERT classify from the first position: with `prompt` and `p_tuning` that is the first
virtual token, with `prefix` it remains [CLS].
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel

from bert_sentiment.config import MethodConfig
from bert_sentiment.models.architectures import architecture_of, head_names, matching, target_names
from bert_sentiment.models.bert_classifier import SentimentModel
from bert_sentiment.models.bottleneck_adapter import adapter_parameters, insert_adapters
from bert_sentiment.models.peft_methods import PEFT_METHODS, wrap
from roadmap_shared.errors import UserError

MERGING_METHODS = ("lora", "dora", "ia3")
_METHOD = "fine_tuning_method"
_FROZEN_COPY = ".original_module."


def apply_method(model: SentimentModel, config: MethodConfig) -> SentimentModel:
    """The model ready to be fine-tuned: what the method trains requires gradients, nothing else does.

    The network is changed in place: use the returned model only. New weights are drawn from torch's global generator,
    which the caller seeds.

    Raises:
        UserError: the method does not fit the network.
        ValueError: the network has a method already.
    """
    network = model.network
    if method_of(network) is not None:
        raise ValueError("the network has a fine-tuning method already: merge it, or start from the base model")
    was_training = network.training
    if config.name in PEFT_METHODS:
        text_length = min(model.preprocessing.max_length, model.tokenizer.model_max_length)
        # A PeftModel passes on what it lacks to the network inside.
        network = cast(PreTrainedModel, wrap(network, config, text_length))
    elif config.name == "full":
        network.requires_grad_(True)
    else:
        _freeze(network)
        if config.name == "bitfit":
            _train_biases(network)
        elif config.name == "adapter":
            _add_adapters(network, config)
    setattr(network, _METHOD, config)
    return replace(model, network=network.train(was_training))


def method_of(network: nn.Module) -> MethodConfig | None:
    """The method that `apply_method` has given to the network, if any."""
    return getattr(network, _METHOD, None)


def trained_parameters(network: nn.Module) -> tuple[int, int]:
    """How many numbers are trained, and how many the network computes with."""
    sizes = [(weight.numel(), weight.requires_grad) for _, weight in used_parameters(network)]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)


def used_parameters(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Named parameters without the untrained copy of the classification layer that peft keeps aside."""
    return [(name, weight) for name, weight in network.named_parameters() if _FROZEN_COPY not in name]


def trained_weights(network: nn.Module) -> dict[str, Tensor]:
    """Copies of what is trained, by name: what a checkpoint needs beside the base model.

    peft's own checkpoints do not do: of `p_tuning` they keep what its network makes, and reading one back puts that in
    at the network's input.
    """
    return {name: weight.detach().clone() for name, weight in used_parameters(network) if weight.requires_grad}


def set_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put in weights such as `trained_weights` returned.

    Raises:
        ValueError: a name is missing or unknown, or a shape is another; the network is then as it was.
    """
    parameters = dict(used_parameters(network))
    expected = {name for name, weight in parameters.items() if weight.requires_grad}
    if wrong := (expected - weights.keys()) | (weights.keys() - parameters.keys()):
        raise ValueError(f"other weights than the network's: {min(wrong)}")
    for name, weight in weights.items():
        if weight.shape != parameters[name].shape:
            raise ValueError(f"{name} is {tuple(weight.shape)} and not {tuple(parameters[name].shape)}")
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[name].copy_(weight)


def merge(model: SentimentModel) -> SentimentModel:
    """The model with its low-rank updates or scales multiplied into the weights: an ordinary classifier, as fast as
    the base model, which `SentimentModel.save` writes. The given model is used up.

    Raises:
        UserError: the method does not merge.
    """
    config = method_of(model.network)
    if config is None or config.name not in MERGING_METHODS:
        raise UserError(f"cannot merge: {_why_not(config)}")
    was_training = model.network.training
    wrapped: Any = model.network
    # peft 0.21 fails to unload (IA)³ where the classification layer consists of several.
    for name, module in list(wrapped.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            wrapped.set_submodule(name, module.modules_to_save["default"])
    network: PreTrainedModel = wrapped.merge_and_unload()
    return replace(model, network=network.requires_grad_(True).train(was_training))


def _why_not(config: MethodConfig | None) -> str:
    match config.name if config else "full":
        case "full" | "head" | "bitfit":
            return "the model is an ordinary classifier already, save it as it is"
        case "adapter":
            return "adapters have a non-linearity and no weight of the encoder can take their place, keep them"
        case name:
            return f"{name} adds virtual tokens to the input and no update to the weights, keep them"


def _freeze(network: PreTrainedModel) -> None:
    """All but the classification layer."""
    network.requires_grad_(False)
    for name in head_names(network):
        network.get_submodule(name).requires_grad_(True)


def _train_biases(network: PreTrainedModel) -> None:
    """Every bias of the encoder, those of the layer norms included (Ben Zaken et al. 2022, "BitFit", §3).

    Raises:
        UserError: the encoder has none.
    """
    encoder = network.get_submodule(network.base_model_prefix)
    biases = [weight for name, weight in encoder.named_parameters() if name.endswith("bias")]
    if not biases:
        raise UserError(
            f"--method.name bitfit: this {network.config.model_type} has no biases to train. Use ia3, "
            "which is about as small, lora, or head"
        )
    for bias in biases:
        bias.requires_grad_(True)


def _add_adapters(network: PreTrainedModel, config: MethodConfig) -> None:
    """Adapters where the config or the architecture says.

    Raises:
        UserError: the bottleneck is none, or the places are not known.
    """
    width = network.config.hidden_size
    if config.bottleneck >= width:
        raise UserError(f"--method.bottleneck {config.bottleneck} must be below the encoder's width {width}")
    if config.target_modules is None:
        architecture = architecture_of(network, config.name)
        patterns = architecture.after_feed_forward
        if config.placement == "houlsby":
            patterns = architecture.after_attention + patterns
        hosts = matching(network, patterns)
    else:
        hosts = target_names(network, config.target_modules, nn.Linear)
    insert_adapters(network, hosts, config.bottleneck)
    for weight in adapter_parameters(network):
        weight.requires_grad_(True)
