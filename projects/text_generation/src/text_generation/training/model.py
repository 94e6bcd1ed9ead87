"""A GPT-2 with random weights, of the size that the config asks for."""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase

from text_generation.config.training import ModelConfig

LONGEST_WAVE = 1000.0
"""Tokens over which the slowest of the position waves turns by one radian."""


def build_model(shape: ModelConfig, tokenizer: PreTrainedTokenizerBase, seed: int) -> GPT2LMHeadModel:
    """A GPT-2 (Radford et al. 2019) whose weights depend on `seed` alone; input and output embeddings are one.

    Two things make a small one learn to attend sooner than GPT-2's own start does. Its weights begin at a standard
    deviation of 1/sqrt(width), where 0.02 leaves the attention of a narrow model next to uniform. And its position
    embeddings begin as sine waves (Vaswani et al. 2017, section 3.5), of which "some tokens ago" is a linear function:
    from random ones it would have to be learned for each place anew.
    """
    end: Any = tokenizer.eos_token_id
    pad: Any = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    deviation = shape.width**-0.5
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=shape.context,
        n_embd=shape.width,
        n_layer=shape.n_layers,
        n_head=shape.n_heads,
        # The same function as GPT-2's gelu_new, in one kernel instead of eight.
        activation_function="gelu_pytorch_tanh",
        initializer_range=deviation,
        resid_pdrop=shape.dropout,
        embd_pdrop=shape.dropout,
        attn_pdrop=shape.dropout,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=pad,
    )
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        model.transformer.wpe.weight.copy_(deviation * math.sqrt(2) * sine_waves(shape.context, shape.width))
    return model


def sine_waves(n_positions: int, width: int) -> Tensor:
    """Position encodings (Vaswani et al. 2017, section 3.5), (n_positions, width), sines before cosines.

    The mean square of a row is one half.
    """
    places = torch.arange(n_positions)[:, None]
    rates = LONGEST_WAVE ** -(torch.arange((width + 1) // 2) / ((width + 1) // 2))
    return torch.cat([torch.sin(places * rates), torch.cos(places * rates)], dim=1)[:, :width]
