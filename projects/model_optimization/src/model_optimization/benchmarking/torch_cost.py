"""What a network of transformers computes for a batch, counted by its modules. Shapes: B texts, T tokens."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from model_optimization.benchmarking.graph_cost import OperatorCost
from model_optimization.torch_classifier import TorchClassifier


def torch_cost(folder: Path, batch: int, tokens: int) -> list[OperatorCost]:
    """Costs of the modules in one forward pass of B unpadded texts of T tokens.

    Attention is counted where the module is called `…SelfAttention`, as in BERT, RoBERTa, DistilBERT and their like.
    Additions of residuals are no modules, and are left out.

    Raises:
        UserError: the folder holds no sequence classifier.
    """
    classifier = TorchClassifier.load(folder, tokens)
    costs: list[OperatorCost] = []

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        result = output[0] if isinstance(output, tuple) else output
        if isinstance(result, Tensor):
            costs.extend(module_cost(module, inputs, result))

    hooks = [module.register_forward_hook(count) for module in classifier.network.modules()]
    word = classifier.token_ids(["a"])[0][0]
    ids = np.full((batch, classifier.max_length), word, dtype=np.int64)
    classifier.padded_logits(ids, np.ones_like(ids))
    for hook in hooks:
        hook.remove()
    return costs


def module_cost(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> list[OperatorCost]:
    """Costs of one call of a module; none of one that is made of others, which are counted themselves."""
    name = type(module).__name__
    if name.endswith("SelfAttention"):  # its linear layers are counted by themselves
        products = 2 * 2 * output.numel() * output.shape[1]  # scores and weighted values: T products for each number
        moved = 4 * output.nbytes  # query, key, value, result: the scores stay in the cache of a fused kernel
        return [OperatorCost(operator=name, part="attention", precision="fp32", flops=products, bytes=moved)]
    first = next((one for one in inputs if isinstance(one, Tensor)), None)
    if first is None or list(module.children()) or isinstance(module, nn.Dropout | nn.Identity):
        return []
    if isinstance(module, nn.Embedding):
        return [OperatorCost(operator=name, part="embeddings", precision="fp32", flops=0, bytes=2 * output.nbytes)]
    moved = first.nbytes + output.nbytes
    if isinstance(module, nn.Linear):
        flops = 2 * output.numel() * module.in_features
        moved += module.weight.nbytes
        return [OperatorCost(operator=name, part="layers", precision="fp32", flops=flops, bytes=moved)]
    return [OperatorCost(operator=name, part="rest", precision="fp32", flops=0, bytes=moved)]
