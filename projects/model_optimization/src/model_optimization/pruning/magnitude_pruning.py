"""Magnitude pruning: the weights nearest to 0 become 0 (Han et al. 2015, "Learning both Weights and Connections").

Zeros alone make nothing faster or smaller: a matrix product multiplies them like other numbers, and a file holds four
bytes for each. `sparse_storage` says what formats for sparse matrices would save. What the zeros show is how little of
the network is needed; they pay where kernels for them exist, as sparse tensor cores of GPUs do for 2:4.

Shapes: a weight is (out, in); n weights in all.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from model_optimization.config.pruning import MagnitudeConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.training import TrainingResult, fine_tune, tokenised
from model_optimization.types import Texts
from roadmap_shared.errors import UserError

Masks = Mapping[str, Tensor]
"""Of each weight by name, in its shape: False where it is 0 for good."""


def prunable_weights(network: PreTrainedModel) -> dict[str, Tensor]:
    """Weights of the linear layers within the encoder; embeddings, norms, pooler and classification layer stay whole.

    Raises:
        UserError: there are none.
    """
    found = {
        f"{name}.weight": module.weight
        for name, module in network.base_model.named_modules()
        if isinstance(module, nn.Linear) and "pooler" not in name
    }
    if not found:
        raise UserError(f"a model of type {network.config.model_type} has no linear layers in its encoder to prune")
    return found


def per_layer_masks(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Of each matrix, drop the share `sparsity` that is smallest."""
    return {
        name: _largest(weight.detach().abs().flatten(), sparsity).view_as(weight) for name, weight in weights.items()
    }


def global_masks(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Of all matrices together, drop the share `sparsity` that is smallest: some matrices lose more than others."""
    together = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])  # (n,)
    kept = _largest(together, sparsity).split([weight.numel() for weight in weights.values()])
    return {name: mask.view_as(weight) for (name, weight), mask in zip(weights.items(), kept, strict=True)}


def two_of_four_mask(weight: Tensor) -> Tensor:
    """Keep the two largest of every four neighbours in a row: the 2:4 pattern of sparse tensor cores (Mishra et al.
    2021, "Accelerating Sparse Deep Neural Networks").

    Args:
        weight: (out, in), `in` a multiple of 4.

    Raises:
        UserError: it is no multiple of 4.
    """
    out, inputs = weight.shape
    if inputs % 4:
        raise UserError(f"a matrix with {inputs} inputs has no 2:4 pattern, which needs a multiple of 4")
    groups = weight.detach().abs().view(out, inputs // 4, 4)
    mask = torch.zeros_like(groups, dtype=torch.bool)
    mask.scatter_(-1, groups.topk(2, dim=-1).indices, torch.ones_like(mask))
    return mask.view_as(weight)


def cubic_sparsity(step: int, *, start: int, end: int, final: float) -> float:
    """Sparsity at a training step: 0 up to `start`, `final` from `end` on, rising fast at first, while there is much to
    spare, and slowly in the end: final · (1 - (1 - (step - start) / (end - start))³) (Zhu & Gupta 2017, "To Prune, or
    Not to Prune", eq. 1, with no sparsity at first).
    """
    if step >= end:
        return final
    done = max(0, step - start) / (end - start)
    return final * (1 - (1 - done) ** 3)


class MagnitudePruner:
    """Makes ever more weights 0 while a network is trained: its `after_step` is what `fine_tune` calls.

    The optimiser moves all weights, so that the masks are laid on again after each step. A weight that is 0 is among
    the smallest whenever masks are chosen anew: none comes back.
    """

    def __init__(self, network: PreTrainedModel, config: MagnitudeConfig) -> None:
        self.config = config
        self.weights = prunable_weights(network)
        self.masks: Masks = {}

    def after_step(self, done: int, steps: int) -> None:
        """Lay the masks on, and choose them anew every `every` steps until the full sparsity is reached."""
        self.apply()
        start, end = round(self.config.start_share * steps), max(1, round(self.config.end_share * steps))
        if done == end or (start <= done < end and (done - start) % self.config.every == 0):
            self.choose(cubic_sparsity(done, start=start, end=end, final=self.config.sparsity))
            self.apply()

    def choose(self, sparsity: float) -> None:
        """Choose the masks by the weights as they are."""
        if self.config.pattern == "2:4":
            # The pattern has one sparsity: it is laid on matrix by matrix instead, as the schedule goes on.
            done = round(sparsity / self.config.sparsity * len(self.weights))
            self.masks = {name: two_of_four_mask(self.weights[name]) for name in list(self.weights)[:done]}
        elif self.config.pattern == "global":
            self.masks = global_masks(self.weights, sparsity)
        else:
            self.masks = per_layer_masks(self.weights, sparsity)

    @torch.no_grad()
    def apply(self) -> None:
        """Set to 0 what the masks leave out."""
        for name, mask in self.masks.items():
            self.weights[name].mul_(mask)


def prune_magnitude(
    classifier: TorchClassifier, train: Texts, config: MagnitudeConfig, trainer: TrainerConfig, *, seed: int
) -> tuple[TorchClassifier, TrainingResult]:
    """A new classifier, trained while its weights become 0; the given one stays as it is.

    Raises:
        UserError: the network has nothing to prune, or no 2:4 pattern.
    """
    pruned = TorchClassifier(copy.deepcopy(classifier.network), classifier.tokenizer, classifier.max_length)
    pruner = MagnitudePruner(pruned.network, config)
    if config.pattern == "2:4":
        for weight in pruner.weights.values():
            two_of_four_mask(weight)  # refuses before the training what it would refuse after it
    result = fine_tune(
        pruned.network,
        tokenised(pruned, train),
        trainer,
        seed=seed,
        after_step=pruner.after_step,
        description=f"pruning to {config.sparsity:.0%} zeros",
    )
    return pruned, result


def sparsity(weights: Mapping[str, Tensor]) -> float:
    """Share of the weights that are 0."""
    return sum(int((weight == 0).sum()) for weight in weights.values()) / sum(map(Tensor.numel, weights.values()))


def _largest(magnitudes: Tensor, sparsity: float) -> Tensor:
    """(n,) True but for the round(sparsity · n) smallest."""
    mask = torch.ones_like(magnitudes, dtype=torch.bool)
    mask[magnitudes.topk(round(sparsity * len(magnitudes)), largest=False).indices] = False
    return mask
