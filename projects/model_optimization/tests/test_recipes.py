"""Every recipe on a tiny classifier: what it makes, from what, and that trained networks are not trained again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model_optimization.config.model import ModelConfig
from model_optimization.config.quantization import StaticConfig
from model_optimization.config.run import ALL_VARIANTS, OptimizationConfig
from model_optimization.config.sensitivity import MixedPrecisionConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.ledger.flips import flip_study
from model_optimization.model import given_classifier
from model_optimization.pruning.encoder_layers import encoder_layers
from model_optimization.pruning.magnitude_pruning import prunable_weights, sparsity
from model_optimization.recipes import RECIPES, SUMMARIES
from model_optimization.run_layout import ORIGINAL
from model_optimization.shelf import Shelf
from model_optimization.types import FloatArray, Splits, Texts
from model_optimization.variants import load_variant, read_info
from model_optimization.workshop import Workshop

from .tiny_models import TEXTS, tiny_classifier

ONNX = {"onnx", "int8", "int8_mixed", "int8_static", "int8_qat", "weights_8bit", "weights_4bit", "smallest"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workshop")
    tiny_classifier(root / "model", layers=4)
    return root


@pytest.fixture(scope="module")
def workshop(place: Path) -> Callable[[str], Workshop]:
    """Makes a workshop whose variants stand in a folder of this name; all share one cache."""
    part = Texts(texts=TEXTS, targets=np.array([1, 0, 1, 1, 0, 1, 0, 0]))
    splits = Splits(labels=("negative", "positive"), train=part, validation=part, test=part, origin="a test")
    config = OptimizationConfig(
        model=ModelConfig(path=place / "model", max_length=32),
        trainer=TrainerConfig(epochs=1),
        student_trainer=TrainerConfig(epochs=1),
        mixed=MixedPrecisionConfig(max_flips=0, max_trials=2, ranking_texts=2),
        static=StaticConfig(texts=4),
    )
    return lambda name: Workshop(
        config=config,
        splits=splits,
        shelf=Shelf(place / name, place / "cache", lambda line: None),
        seed=0,
        recipes=RECIPES,
        given=given_classifier(config.model),
    )


@pytest.fixture(scope="module")
def shop(workshop: Callable[[str], Workshop]) -> Workshop:
    made = workshop("one")
    for name in (ORIGINAL, *ALL_VARIANTS):
        made.folder(name)
    return made


@pytest.fixture(scope="module")
def logits(shop: Workshop) -> dict[str, FloatArray]:
    return {name: load_variant(shop.folder(name)).logits(TEXTS, 1) for name in (ORIGINAL, *ALL_VARIANTS)}


def test_every_variant_has_a_recipe_and_a_summary() -> None:
    assert set(RECIPES) == set(SUMMARIES) == {ORIGINAL, *ALL_VARIANTS}


@pytest.mark.parametrize("name", [ORIGINAL, *ALL_VARIANTS])
def test_each_is_what_it_is_called(name: str, shop: Workshop, logits: dict[str, FloatArray]) -> None:
    info = read_info(shop.folder(name))
    assert info.name == name
    assert info.kind == ("onnx" if name in ONNX else "torch")
    assert info.labels == ("negative", "positive")
    assert (info.parent is None) == (name == ORIGINAL)
    assert np.isfinite(logits[name]).all()


@pytest.mark.parametrize(
    ("name", "largest"), [("onnx", 1e-5), ("weights_8bit", 0.1), ("int8", 0.3), ("weights_4bit", 1)]
)
def test_the_coarser_the_further(name: str, largest: float, shop: Workshop, logits: dict[str, FloatArray]) -> None:
    difference = np.abs(logits[name] - logits[ORIGINAL]).max()
    assert difference <= largest
    assert (difference == 0) <= (name == "onnx")


def test_what_was_cut_is_gone(shop: Workshop) -> None:
    def sizes(name: str) -> list[tuple[int, int]]:
        return [(layer.n_heads, layer.n_neurons) for layer in encoder_layers(shop.network(name).network)]

    assert sizes(ORIGINAL) == [(4, 64)] * 4
    assert sizes("half_ffn") == [(4, 32)] * 4
    assert sizes("student") == sizes("student_labels_only") == sizes("student_random_start") == [(4, 64)] * 2
    assert sparsity(prunable_weights(shop.network("half_zeros").network)) == pytest.approx(0.5, abs=0.01)


def test_findings_on_the_way_are_kept(shop: Workshop) -> None:
    assert shop.cut is not None
    assert shop.mixed is not None
    assert shop.mixed.n == len(TEXTS)
    part = shop.splits.validation
    before, after = (load_variant(shop.folder(name)).logits(part.texts, 16) for name in ("onnx", "int8_mixed"))
    assert len(flip_study(part, shop.splits.labels, before, after).flips) == shop.mixed.flips


def test_no_folder_in_between_is_left(shop: Workshop, place: Path) -> None:
    assert {path.name for path in (place / "one").iterdir()} == {ORIGINAL, *ALL_VARIANTS, "qat_fp32"}


def test_a_second_run_trains_nothing(
    shop: Workshop, workshop: Callable[[str], Workshop], monkeypatch: pytest.MonkeyPatch, logits: dict[str, FloatArray]
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("model_optimization.recipes.fine_tune", refuse)
    monkeypatch.setattr("model_optimization.recipes.distil", refuse)
    monkeypatch.setattr("model_optimization.recipes.prune_magnitude", refuse)
    again = workshop("two")
    for name in ("half_zeros", "half_ffn", "student", "student_random_start"):
        np.testing.assert_array_equal(load_variant(again.folder(name)).logits(TEXTS, 1), logits[name])
