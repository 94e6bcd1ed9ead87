"""Layers are taken out, and the right ones."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from model_optimization.pruning.layer_pruning import choose_layers, cut_layers, removals
from model_optimization.pruning.structured_pruning import Choice, cut_units
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Texts
from roadmap_shared.errors import UserError

from .pruning_models import LABELLED, other_classifier
from .tiny_models import TEXTS, tiny_classifier


def loss_of(classifier: TorchClassifier, kept: tuple[int, ...]) -> float:
    """By a network that was really cut, one text at a time."""
    cut = cut_layers(classifier, kept)
    logits = torch.cat([torch.from_numpy(cut.logits([text])) for text in LABELLED.texts])
    return F.cross_entropy(logits, torch.from_numpy(LABELLED.targets)).item()


def test_a_network_of_chosen_layers_runs_them_in_order(tmp_path: Path) -> None:
    whole = tiny_classifier(layers=4)
    cut = cut_layers(whole, (0, 3))
    ids = torch.tensor(whole.token_ids(["a good film"]))
    states = whole.network.bert.embeddings(ids)
    for number in (0, 3):
        states = whole.network.bert.encoder.layer[number](states)
    expected = whole.network.classifier(whole.network.bert.pooler(states))
    np.testing.assert_allclose(cut.logits(["a good film"]), expected.detach().numpy(), atol=1e-6)
    assert cut.network.config.num_hidden_layers == 2
    assert [layer.attention.self.layer_idx for layer in cut.network.bert.encoder.layer] == [0, 1]
    cut.save(tmp_path)
    np.testing.assert_array_equal(TorchClassifier.load(tmp_path, 64).logits(TEXTS), cut.logits(TEXTS))
    assert len(whole.network.bert.encoder.layer) == 4


@pytest.mark.parametrize("kind", ["distilbert", "roberta"])
def test_other_architectures_lose_layers(tmp_path: Path, kind: str) -> None:
    cut = cut_layers(other_classifier(kind), (1,))
    cut.save(tmp_path)
    np.testing.assert_array_equal(TorchClassifier.load(tmp_path, 64).logits(TEXTS), cut.logits(TEXTS))


def test_a_pruned_bert_keeps_each_layers_sizes() -> None:
    heads, neurons = [np.array([0]), np.array([1, 2])], [np.arange(3), np.arange(7)]
    cut = cut_layers(cut_units(tiny_classifier(), Choice(heads=heads, neurons=neurons)), (1,))
    assert cut.network.config.sizes() == [(2, 7)]


def test_losses_without_each_layer_are_those_of_cut_networks() -> None:
    whole = tiny_classifier(layers=3)
    before = whole.logits(TEXTS)
    for removal in removals(whole, LABELLED, (0, 1, 2)):
        kept = tuple(sorted({0, 1, 2} - {removal.layer}))
        assert removal.loss == pytest.approx(loss_of(whole, kept), abs=1e-5)
        assert removal.accuracy == (cut_layers(whole, kept).logits(TEXTS).argmax(1) == LABELLED.targets).mean()
    np.testing.assert_array_equal(whole.logits(TEXTS), before)


def test_the_layer_that_is_missed_least_goes_first() -> None:
    whole = tiny_classifier(layers=4)
    kept, tried = choose_layers(whole, LABELLED, 2)
    three = min(combinations(range(4), 3), key=lambda layers: loss_of(whole, layers))
    two = min(combinations(three, 2), key=lambda layers: loss_of(whole, layers))
    assert kept == two
    assert [removal.without for removal in tried] == [()] * 4 + [tuple({0, 1, 2, 3} - set(three))] * 3


def test_as_many_layers_as_there_are_cost_nothing() -> None:
    assert choose_layers(tiny_classifier(), LABELLED, 2) == ((0, 1), [])


def test_more_layers_than_there_are() -> None:
    with pytest.raises(UserError) as refusal:
        choose_layers(tiny_classifier(), LABELLED, 3)
    assert str(refusal.value) == "--pruning.layers_keep 3: the model has 2 layers, of which 1 to 2 can stay"


def test_no_texts_to_choose_on() -> None:
    with pytest.raises(UserError) as refusal:
        choose_layers(tiny_classifier(), Texts(texts=(), targets=np.array([], dtype=np.int64)), 1)
    assert str(refusal.value) == "layers are chosen on validation texts, and there are none"


@pytest.mark.parametrize("kept", [(), (0, 0), (2,)])
def test_impossible_layers(kept: tuple[int, ...]) -> None:
    with pytest.raises(UserError) as refusal:
        cut_layers(tiny_classifier(), kept)
    assert str(refusal.value) == f"layers to keep must be some of 0 to 1, each named once, not {list(kept)}"
