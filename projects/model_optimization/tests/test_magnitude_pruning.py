"""Masks equal torch's own, the schedule is the paper's, and zeros are worth what the formats say."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from model_optimization.config.pruning import MagnitudeConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.pruning.magnitude_pruning import (
    MagnitudePruner,
    cubic_sparsity,
    global_masks,
    per_layer_masks,
    prunable_weights,
    prune_magnitude,
    sparsity,
    two_of_four_mask,
)
from model_optimization.pruning.sparse_storage import csr_bytes, storage
from model_optimization.variants import VariantInfo, load_variant, size_bytes, write_variant
from roadmap_shared.errors import UserError

from .pruning_models import LABELLED
from .tiny_models import TEXTS, tiny_classifier

SHARES = (0.0, 0.1, 0.5, 0.93)
TRAINER = TrainerConfig(epochs=10, batch_size=4, learning_rate=1e-3)  # 20 steps


def linears() -> dict[str, nn.Linear]:
    torch.manual_seed(0)
    return {"a": nn.Linear(12, 8), "b": nn.Linear(20, 4), "c": nn.Linear(7, 7)}


def weights_of(layers: dict[str, nn.Linear]) -> dict[str, torch.Tensor]:
    return {name: layer.weight.detach().clone() for name, layer in layers.items()}


@pytest.mark.parametrize("share", SHARES)
def test_per_layer_masks_equal_torchs(share: float) -> None:
    layers = linears()
    masks = per_layer_masks(weights_of(layers), share)
    for name, layer in layers.items():
        prune.l1_unstructured(layer, "weight", share)
        assert torch.equal(masks[name], layer.weight_mask.bool())


@pytest.mark.parametrize("share", SHARES)
def test_global_masks_equal_torchs(share: float) -> None:
    layers = linears()
    with torch.no_grad():
        layers["b"].weight *= 0.2  # loses more than its share
    masks = global_masks(weights_of(layers), share)
    prune.global_unstructured([(layer, "weight") for layer in layers.values()], prune.L1Unstructured, amount=share)
    for name, layer in layers.items():
        assert torch.equal(masks[name], layer.weight_mask.bool())


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_two_of_four_keeps_the_best_pair_of_each_group(rows: int, groups: int, seed: int) -> None:
    weight = torch.randn(rows, 4 * groups, generator=torch.Generator().manual_seed(seed))
    mask = two_of_four_mask(weight)
    for row in range(rows):
        for start in range(0, 4 * groups, 4):
            group = weight[row, start : start + 4].abs()
            best = max(combinations(range(4), 2), key=lambda pair: float(group[list(pair)].sum()))
            assert mask[row, start : start + 4].nonzero().flatten().tolist() == list(best)


def test_two_of_four_needs_groups_of_four() -> None:
    with pytest.raises(UserError) as refusal:
        two_of_four_mask(torch.zeros(3, 6))
    assert str(refusal.value) == "a matrix with 6 inputs has no 2:4 pattern, which needs a multiple of 4"


def test_the_schedule_is_zhu_and_guptas() -> None:
    """s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n Δt))³ with s_i = 0, t_0 = 10, n Δt = 80, s_f = 0.8."""
    by_hand = {0: 0.0, 10: 0.0, 30: 0.8 - 0.8 * 0.421875, 50: 0.7, 90: 0.8, 200: 0.8}
    for step, expected in by_hand.items():
        assert cubic_sparsity(step, start=10, end=90, final=0.8) == pytest.approx(expected)
    assert cubic_sparsity(5, start=5, end=5, final=0.8) == 0.8  # at once


def test_what_is_pruned_is_the_encoders_matrices() -> None:
    names = list(prunable_weights(tiny_classifier(layers=1).network))
    assert [name.removeprefix("encoder.layer.0.") for name in names] == [
        "attention.self.query.weight",
        "attention.self.key.weight",
        "attention.self.value.weight",
        "attention.output.dense.weight",
        "intermediate.dense.weight",
        "output.dense.weight",
    ]


@pytest.mark.parametrize("pattern", ["global", "per_layer", "2:4"])
def test_zeros_are_kept_while_training(pattern: str) -> None:
    classifier = tiny_classifier()
    before = classifier.logits(TEXTS)
    config = MagnitudeConfig(sparsity=0.5, pattern=pattern, end_share=0.8, every=3)  # type: ignore[arg-type]
    pruned, result = prune_magnitude(classifier, LABELLED, config, TRAINER, seed=0)
    weights = prunable_weights(pruned.network)
    assert result.steps == 20
    assert sparsity(weights) == 0.5
    whole = prunable_weights(classifier.network)
    assert all(not torch.equal(weights[name][weights[name] != 0], whole[name][weights[name] != 0]) for name in weights)
    if pattern == "per_layer":
        assert {sparsity({name: weight}) for name, weight in weights.items()} == {0.5}
    if pattern == "2:4":
        assert all(bool((weight.view(-1, 4) != 0).sum(1).eq(2).all()) for weight in weights.values())
    np.testing.assert_array_equal(classifier.logits(TEXTS), before)


def test_sparsity_follows_the_schedule_and_no_weight_comes_back() -> None:
    network = tiny_classifier().network
    config = MagnitudeConfig(sparsity=0.8, start_share=0.1, end_share=0.6, every=2)
    pruner, seen = MagnitudePruner(network, config), []
    gone = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in pruner.weights.items()}
    for step in range(1, 21):
        with torch.no_grad():
            for weight in pruner.weights.values():
                weight.add_(torch.randn_like(weight), alpha=0.3)  # as an optimiser would, masked weights too
        pruner.after_step(step, 20)
        for name, weight in pruner.weights.items():
            assert (weight[gone[name]] == 0).all()
            gone[name] = weight == 0
        seen.append(sparsity(pruner.weights))
    expected = [cubic_sparsity(step - step % 2, start=2, end=12, final=0.8) for step in range(1, 21)]
    np.testing.assert_allclose(seen, expected, atol=1e-4)


def test_zeros_alone_make_no_file_smaller(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    pruned, _ = prune_magnitude(classifier, LABELLED, MagnitudeConfig(sparsity=0.9), TRAINER, seed=0)
    folders = []
    for name, one in (("whole", classifier), ("pruned", pruned)):
        info = VariantInfo(name=name, kind="torch", labels=one.labels, max_length=64)
        folders.append(write_variant(tmp_path / name, info, one.save))
    assert size_bytes(folders[0]) == size_bytes(folders[1])
    np.testing.assert_array_equal(load_variant(folders[1]).logits(TEXTS), pruned.logits(TEXTS))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
def test_csr_bytes_are_those_of_a_real_csr_matrix() -> None:
    matrix = per_layer_masks({"a": torch.ones(40, 30)}, 0.7)["a"] * torch.randn(40, 30)
    csr = matrix.to_sparse_csr()
    parts = csr.values(), csr.col_indices().int(), csr.crow_indices().int()
    assert csr_bytes(matrix) == sum(part.numel() * part.element_size() for part in parts)


def test_what_formats_for_zeros_would_save() -> None:
    torch.manual_seed(0)
    dense = torch.randn(64, 128)
    half, most = dense * two_of_four_mask(dense), dense * per_layer_masks({"a": dense}, 0.9)["a"]
    whole, halved, thin = storage([dense]), storage([half]), storage([most])
    assert whole.dense == halved.dense == thin.dense == 4 * 64 * 128
    assert whole.compressed > 0.9 * whole.dense  # random bits do not shrink
    assert thin.compressed < 0.25 * thin.dense
    assert halved.csr > halved.dense > halved.bitmap == 2 * 64 * 128 + 64 * 128 // 8
    assert thin.csr == 8 * (64 * 128 - round(0.9 * 64 * 128)) + 4 * 65
    assert (whole.two_of_four, thin.two_of_four) == (None, None)
    assert halved.two_of_four == 64 * 128 * 2 + 64 * 128 // 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.0}, "--magnitude.sparsity 1.0 must be at least 0 and below 1"),
        ({"sparsity": 0.7, "pattern": "2:4"}, "--magnitude.sparsity 0.7 must be 0.5 with --magnitude.pattern 2:4"),
        (
            {"start_share": 0.8, "end_share": 0.7},
            "--magnitude.start_share 0.8 and --magnitude.end_share 0.7 must lie in this order between 0 and 1",
        ),
        ({"every": 0}, "--magnitude.every 0 must be at least 1"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        MagnitudeConfig(**settings)  # type: ignore[arg-type]
    assert str(refusal.value) == message
