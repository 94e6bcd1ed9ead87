"""What was trained before is not trained again, unless anything that it depends on changed."""

from pathlib import Path

import numpy as np
import pytest

from model_optimization.config.trainer import TrainerConfig
from model_optimization.shelf import Shelf, fingerprint
from model_optimization.types import Texts
from model_optimization.variants import VariantInfo, load_variant, write_variant

from .tiny_models import TEXTS, tiny_classifier


class Maker:
    """Writes a variant and counts how often."""

    def __init__(self) -> None:
        self.made: list[Path] = []

    def __call__(self, folder: Path) -> None:
        classifier = tiny_classifier()
        info = VariantInfo(name="tiny", kind="torch", labels=classifier.labels, max_length=64)
        write_variant(folder, info, classifier.save)
        self.made.append(folder)


def part(texts: tuple[str, ...] = TEXTS) -> Texts:
    return Texts(texts=texts, targets=np.zeros(len(texts), dtype=np.int64))


def test_trained_once_for_all_runs(tmp_path: Path) -> None:
    make, said = Maker(), list[str]()
    for run in ("one", "two"):
        shelf = Shelf(tmp_path / run, tmp_path / "cache", said.append)
        place = shelf.trained("tiny", {"texts": part(), "trainer": TrainerConfig(), "seed": 1}, make)
        assert place == tmp_path / run / "tiny"
        np.testing.assert_allclose(load_variant(place).logits(TEXTS), tiny_classifier().logits(TEXTS))
    assert len(make.made) == 1
    assert said == [f"tiny: trained before with the same settings and texts, taken from {make.made[0]}"]


@pytest.mark.parametrize(
    "changed",
    [
        {"texts": part(TEXTS[:-1])},
        {"trainer": TrainerConfig(epochs=9)},
        {"seed": 2},
    ],
    ids=["texts", "trainer", "seed"],
)
def test_a_change_of_anything_trains_anew(tmp_path: Path, changed: dict[str, object]) -> None:
    make, depends_on = Maker(), {"texts": part(), "trainer": TrainerConfig(), "seed": 1}
    shelf = Shelf(tmp_path / "run", tmp_path / "cache", lambda line: None)
    shelf.trained("tiny", depends_on, make)
    shelf.trained("tiny", depends_on | changed, make)
    assert len(make.made) == 2


def test_a_damaged_one_is_trained_anew(tmp_path: Path) -> None:
    make = Maker()
    shelf = Shelf(tmp_path / "run", tmp_path / "cache", lambda line: None)
    shelf.trained("tiny", {"seed": 1}, make)
    weights = make.made[0] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    load_variant(shelf.trained("tiny", {"seed": 1}, make))
    assert len(make.made) == 2


def test_without_a_cache(tmp_path: Path) -> None:
    make = Maker()
    shelf = Shelf(tmp_path / "run", None)
    for _ in range(2):
        assert shelf.trained("tiny", {"seed": 1}, make) == tmp_path / "run" / "tiny"
    assert len(make.made) == 2


def test_only_what_can_be_written_down_has_a_fingerprint() -> None:
    assert fingerprint({"a": 1}) == fingerprint({"a": 1}) != fingerprint({"a": 2})
    with pytest.raises(TypeError, match="a object has no fingerprint"):
        fingerprint({"a": object()})
