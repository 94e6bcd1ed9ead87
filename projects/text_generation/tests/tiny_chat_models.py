"""Tiny chat models for the tests of fine-tuning, with texts to train on."""

from typing import Any

import torch

from text_generation.config.data import TokenizerConfig
from text_generation.config.finetuning import AdapterConfig, TuningConfig
from text_generation.config.training import ModelConfig
from text_generation.tokenizer import train_tokenizer
from text_generation.training.model import build_model
from text_generation.training.sft_model import ChatModel, chat_model

TEXTS = [f"{hero} went to the {place} and found a {thing}." for hero in ("Mira", "Otto", "Ines", "Tom")
         for place in ("sea", "wood", "hill") for thing in ("shell", "key", "song")]  # fmt: skip
CONFIG = TuningConfig(
    steps=2, batch_size=4, learning_rate=1e-2, warmup_share=0.0, checkpoint_every=2, device="cpu", threads=1
)
LORA = AdapterConfig(method="lora", rank=2, alpha=8.0)


def tiny(seed: int = 3, context: int = 48) -> ChatModel:
    tokenizer = train_tokenizer(TEXTS, TokenizerConfig(vocabulary=320), context=context)
    shape = ModelConfig(n_layers=2, width=32, n_heads=2, context=context)
    return chat_model(build_model(shape, tokenizer, seed), tokenizer, "tiny")


def weights(model: ChatModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def logits(network: Any, ids: list[int], **more: Any) -> torch.Tensor:
    with torch.inference_mode():
        return network.eval()(input_ids=torch.tensor([ids]), **more).logits[0]
