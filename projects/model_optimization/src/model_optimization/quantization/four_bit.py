"""Weights in 4 bits by bitsandbytes: NormalFloat, whose 16 values are quantiles of a normal distribution.

Trained weights are about normally distributed, so each of the 16 values stands for about as many of them; the largest
weight of each block of 64 is kept as the block's scale (Dettmers et al. 2023, "QLoRA", §3).
"""

from typing import Any

import torch
from torch import nn

from model_optimization.quantization.extras import imported
from model_optimization.quantization.modules import replace_modules
from roadmap_shared.errors import UserError

BLOCK = 64
"""Weights that share a scale."""


def to_four_bit(network: nn.Module) -> None:
    """Put the weights of all linear layers, but for those that give the logits, into 4 bits, in place.

    Raises:
        UserError: bitsandbytes is missing, or a layer's inputs are no multiple of 64.
    """
    bnb = imported("bitsandbytes", "four-bit")

    def replaced(name: str, linear: nn.Linear) -> nn.Module:
        if name.rpartition(".")[2] in ("classifier", "out_proj"):
            return linear  # a few hundred weights, and every one of them shows in the logits
        if linear.in_features % BLOCK:
            raise UserError(
                f"bitsandbytes_nf4: {name} has {linear.in_features} inputs, which its kernel needs in blocks of {BLOCK}"
            )
        layer = bnb.nn.Linear4bit(
            linear.in_features, linear.out_features, linear.bias is not None, torch.float32, quant_type="nf4"
        )
        layer.weight = bnb.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4", module=layer)
        if linear.bias is not None:
            layer.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
        return layer.to("cpu").train(linear.training)  # moving it is what quantises it

    replace_modules(network, nn.Linear, replaced)


def from_four_bit(network: nn.Module) -> None:
    """Put plain layers back, in place, with the fp32 values that the 4 bits stand for.

    Args:
        network: that has not been computed in evaluation mode since: bitsandbytes then packs the weights anew.
    """
    bnb = imported("bitsandbytes", "four-bit")

    def replaced(_: str, layer: Any) -> nn.Module:
        linear = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        linear.weight = nn.Parameter(weight.float().reshape(layer.out_features, layer.in_features))
        linear.bias = layer.bias
        return linear.train(layer.training)

    replace_modules(network, bnb.nn.Linear4bit, replaced)
