"""A GPT-2 with random weights, of the size that the config asks for."""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention

from text_generation.config.training import ModelConfig

LONGEST_WAVE = 1000.0
"""Tokens over which the slowest of the position waves turns by one radian."""

COPYING = 8.0
"""How much of what it attends to a head writes at first, before the division by sqrt(2 x layers) that GPT-2 gives each
branch of its residual stream. With 2.8, a model of four layers had not begun to copy heroes' names after 1,500 steps
of stories and functions; with 5.7 to 11.3 it had within 300."""


def build_model(shape: ModelConfig, tokenizer: PreTrainedTokenizerBase, seed: int) -> GPT2LMHeadModel:
    """A GPT-2 (Radford et al. 2019) whose weights depend on `seed` alone; input and output embeddings are one.

    Three things make a small one learn to attend sooner than GPT-2's own start does. Its weights begin at a standard
    deviation of 1/sqrt(width), where 0.02 leaves the attention of a narrow model next to uniform. Its position
    embeddings begin as sine waves (Vaswani et al. 2017, section 3.5), of which "some tokens ago" is a linear function:
    from random ones it would have to be learned for each place anew. And its attention begins as copying, see
    `copy_what_is_attended`.
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
        for attention in (module for module in model.modules() if isinstance(module, GPT2Attention)):
            copy_what_is_attended(attention, COPYING / math.sqrt(2 * shape.n_layers))
    return model


def copy_what_is_attended(attention: GPT2Attention, strength: float) -> None:
    """Let each head write what it reads: values by an orthogonal matrix, the output by its transpose times `strength`.

    A head's path from value to output then has no negative eigenvalue: it raises the logits of the tokens that it
    attends to, which is copying (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"). From random
    matrices this has to be learned together with where to look, and neither is of use before the other: small models
    stay on that plateau for most of a short training.
    """
    width = attention.embed_dim
    orthogonal = torch.linalg.qr(torch.randn(width, width))[0]
    attention.c_attn.weight[:, 2 * width :] = orthogonal
    attention.c_proj.weight.copy_(strength * orthogonal.T)


def sine_waves(n_positions: int, width: int) -> Tensor:
    """Position encodings (Vaswani et al. 2017, section 3.5), (n_positions, width), sines before cosines.

    The mean square of a row is one half.
    """
    places = torch.arange(n_positions)[:, None]
    rates = LONGEST_WAVE ** -(torch.arange((width + 1) // 2) / ((width + 1) // 2))
    return torch.cat([torch.sin(places * rates), torch.cos(places * rates)], dim=1)[:, :width]
