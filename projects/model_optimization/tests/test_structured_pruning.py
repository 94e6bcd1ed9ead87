"""A network whose heads and neurons were cut answers as the whole one whose heads and neurons are masked."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_optimization.config.pruning import PruningConfig
from model_optimization.pruning.encoder_layers import encoder_layers
from model_optimization.pruning.importance import Importance, importance, masked
from model_optimization.pruning.recipes import prune_structured
from model_optimization.pruning.structured_pruning import (
    Choice,
    choose_units,
    cut_heads,
    cut_neurons,
    cut_units,
    per_layer_choice,
    uniform_choice,
)
from model_optimization.torch_classifier import TorchClassifier
from roadmap_shared.errors import UserError

from .pruning_models import LABELLED, other_classifier
from .tiny_models import TEXTS, tiny_classifier


def kept(*layers: list[int]) -> list[np.ndarray]:
    return [np.array(layer, dtype=np.int64) for layer in layers]


def mask(units: np.ndarray, count: int) -> np.ndarray:
    return np.isin(np.arange(count), units).astype(np.float32)


def saved_and_read(classifier: TorchClassifier, folder: Path) -> TorchClassifier:
    folder.mkdir()
    classifier.save(folder)
    return TorchClassifier.load(folder, classifier.max_length)


@pytest.mark.parametrize("budget", ["uniform", "per_layer"])
def test_the_cut_network_equals_the_masked_one(tmp_path: Path, budget: str) -> None:
    whole = tiny_classifier(layers=3)
    before = whole.logits(TEXTS)
    config = PruningConfig(heads_keep=0.5, ffn_keep=0.4, budget=budget, ffn_multiple=4)  # type: ignore[arg-type]
    choice = choose_units(importance(whole, LABELLED), config)
    cut = cut_units(whole, choice)
    heads, neurons = [mask(units, 4) for units in choice.heads], [mask(units, 64) for units in choice.neurons]
    with masked(whole.network, heads=heads, neurons=neurons):
        expected = whole.logits(TEXTS)
    np.testing.assert_allclose(cut.logits(TEXTS), expected, atol=1e-5, rtol=0)
    assert np.abs(expected - before).max() > 1e-2  # the masks did something
    np.testing.assert_array_equal(whole.logits(TEXTS), before)  # the given network is whole, and its masks are off
    np.testing.assert_array_equal(saved_and_read(cut, tmp_path / "cut").logits(TEXTS), cut.logits(TEXTS))


def test_the_matrices_and_their_bytes_shrink() -> None:
    whole = tiny_classifier(layers=2)
    cut = cut_units(whole, Choice(heads=kept([0, 3], [1]), neurons=kept([5, 6, 7], [0, 63])))
    first, second = encoder_layers(cut.network)
    shapes = [tuple(linear.weight.shape) for linear in (first.query, first.attention_out, first.ffn_in, first.ffn_out)]
    assert shapes == [(16, 32), (32, 16), (3, 32), (32, 3)]
    assert (second.n_heads, second.n_neurons) == (1, 2)
    # A head is 3 matrices of (8, 32) with biases and one of (32, 8); a neuron a row, a bias and a column.
    head, neuron = 3 * (8 * 32 + 8) + 32 * 8, 32 + 1 + 32
    lost = whole.network.num_parameters() - cut.network.num_parameters()
    assert lost == (2 + 3) * head + (61 + 62) * neuron


def test_a_uniform_cut_of_neurons_stays_a_plain_bert(tmp_path: Path) -> None:
    cut = cut_neurons(tiny_classifier(), kept(list(range(0, 64, 2)), list(range(32))))
    assert cut.network.config.model_type == "bert"
    assert cut.network.config.intermediate_size == 32
    read = saved_and_read(cut, tmp_path / "cut")
    assert type(read.network).__name__ == "BertForSequenceClassification"
    np.testing.assert_array_equal(read.logits(TEXTS), cut.logits(TEXTS))


def test_a_pruned_network_can_be_cut_again() -> None:
    whole = tiny_classifier()
    once = cut_heads(whole, kept([0, 1, 3], [2, 3]))
    twice = cut_units(once, Choice(heads=kept([2], [0, 1]), neurons=kept([1, 2], [3, 4, 5])))
    at_once = cut_units(whole, Choice(heads=kept([3], [2, 3]), neurons=kept([1, 2], [3, 4, 5])))
    assert twice.network.config.heads_per_layer == [1, 2]
    np.testing.assert_array_equal(twice.logits(TEXTS), at_once.logits(TEXTS))


@pytest.mark.parametrize("kind", ["roberta", "electra", "distilbert"])
def test_other_architectures_lose_neurons_and_layers(tmp_path: Path, kind: str) -> None:
    whole = other_classifier(kind)
    config = PruningConfig(ffn_keep=0.5, layers_keep=1, ffn_multiple=8)
    cut = prune_structured(whole, LABELLED, LABELLED, config, seed=0)
    assert [(layer.n_heads, layer.n_neurons) for layer in encoder_layers(cut.classifier.network)] == [(4, 32)]
    read = saved_and_read(cut.classifier, tmp_path / kind)
    np.testing.assert_array_equal(read.logits(TEXTS), cut.classifier.logits(TEXTS))
    neurons = uniform_choice(importance(whole, LABELLED).neurons, 0.5, 8)
    with masked(whole.network, neurons=[mask(units, 64) for units in neurons]):
        expected = whole.logits(TEXTS)
    np.testing.assert_allclose(cut_neurons(whole, neurons).logits(TEXTS), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "config", [PruningConfig(heads_keep=0.5), PruningConfig(ffn_keep=0.5, budget="per_layer")], ids=["heads", "budget"]
)
def test_other_architectures_keep_their_heads_and_one_size(config: PruningConfig) -> None:
    with pytest.raises(UserError) as refusal:
        prune_structured(other_classifier("roberta"), LABELLED, LABELLED, config, seed=0)
    assert str(refusal.value) == (
        "a model of type roberta can lose layers, and the same number of neurons in each layer, but no heads: keep "
        "--pruning.heads_keep 1 and --pruning.budget uniform, or give a BERT"
    )


def test_a_ragged_cut_by_hand_is_refused_too() -> None:
    with pytest.raises(UserError, match="a model of type distilbert can lose layers"):
        cut_neurons(other_classifier("distilbert"), kept([0], [0, 1]))


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(UserError) as refusal:
        encoder_layers(other_classifier("albert").network)
    assert str(refusal.value) == (
        "a model of type albert cannot be pruned: its layers are not known, only those of bert, camembert, distilbert, "
        "electra, roberta, xlm-roberta"
    )


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (kept([0], []), "layer 1: all 4 heads would be cut: keep at least one, or cut the layer"),
        (kept([0], [4]), "layer 1: its heads are 0 to 3, each named once, not [4]"),
        (kept([0, 0], [1]), "layer 0: its heads are 0 to 3, each named once, not [0, 0]"),
        (kept([0]), "heads to keep are named for 1 layers, but the network has 2"),
    ],
)
def test_impossible_choices_are_refused(choice: list[np.ndarray], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        cut_heads(tiny_classifier(), choice)
    assert str(refusal.value) == message


def test_a_share_of_no_head_at_all_is_refused() -> None:
    rated = Importance(heads=(np.ones(12, dtype=np.float32),), neurons=(np.ones(64, dtype=np.float32),), texts=1)
    with pytest.raises(UserError) as refusal:
        choose_units(rated, PruningConfig(heads_keep=0.01))
    assert str(refusal.value) == (
        "--pruning.heads_keep 0.01 leaves none of the 12 heads of a layer: give at least 0.083"
    )


def test_uniform_choice_by_hand() -> None:
    scores = [np.array([0.1, 0.9, 0.5, 0.3], dtype=np.float32), np.array([4, 3, 2, 1], dtype=np.float32)]
    assert [units.tolist() for units in uniform_choice(scores, 0.5, 1)] == [[1, 2], [0, 1]]
    assert [units.tolist() for units in uniform_choice(scores, 0.1, 1)] == [[1], [0]]
    assert [units.tolist() for units in uniform_choice(scores, 1.0, 3)] == [[0, 1, 2, 3]] * 2  # all, though no multiple


def test_the_budget_goes_where_it_is_needed_whatever_the_layers_scale() -> None:
    flat, steep = np.array([1, 1, 1, 1], dtype=np.float32), np.array([100, 1, 1, 1], dtype=np.float32)
    # Divided by their norms: 0.5 each, and 0.9999 with three of 0.01.
    assert [units.tolist() for units in per_layer_choice([flat, steep], 5 / 8, 1)] == [[0, 1, 2, 3], [0]]


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), min_size=1, max_size=4),
    st.floats(0.01, 1),
    st.integers(1, 9),
)
def test_every_choice_is_of_a_size_that_was_asked_for(scores: list[list[float]], keep: float, multiple: int) -> None:
    layers = [np.array(layer, dtype=np.float32) for layer in scores]
    for choose in (uniform_choice, per_layer_choice):
        for layer, units in zip(layers, choose(layers, keep, multiple), strict=True):
            assert 1 <= len(units) <= len(layer)
            assert len(units) % multiple == 0 or len(units) == len(layer)
            assert (np.diff(units) > 0).all()
            out = np.delete(layer, units)
            assert not len(out) or out.max() <= layer[units].min()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("ffn_keep", 0.0, "--pruning.ffn_keep 0.0 must be above 0 and at most 1"),
        ("ffn_keep", 1.5, "--pruning.ffn_keep 1.5 must be above 0 and at most 1"),
        ("heads_keep", -1.0, "--pruning.heads_keep -1.0 must be above 0 and at most 1"),
        ("ffn_multiple", 0, "--pruning.ffn_multiple 0 must be at least 1"),
        ("calibration_texts", 0, "--pruning.calibration_texts 0 must be at least 1"),
        ("layers_keep", 0, "--pruning.layers_keep 0 must be at least 1"),
    ],
)
def test_settings_out_of_range(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        PruningConfig(**{field: value})
    assert str(refusal.value) == message
