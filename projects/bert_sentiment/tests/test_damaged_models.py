"""Folders that transformers loads without a word and that would answer at random: each is refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from bert_sentiment.config import MethodConfig, ModelConfig, PreprocessingConfig
from bert_sentiment.inference.predictor import Predictor
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier, reorder_outputs
from bert_sentiment.models.method_files import load_method, save_method
from bert_sentiment.models.methods import apply_method
from roadmap_shared.errors import UserError

from .helpers import LABELS

TinyModel = Callable[..., SentimentModel]
TEXTS = ["it was good !", "a", "not a good film , but the plot was bright and i loved it", "awful"]
REMEDY = "copy the model folder again, or use another model"
NO_VOCABULARY = (
    "has no vocabulary for its tokenizer: copy the tokenizer's files, such as tokenizer.json, from where the model "
    "comes from"
)


@pytest.fixture
def folder(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A whole classifier with the labels negative, neutral, positive."""
    tiny_model().save(tmp_path / "model")
    return tmp_path / "model"


def set_config(folder: Path, **settings: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | settings), encoding="utf-8")


def drop_weights(folder: Path, beginning: str) -> list[str]:
    """The names of the dropped weights."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file({n: w for n, w in weights.items() if not n.startswith(beginning)}, path, metadata={"format": "pt"})
    return sorted(name for name in weights if name.startswith(beginning))


def build(folder: Path | str, labels: tuple[str, ...] = LABELS) -> SentimentModel:
    return build_classifier(ModelConfig(name=str(folder)), PreprocessingConfig(), labels, 1)


def assert_refused(folder: Path, message: str, *, training_too: bool = True) -> None:
    """By everything that reads a classifier: `predict`, `serve`, and `run` that goes on training it."""
    uses: list[Callable[[], Any]] = [lambda: SentimentModel.load(folder), lambda: Predictor.find(str(folder), folder)]
    if training_too:
        uses.append(lambda: build(folder))
    for use in uses:
        with pytest.raises(UserError) as raised:
            use()
        assert str(raised.value) == f"{folder}: {message}"


# Weights


def test_a_classifier_without_its_layer_is_refused(tiny_model: TinyModel, architecture: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model = tiny_model(architecture)
    model.save(folder)
    lacking = drop_weights(folder, "classifier.")
    assert lacking
    assert_refused(
        folder,
        f"its weights lack {', '.join(lacking)}, which its config ({type(model.network).__name__}) asks for: {REMEDY}",
    )


def test_a_whole_classifier_is_read_without_a_word(
    tiny_model: TinyModel, architecture: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny_model(architecture).save(tmp_path / "model")
    capfd.readouterr()
    assert np.array_equal(SentimentModel.load(tmp_path / "model").logits(TEXTS), tiny_model(architecture).logits(TEXTS))
    assert capfd.readouterr().err == ""


def test_many_missing_weights_are_counted(folder: Path) -> None:
    n_missing = len(drop_weights(folder, "bert.encoder.layer.1."))
    first = "bert.encoder.layer.1.attention.output."
    assert_refused(
        folder,
        f"its weights lack {first}LayerNorm.bias, {first}LayerNorm.weight, {first}dense.bias, {first}dense.weight and "
        f"{n_missing - 4} more, which its config (BertForSequenceClassification) asks for: {REMEDY}",
    )


def test_an_encoder_may_lack_the_pooler_but_no_layer(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    network: Any = tiny_model().network
    network.base_model.save_pretrained(folder)
    tiny_model().tokenizer.save_pretrained(folder)
    drop_weights(folder, "pooler.")
    assert build(folder).labels == LABELS
    drop_weights(folder, "encoder.layer.1.output.dense.")
    with pytest.raises(UserError) as raised:
        build(folder)
    name = "bert.encoder.layer.1.output.dense"
    assert str(raised.value) == (
        f"{folder}: its weights lack {name}.bias, {name}.weight, which its config (BertModel) asks for: {REMEDY}"
    )


def test_another_number_of_labels_than_outputs_is_said(folder: Path) -> None:
    set_config(folder, id2label={"0": "bad", "1": "good"}, label2id={"bad": 0, "good": 1})
    message = "config names 2 labels, weights have 3: let id2label in config.json name each output of the network"
    assert_refused(folder, message, training_too=False)
    with pytest.raises(UserError) as raised:
        build(folder, ("bad", "good"))
    assert str(raised.value) == f"{folder}: {message}"


def test_weights_of_another_width_are_named(folder: Path) -> None:
    set_config(folder, hidden_size=16)
    name = "bert.embeddings.LayerNorm.bias"
    assert_refused(folder, f"{name} is (32,) in its weights, but (16,) by its config: {REMEDY}")


# Tokenizer


def test_a_folder_without_a_vocabulary_is_refused(tiny_model: TinyModel, architecture: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_model(architecture).save(folder)
    (folder / "tokenizer.json").unlink()
    assert_refused(folder, NO_VOCABULARY)
    (folder / "tokenizer_config.json").unlink()
    assert_refused(folder, NO_VOCABULARY)


def test_the_tokenizer_of_a_smaller_model_is_refused(tiny_model: TinyModel, tmp_path: Path) -> None:
    model = tiny_model()
    n_tokens = len(model.tokenizer)
    for factor, fits in ((2, True), (3, False)):
        folder = tmp_path / str(factor)
        config = {**model.network.config.to_dict(), "vocab_size": factor * n_tokens}
        network = BertForSequenceClassification(BertConfig(**config))
        SentimentModel(network, model.tokenizer).save(folder)
        if fits:
            assert SentimentModel.load(folder).labels == LABELS
        else:
            assert_refused(
                folder,
                f"its tokenizer has {n_tokens} tokens, but its network was trained with {3 * n_tokens}: copy the "
                "tokenizer's files, such as tokenizer.json, from where the model comes from",
            )


def test_a_damaged_vocabulary_is_one_line(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError) as raised:
        SentimentModel.load(folder)
    assert str(raised.value).startswith(f"{folder}: cannot be loaded as a text classifier: ")
    assert "\n" not in str(raised.value)


# Settings


@pytest.mark.parametrize(
    ("id2label", "message"),
    [
        (
            {"1": "negative", "2": "neutral", "3": "positive"},
            "has 3 labels and none with the number 0: number them from 0 to 2, in the order of the network's outputs",
        ),
        (
            {"0": "negative", "2": "neutral", "5": "positive"},
            "has 3 labels and none with the number 1: number them from 0 to 2, in the order of the network's outputs",
        ),
        (
            {"0": "negative", "1": "positive", "2": "positive"},
            "calls more than one label 'positive': give each a name of its own",
        ),
        ({"0": "negative", "1": None, "2": "positive"}, "gives label 1 no name but None: write a text in quotes"),
        ({"0": "negative", "1": " ", "2": "positive"}, "gives label 1 no name but ' ': write a text in quotes"),
        ({}, "names no labels: give it one for each output of the network"),
    ],
)
def test_labels_that_name_no_classes_are_refused(folder: Path, id2label: dict[str, Any], message: str) -> None:
    set_config(folder, id2label=id2label)
    assert_refused(folder, f"id2label in config.json {message}")


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_outputs_that_are_no_distribution_are_refused(folder: Path, problem: str) -> None:
    set_config(folder, problem_type=problem)
    assert_refused(
        folder,
        f"problem_type in config.json is {problem}, whose outputs are no probabilities that add up to 1: use a model "
        "that gives each text one label (single_label_classification)",
    )


def test_an_encoder_forgets_the_problem_of_an_earlier_use(folder: Path, tmp_path: Path) -> None:
    set_config(folder, problem_type="multi_label_classification", architectures=["BertModel"])
    drop_weights(folder, "classifier.")
    build(folder).save(tmp_path / "trained")
    assert SentimentModel.load(tmp_path / "trained").labels == LABELS


@pytest.mark.parametrize(
    "settings", [{"id2label": ["a", "b", "c"]}, {"id2label": {"x": "a"}}, {"vocab_size": None}, {"hidden_size": "wide"}]
)
def test_settings_of_another_type_are_one_line(folder: Path, settings: dict[str, Any]) -> None:
    set_config(folder, **settings)
    with pytest.raises(UserError) as raised:
        SentimentModel.load(folder)
    assert str(raised.value).startswith(f"{folder}: cannot be loaded as a text classifier: ")
    assert "\n" not in str(raised.value)


def test_the_architecture_may_be_a_single_text(folder: Path) -> None:
    set_config(folder, architectures="BertForSequenceClassification")
    assert SentimentModel.load(folder).labels == LABELS


# Labels in another order, or in another case


def test_the_same_labels_in_another_order_move_the_outputs(
    tiny_model: TinyModel, architecture: str, tmp_path: Path
) -> None:
    model = tiny_model(architecture)
    model.save(tmp_path / "model")
    order = (2, 0, 1)
    moved = build(tmp_path / "model", tuple(LABELS[index] for index in order))
    assert moved.labels == ("positive", "negative", "neutral")
    assert moved.network.config.label2id == {"positive": 0, "negative": 1, "neutral": 2}
    np.testing.assert_allclose(moved.logits(TEXTS), model.logits(TEXTS)[:, order], atol=1e-6)
    moved.save(tmp_path / "moved")
    np.testing.assert_array_equal(SentimentModel.load(tmp_path / "moved").logits(TEXTS), moved.logits(TEXTS))


def test_what_was_trained_on_moved_outputs_is_found_again(folder: Path, tmp_path: Path) -> None:
    moved = build(folder, ("positive", "negative", "neutral"))
    torch.manual_seed(1)
    moved = apply_method(moved, MethodConfig(name="bitfit"))
    save_method(moved, tmp_path / "trained")
    loaded = load_method(tmp_path / "trained")
    assert loaded.labels == moved.labels
    np.testing.assert_array_equal(loaded.logits(TEXTS), moved.logits(TEXTS))


def test_the_order_of_the_lines_in_the_config_means_nothing(folder: Path) -> None:
    before = SentimentModel.load(folder).logits(TEXTS)
    set_config(folder, id2label={"2": "positive", "0": "negative", "1": "neutral"})
    for model in (SentimentModel.load(folder), build(folder)):
        assert model.labels == LABELS
        np.testing.assert_array_equal(model.logits(TEXTS), before)


def test_an_output_layer_that_is_none_is_said(tiny_model: TinyModel) -> None:
    network: Any = tiny_model().network
    network.classifier = torch.nn.Identity()
    with pytest.raises(UserError) as raised:
        reorder_outputs(network, [1, 0, 2], "some/model")
    assert str(raised.value) == (
        "--model.name some/model: has the texts' labels in another order, and no linear layer whose outputs could be "
        "reordered: start from an encoder without a classifier"
    )


def test_labels_that_differ_in_case_come_with_what_to_type(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_model(labels=("POSITIVE", "Very Bad", "it's")).save(folder)
    with pytest.raises(UserError) as raised:
        build(folder, ("It's", "positive", "very bad"))
    assert str(raised.value) == (
        f"--model.name {folder}: is a classifier with the labels POSITIVE, Very Bad, it's, but the texts have It's, "
        "positive, very bad, which differ in upper and lower case. Give --data.label_map 'It'\"'\"'s=it'\"'\"'s' "
        "positive=POSITIVE 'very bad=Very Bad' (left of each = stands what the file says)"
    )


def test_labels_that_only_case_tells_apart_are_not_guessed_at(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_model(labels=("good", "Good")).save(folder)
    with pytest.raises(UserError, match=r"Name the file's labels as the model does with --data\.label_map"):
        build(folder, ("good", "GOOD"))
