"""A GPT-2 with random weights, of the size that the config asks for."""

from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase

from text_generation.config.training import ModelConfig


def build_model(shape: ModelConfig, tokenizer: PreTrainedTokenizerBase, seed: int) -> GPT2LMHeadModel:
    """A GPT-2 (Radford et al. 2019) whose weights depend on `seed` alone; input and output embeddings are one."""
    end: Any = tokenizer.eos_token_id
    pad: Any = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=shape.context,
        n_embd=shape.width,
        n_layer=shape.n_layers,
        n_head=shape.n_heads,
        # The same function as GPT-2's gelu_new, in one kernel instead of eight.
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=shape.dropout,
        embd_pdrop=shape.dropout,
        attn_pdrop=shape.dropout,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=pad,
    )
    torch.manual_seed(seed)
    return GPT2LMHeadModel(config)
