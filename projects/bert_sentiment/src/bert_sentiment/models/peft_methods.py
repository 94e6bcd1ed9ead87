"""The methods that the library peft provides, with what it leaves to its caller checked and filled in."""

import inspect
import warnings
from typing import Any

from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    PromptTuningInit,
    TaskType,
    get_peft_model,
)
from torch import nn
from transformers import PreTrainedModel

from bert_sentiment.config import MethodConfig
from bert_sentiment.models.architectures import ARCHITECTURES, architecture_of, head_names, matching, target_names
from roadmap_shared.errors import UserError

PEFT_METHODS = ("lora", "dora", "ia3", "prefix", "p_tuning", "prompt")
VIRTUAL_TOKEN_METHODS = ("prefix", "p_tuning", "prompt")


def wrap(network: PreTrainedModel, config: MethodConfig, text_length: int) -> PeftModel:
    """The network inside a `PeftModel`, in which only the method's weights and the classification layer are trained.

    Args:
        network: changed in place by lora, dora and ia3.
        config: one of `PEFT_METHODS`.
        text_length: tokens of the longest text, for methods whose virtual tokens take positions.

    Raises:
        UserError: the method does not fit the network.
    """
    match config.name:
        case "lora" | "dora":
            settings = _lora(network, config)
        case "ia3":
            settings = _ia3(network, config)
        case "prefix":
            settings = _prefix(network, config)
        case "p_tuning":
            settings = _p_tuning(network, config)
        case "prompt":
            settings = _prompt(network, config)
        case _:
            raise ValueError(f"{config.name} is no method of peft")
    if config.name in VIRTUAL_TOKEN_METHODS:
        _check_positions(network, config, text_length)
    with warnings.catch_warnings():
        # peft 0.21 asks transformers for a property under its former name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        wrapped = get_peft_model(network, settings)
    assert isinstance(wrapped, PeftModel)
    return wrapped


def _lora(network: PreTrainedModel, config: MethodConfig) -> PeftConfig:
    """W + (alpha / rank)·B·A with B = 0 at first (Hu et al. 2022, "LoRA"); DoRA (Liu et al. 2024) also trains the
    length of each of W's rows apart from its direction."""
    if config.target_modules is None:
        targets = matching(network, architecture_of(network, config.name).linear, nn.Linear)
    else:
        targets = target_names(network, config.target_modules, nn.Linear)
    for name in targets:
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        if config.rank > (width := min(layer.in_features, layer.out_features)):
            raise UserError(
                f"--method.rank {config.rank} is above the width {width} of {name}: give at most {width}, or full"
            )
    return LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # annotated as int, used as a factor
        lora_dropout=config.dropout,
        use_dora=config.name == "dora",
        target_modules=targets,
        modules_to_save=head_names(network),
    )


def _ia3(network: PreTrainedModel, config: MethodConfig) -> PeftConfig:
    """A factor, at first 1, on each key, value and hidden activation (Liu et al. 2022, "Few-Shot Parameter-Efficient
    Fine-Tuning", §3.3). peft's own choice for BERT scales the input of the attention's output projection too."""
    if config.target_modules is None:
        architecture = architecture_of(network, config.name)
        inputs = matching(network, architecture.hidden, nn.Linear)
        targets = matching(network, architecture.keys_values, nn.Linear) + inputs
    else:
        targets = target_names(network, config.target_modules, nn.Linear)
        known = ARCHITECTURES.get(network.config.model_type)
        hidden = matching(network, known.hidden, nn.Linear) if known else []
        inputs = [name for name in targets if name in hidden]
    return IA3Config(
        task_type=TaskType.SEQ_CLS,
        target_modules=targets,
        feedforward_modules=inputs,
        modules_to_save=head_names(network),
    )


def _prefix(network: PreTrainedModel, config: MethodConfig) -> PeftConfig:
    """Keys and values of virtual tokens in every layer: P-Tuning v2 (Liu et al. 2022), which is prefix tuning (Li and
    Liang 2021) without the network that makes the prefix."""
    encoder = network.get_submodule(network.base_model_prefix)
    if "past_key_values" not in inspect.signature(encoder.forward).parameters:
        raise UserError(
            f"--method.name prefix: the attention of {network.config.model_type} takes no keys and values from "
            "outside (that of bert and roberta does). Use prompt or p_tuning for virtual tokens, or lora"
        )
    return PrefixTuningConfig(**_virtual_tokens(network, config), token_dim=network.config.hidden_size)


def _p_tuning(network: PreTrainedModel, config: MethodConfig) -> PeftConfig:
    """Embeddings of virtual tokens before the text, made by a small network (Liu et al. 2021, "GPT Understands, Too").
    The network is as wide as the embeddings."""
    width = _embedding_width(network)
    return PromptEncoderConfig(**_virtual_tokens(network, config), token_dim=width, encoder_hidden_size=width)


def _prompt(network: PreTrainedModel, config: MethodConfig) -> PeftConfig:
    """Embeddings of virtual tokens before the text, at first those of random words (Lester et al. 2021, §3.2)."""
    return PromptTuningConfig(
        **_virtual_tokens(network, config),
        token_dim=_embedding_width(network),
        prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
    )


def _virtual_tokens(network: PreTrainedModel, config: MethodConfig) -> dict[str, Any]:
    # peft looks for the sizes under the names of BERT's config and does not find DistilBERT's.
    return {
        "task_type": TaskType.SEQ_CLS,
        "num_virtual_tokens": config.n_virtual_tokens,
        "num_layers": network.config.num_hidden_layers,
        "num_attention_heads": network.config.num_attention_heads,
        "modules_to_save": head_names(network),
    }


def _embedding_width(network: PreTrainedModel) -> int:
    """Width of the word embeddings, which for ALBERT is less than that of the encoder: peft takes the latter."""
    embeddings = network.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    return embeddings.embedding_dim


def _check_positions(network: PreTrainedModel, config: MethodConfig, text_length: int) -> None:
    """Virtual tokens and text share the position table.

    Raises:
        UserError: it is too short for both.
    """
    n_positions = network.config.max_position_embeddings
    for name, module in network.named_modules():
        # RoBERTa counts from behind the padding token's id.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            n_positions -= module.padding_idx + 1
    if config.n_virtual_tokens + text_length > n_positions:
        room = n_positions - config.n_virtual_tokens
        remedy = f"--preprocessing.max_length {room}" if room >= 8 else "fewer virtual tokens"
        raise UserError(
            f"--method.n_virtual_tokens {config.n_virtual_tokens} and texts of {text_length} tokens need more than the "
            f"{n_positions} positions of this encoder: use {remedy}"
        )
