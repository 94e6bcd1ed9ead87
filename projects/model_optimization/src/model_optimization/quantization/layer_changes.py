"""Changes of one linear layer of a torch network at a time, for the sensitivity map: pruned, or whatever is handed in.

Shapes: O outputs and I inputs of a layer, N texts, K labels.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import nn

from model_optimization.config.sensitivity import By
from model_optimization.quantization.onnx_nodes import MatMulNode, place_of
from model_optimization.quantization.sensitivity import Trial, matrix_groups
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import FloatArray

Changed = Callable[[nn.Linear], nn.Module]
"""Takes a copy of a layer, and returns what stands in its place."""


def layer_trials(
    classifier: TorchClassifier, change: Changed, texts: Sequence[str], *, by: By, batch_size: int
) -> list[Trial]:
    """One group of linear layers changed at a time; the network is as before after each.

    Args:
        classifier: whose layers are changed.
        change: of one layer.
        texts: N.
        by: what is changed at a time.
        batch_size: texts a batch.
    """
    nodes = [
        MatMulNode(name=name, layer=place_of(name)[0], part=place_of(name)[1])
        for name, module in classifier.network.named_modules()
        if isinstance(module, nn.Linear)
    ]

    def logits(names: Sequence[str]) -> FloatArray:
        originals = {name: classifier.network.get_submodule(name) for name in names}
        try:
            for name, linear in originals.items():
                classifier.network.set_submodule(name, change(copy.deepcopy(linear)))  # type: ignore[arg-type]
            return classifier.logits(texts, batch_size)
        finally:
            for name, linear in originals.items():
                classifier.network.set_submodule(name, linear)

    return [
        Trial(layer=group.layer, part=group.part, logits=lambda group=group: logits(group.nodes))
        for group in matrix_groups(nodes, by)
    ]


def smallest_weights_zero(sparsity: float) -> Changed:
    """Magnitude pruning of one layer: this share of its (O, I) weights, those nearest to 0, becomes 0."""

    @torch.no_grad()
    def change(linear: nn.Linear) -> nn.Module:
        n_zero = round(sparsity * linear.weight.numel())
        nearest = linear.weight.abs().flatten().topk(n_zero, largest=False).indices
        linear.weight.view(-1)[nearest] = 0
        return linear

    return change
