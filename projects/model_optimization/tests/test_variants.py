"""Variants as folders: whole or not there, checked when opened."""

import json
from pathlib import Path

import numpy as np
import pytest

from model_optimization.torch_classifier import TorchClassifier
from model_optimization.variants import (
    VARIANT_FILE,
    VariantInfo,
    check_files,
    load_variant,
    read_info,
    size_bytes,
    write_variant,
)
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier


def saved(folder: Path, name: str = "original") -> TorchClassifier:
    classifier = tiny_classifier()
    info = VariantInfo(
        name=name, kind="torch", labels=classifier.labels, max_length=classifier.max_length, recipe={"how": ["by", 3]}
    )
    write_variant(folder, info, classifier.save)
    return classifier


def test_what_was_written_is_read(tmp_path: Path) -> None:
    classifier = saved(tmp_path / "v")
    info = read_info(tmp_path / "v")
    assert (info.name, info.kind, info.labels, info.max_length) == ("original", "torch", ("negative", "positive"), 64)
    assert info.recipe == {"how": ["by", 3]}
    loaded = load_variant(tmp_path / "v")
    np.testing.assert_array_equal(loaded.logits(TEXTS), classifier.logits(TEXTS))
    assert size_bytes(tmp_path / "v") == (tmp_path / "v" / "model.safetensors").stat().st_size


def test_any_classifier_of_transformers_is_a_variant(tmp_path: Path) -> None:
    classifier = tiny_classifier(tmp_path / "plain", max_length=128)
    loaded = load_variant(tmp_path / "plain")
    assert loaded.max_length == 128
    np.testing.assert_array_equal(loaded.logits(TEXTS), classifier.logits(TEXTS))


def test_a_variant_is_replaced_as_a_whole(tmp_path: Path) -> None:
    saved(tmp_path / "v", "first")
    saved(tmp_path / "v", "second")
    assert read_info(tmp_path / "v").name == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_a_failure_leaves_the_earlier_variant(tmp_path: Path) -> None:
    saved(tmp_path / "v", "first")

    def fails(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("out of luck")

    info = VariantInfo(name="second", kind="torch", labels=("a", "b"), max_length=8)
    with pytest.raises(RuntimeError, match="out of luck"):
        write_variant(tmp_path / "v", info, fails)
    assert read_info(tmp_path / "v").name == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


class TestRefusals:
    def refusal(self, folder: Path) -> str:
        with pytest.raises(UserError) as refused:
            load_variant(folder)
        return str(refused.value)

    def test_no_variant(self, tmp_path: Path) -> None:
        assert self.refusal(tmp_path) == f"{tmp_path}: is no variant of a model (no variant.json in it)"

    def test_a_changed_and_a_missing_file(self, tmp_path: Path) -> None:
        saved(tmp_path / "v")
        weights = tmp_path / "v" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-10])
        assert self.refusal(tmp_path / "v") == (
            f"{weights}: was changed or cut off since the variant was made: make it again"
        )
        weights.unlink()
        assert self.refusal(tmp_path / "v") == f"{weights}: is missing: make the variant again"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda record: "{", "cannot be read (Expecting property name"),
            (lambda record: json.dumps([record]), "is not of the form that this version writes"),
            (lambda record: json.dumps(record | {"format": 2}), "is not of the form that this version writes"),
            (lambda record: json.dumps(record | {"kind": "pickle"}), "is damaged (kind, labels or max_length)"),
            (lambda record: json.dumps({k: v for k, v in record.items() if k != "name"}), "is damaged ("),
            (
                lambda record: json.dumps(record | {"files": {"../../secret": "0"}}),
                "names a file outside its folder, '../../secret': do not use this variant",
            ),
        ],
        ids=["json", "list", "format", "kind", "nameless", "escape"],
    )
    def test_a_damaged_record(self, tmp_path: Path, change: object, message: str) -> None:
        assert callable(change)
        saved(tmp_path / "v")
        path = tmp_path / "v" / VARIANT_FILE
        path.write_text(change(json.loads(path.read_text())))
        refused = self.refusal(tmp_path / "v")
        assert refused.startswith(f"{path}: ")
        assert message in refused

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(UserError, match="cannot be written: Not a directory"):
            saved(tmp_path / "file" / "v")

    def test_files_are_checked_on_demand_only(self, tmp_path: Path) -> None:
        saved(tmp_path / "v")
        (tmp_path / "v" / "tokenizer_config.json").write_text("{}")
        with pytest.raises(UserError, match=r"tokenizer_config\.json: was changed"):
            check_files(tmp_path / "v")
        load_variant(tmp_path / "v", verify=False)
