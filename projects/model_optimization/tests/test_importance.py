"""The derivative of a gate is what the papers' formulas say, and foretells what removing the unit does."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from model_optimization.batching import padded
from model_optimization.pruning.encoder_layers import encoder_layers
from model_optimization.pruning.importance import (
    Gate,
    calibration_texts,
    gate_slopes,
    gated,
    importance,
    masked,
    normalised,
)
from model_optimization.pruning.structured_pruning import cut_heads, cut_neurons
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Texts
from roadmap_shared.errors import UserError

from .pruning_models import LABELLED, other_classifier
from .tiny_models import TEXTS, tiny_classifier


def losses(classifier: TorchClassifier) -> torch.Tensor:
    """(N,) -log p(target) of the labelled texts."""
    logits = torch.from_numpy(classifier.logits(LABELLED.texts))
    return F.cross_entropy(logits, torch.from_numpy(LABELLED.targets), reduction="none")


def test_a_neurons_importance_is_activation_times_gradient() -> None:
    """Molchanov et al. 2017: |sum over the tokens of a · dL/da|, one text at a time, without any gate or padding."""
    classifier = tiny_classifier()
    expected = [torch.zeros(64), torch.zeros(64)]
    for text, target in zip(LABELLED.texts, LABELLED.targets, strict=True):
        activations: list[torch.Tensor] = []

        def remember(
            module: torch.nn.Module, inputs: tuple[torch.Tensor], into: list[torch.Tensor] = activations
        ) -> None:
            into.append(inputs[0])

        hooks = [layer.ffn_out.register_forward_pre_hook(remember) for layer in encoder_layers(classifier.network)]
        ids = torch.tensor(classifier.token_ids([text]))
        loss = F.cross_entropy(classifier.network(ids).logits, torch.tensor([target]))
        for total, a, slope in zip(expected, activations, torch.autograd.grad(loss, activations), strict=True):
            total += (a * slope).sum((0, 1)).abs().detach() / len(LABELLED)
        for hook in hooks:
            hook.remove()
    for found, wanted in zip(importance(classifier, LABELLED).neurons, expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-7)


def test_gate_slopes_are_the_losses_finite_differences() -> None:
    classifier = tiny_classifier()
    network = copy.deepcopy(classifier.network).double().eval()
    ids, mask = map(torch.from_numpy, padded(classifier.token_ids(TEXTS), 0))
    targets = torch.from_numpy(LABELLED.targets)

    def summed(heads: list[Gate], neurons: list[Gate], reduction: str) -> torch.Tensor:
        with gated(heads, neurons, network):
            return F.cross_entropy(network(ids, attention_mask=mask).logits, targets, reduction=reduction)

    heads, neurons = [Gate(4) for _ in range(2)], [Gate(64) for _ in range(2)]
    slopes = gate_slopes(summed(heads, neurons, "sum"), [*heads, *neurons])
    for layer, head in ((0, 2), (1, 0)):
        step, ends = 1e-4, []
        for sign in (1, -1):
            fixed = [torch.ones(4, dtype=torch.float64) for _ in range(2)]
            fixed[layer][head] += sign * step
            ends.append(summed([Gate(4, values) for values in fixed], neurons, "none").detach())
        difference = (ends[0] - ends[1]) / (2 * step)  # (N,), of each text by itself
        torch.testing.assert_close(slopes[layer][:, head].double(), difference, rtol=1e-5, atol=1e-7)


def removed_one_by_one(classifier: TorchClassifier, unit: str, layer: int) -> list[float]:
    """Mean over the texts of how far the loss moves when each unit of a layer is really cut out by itself."""
    cut, count = (cut_heads, 4) if unit == "heads" else (cut_neurons, 16)
    before, everything = losses(classifier), [np.arange(count), np.arange(count)]
    changes = []
    for number in range(count):
        kept = [np.delete(units, number) if place == layer else units for place, units in enumerate(everything)]
        changes.append((losses(cut(classifier, kept)) - before).abs().mean().item())
    return changes


@pytest.mark.parametrize("layer", [0, 1])
def test_importance_is_the_effect_of_removal_where_units_say_little(layer: int) -> None:
    """The estimate is of first order: it becomes exact as the units' outputs become small."""
    classifier = tiny_classifier(ffn=16)
    with torch.no_grad():
        for parts in encoder_layers(classifier.network):
            parts.attention_out.weight *= 0.01
            parts.ffn_out.weight *= 0.01
    rated = importance(classifier, LABELLED)
    np.testing.assert_allclose(rated.heads[layer], removed_one_by_one(classifier, "heads", layer), rtol=0.05)
    neurons = removed_one_by_one(classifier, "neurons", layer)
    np.testing.assert_allclose(rated.neurons[layer], neurons, rtol=0.05, atol=1e-6)


def test_importance_ranks_neurons_as_removal_does() -> None:
    classifier = tiny_classifier(ffn=16)
    rated = importance(classifier, LABELLED)
    assert spearmanr(removed_one_by_one(classifier, "neurons", 1), rated.neurons[1]).statistic > 0.95


def test_padding_and_batches_change_nothing() -> None:
    classifier = tiny_classifier()
    together, alone = importance(classifier, LABELLED, batch_size=8), importance(classifier, LABELLED, batch_size=1)
    for one, other in zip((*together.heads, *together.neurons), (*alone.heads, *alone.neurons), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)
    assert together.texts == 8


@pytest.mark.parametrize("kind", ["roberta", "distilbert"])
def test_other_architectures_are_rated_and_masked(kind: str) -> None:
    classifier = other_classifier(kind)
    rated = importance(classifier, LABELLED)
    assert [len(scores) for scores in (*rated.heads, *rated.neurons)] == [4, 4, 64, 64]
    before = classifier.logits(TEXTS)
    with masked(classifier.network, heads=[[1, 1, 0, 1], [1, 1, 1, 1]]):
        assert np.abs(classifier.logits(TEXTS) - before).max() > 1e-4
    np.testing.assert_array_equal(classifier.logits(TEXTS), before)


def test_a_layer_that_is_worth_nothing_is_no_division_by_nought() -> None:
    zero, other = normalised([np.zeros(3, dtype=np.float32), np.array([3, 4], dtype=np.float32)])
    assert zero.tolist() == [0, 0, 0]
    np.testing.assert_allclose(other, [0.6, 0.8])


def test_calibration_texts_are_drawn_from_all() -> None:
    part = Texts(texts=tuple(map(str, range(100))), targets=np.arange(100))
    drawn = calibration_texts(part, 10, seed=1)
    assert len(drawn) == 10
    assert drawn.targets.max() > 50
    assert [str(target) for target in drawn.targets] == list(drawn.texts)
    assert calibration_texts(part, 100, seed=1) is part


def test_no_texts_no_importance() -> None:
    with pytest.raises(UserError) as refusal:
        importance(tiny_classifier(), Texts(texts=(), targets=np.array([], dtype=np.int64)))
    assert str(refusal.value) == ("importance needs at least one calibration text: raise --pruning.calibration_texts")
