"""Models with a fine-tuning method on the disk: saved, read, moved and damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bert_sentiment.config import MethodConfig, ModelConfig, PreprocessingConfig
from bert_sentiment.models.bert_classifier import build_classifier
from bert_sentiment.models.method_files import METHOD_FILE, WEIGHTS_FILE, load_method, save_method
from bert_sentiment.models.methods import apply_method, method_of, trained_parameters
from roadmap_shared.errors import UserError

from .helpers import LABELS, METHODS, PAIRS, TEXTS, Base, every_pair, gradient_step


@every_pair
def test_save_and_load_give_identical_logits(base: Base, tmp_path: Path, method: str, architecture: str) -> None:
    model = apply_method(base(architecture), METHODS[method])
    model.temperature = 1.5
    gradient_step(model)
    expected = model.logits(TEXTS)
    save_method(model, tmp_path)
    state = torch.get_rng_state()
    loaded = load_method(tmp_path)
    if method != "full":
        assert torch.equal(torch.get_rng_state(), state)
        assert trained_parameters(loaded.network) == trained_parameters(model.network)
        assert method_of(loaded.network) == METHODS[method]
    np.testing.assert_array_equal(loaded.logits(TEXTS), expected)
    assert (loaded.labels, loaded.temperature, loaded.preprocessing) == (LABELS, 1.5, model.preprocessing)


@pytest.mark.parametrize(("method", "architecture"), [pair for pair in PAIRS if pair[0] != "full"])
def test_only_what_was_trained_is_saved(base: Base, tmp_path: Path, method: str, architecture: str) -> None:
    model = apply_method(base(architecture), METHODS[method])
    save_method(model, tmp_path)
    n_trained, _ = trained_parameters(model.network)
    # The header names each tensor; the numbers take 4 bytes each.
    content = (tmp_path / WEIGHTS_FILE).read_bytes()
    assert len(content) == 8 + int.from_bytes(content[:8], "little") + 4 * n_trained
    assert sorted(path.name for path in tmp_path.iterdir()) == [METHOD_FILE, WEIGHTS_FILE]


def test_a_pooler_that_the_checkpoint_lacks_is_saved(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    source = tmp_path / "base"
    whole = build_classifier(ModelConfig(name=str(base_folder("bert"))), PreprocessingConfig(), LABELS, 0)
    network: Any = whole.network.base_model
    network.pooler = None
    network.save_pretrained(source)
    whole.tokenizer.save_pretrained(source)
    model = build_classifier(ModelConfig(name=str(source)), PreprocessingConfig(), LABELS, seed=4)
    model = apply_method(model, METHODS["lora"])
    save_method(model, tmp_path / "saved")
    np.testing.assert_array_equal(load_method(tmp_path / "saved").logits(TEXTS), model.logits(TEXTS))


def test_loaded_model_can_be_trained_on_and_saved_again(base: Base, tmp_path: Path) -> None:
    model = apply_method(base(), METHODS["lora"])
    gradient_step(model)
    save_method(model, tmp_path / "first")
    loaded = load_method(tmp_path / "first")
    for each in (model, loaded):
        torch.manual_seed(0)
        gradient_step(each)
    np.testing.assert_array_equal(loaded.logits(TEXTS), model.logits(TEXTS))
    save_method(loaded, tmp_path / "second")
    np.testing.assert_array_equal(load_method(tmp_path / "second").logits(TEXTS), model.logits(TEXTS))


def test_base_model_may_have_moved(base: Base, base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    model = apply_method(base(), METHODS["ia3"])
    save_method(model, tmp_path)
    settings = json.loads((tmp_path / METHOD_FILE).read_text())
    assert settings["base"] == str(base_folder("bert"))
    settings["base"] = str(tmp_path / "gone")
    (tmp_path / METHOD_FILE).write_text(json.dumps(settings))
    with pytest.raises(UserError) as failure:
        load_method(tmp_path)
    assert str(failure.value).startswith(f"--model.name {tmp_path / 'gone'}: there is no such folder")
    loaded = load_method(tmp_path, base=str(base_folder("bert")))
    np.testing.assert_array_equal(loaded.logits(TEXTS), model.logits(TEXTS))


def test_another_base_model_is_refused(base: Base, encoder_folder: Callable[..., Path], tmp_path: Path) -> None:
    save_method(apply_method(base(), METHODS["ia3"]), tmp_path)
    other = str(encoder_folder("bert"))
    with pytest.raises(UserError) as failure:
        load_method(tmp_path, base=other)
    assert str(failure.value) == (
        f"{tmp_path}: was trained on another base model than {other} is: the frozen weights differ. Give the right one"
    )


def test_built_in_encoder_is_saved_by_its_name(tmp_path: Path) -> None:
    model = build_classifier(ModelConfig(name="minilm"), PreprocessingConfig(), LABELS, seed=0)
    model = apply_method(model, MethodConfig(name="lora"))
    save_method(model, tmp_path)
    assert json.loads((tmp_path / METHOD_FILE).read_text())["base"] == "minilm"
    np.testing.assert_array_equal(load_method(tmp_path).logits(TEXTS), model.logits(TEXTS))


def damage_settings(folder: Path) -> Path:
    (folder / METHOD_FILE).write_text("{")
    return folder / METHOD_FILE


def damage_key(folder: Path) -> Path:
    (folder / METHOD_FILE).write_text("{}")
    return folder / METHOD_FILE


def damage_weights(folder: Path) -> Path:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-1])
    return path


def remove_weights(folder: Path) -> Path:
    (folder / WEIGHTS_FILE).unlink()
    return folder / WEIGHTS_FILE


def other_rank(folder: Path) -> Path:
    settings = json.loads((folder / METHOD_FILE).read_text())
    settings["method"]["rank"] = 2
    (folder / METHOD_FILE).write_text(json.dumps(settings))
    return folder / WEIGHTS_FILE


def other_method(folder: Path) -> Path:
    settings = json.loads((folder / METHOD_FILE).read_text())
    settings["method"]["name"] = "ia3"
    (folder / METHOD_FILE).write_text(json.dumps(settings))
    return folder / WEIGHTS_FILE


@pytest.mark.parametrize(
    "damage", [damage_settings, damage_key, damage_weights, remove_weights, other_rank, other_method]
)
def test_damaged_folder_is_named(base: Base, tmp_path: Path, damage: Callable[[Path], Path]) -> None:
    save_method(apply_method(base(), METHODS["lora"]), tmp_path)
    path = damage(tmp_path)
    with pytest.raises(UserError) as failure:
        load_method(tmp_path)
    assert str(failure.value).startswith(f"{path}: is damaged (")
    assert str(failure.value).endswith("): copy the model folder again, or train anew")


def test_model_without_a_method_is_not_saved_as_one(base: Base, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the network has no fine-tuning method: use SentimentModel\.save"):
        save_method(base(), tmp_path)
