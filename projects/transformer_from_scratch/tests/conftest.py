"""Fixtures that several test files of this project share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

WriteGPT2 = Callable[..., GPT2LMHeadModel]


@pytest.fixture
def write_gpt2() -> WriteGPT2:
    """Writes a tiny random GPT-2 into a folder, as Hugging Face does, and returns it."""

    def write(folder: Path, *, max_shard_size: str = "1GB", **settings: Any) -> GPT2LMHeadModel:
        tiny: dict[str, Any] = {"vocab_size": 29, "n_positions": 24, "n_embd": 24, "n_layer": 2, "n_head": 3}
        tiny |= {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = GPT2LMHeadModel(GPT2Config(**(tiny | settings))).eval()
            # Fresh biases are 0 and fresh norms 1: a swapped or forgotten one would not show. And fresh weights are so
            # small that every prompt is continued alike.
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else 0.15)
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        return model

    return write
