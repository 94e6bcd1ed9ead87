"""The classifier: texts in, logits out, the same from a folder, and clear words where a checkpoint does not fit."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bert_sentiment.config import ModelConfig, PreprocessingConfig
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier, softmax
from roadmap_shared.errors import UserError

LABELS = ("negative", "neutral", "positive")
TEXTS = ["it was good !", "a", "not a good film , but the plot was bright and i loved it", "", "awful"]


def test_logits_equal_transformers_own_on_each_text_alone(tiny_model, architecture):
    model = tiny_model(architecture)
    logits = model.logits(TEXTS, batch_size=3)
    for text, row in zip(TEXTS, logits, strict=True):
        inputs = model.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            expected = model.network(**inputs).logits[0]
        torch.testing.assert_close(torch.from_numpy(row), expected, rtol=0, atol=2e-6)


def test_dropout_is_off_and_the_mode_comes_back(tiny_model):
    model = tiny_model()
    model.network.train()
    assert np.array_equal(model.logits(TEXTS), model.logits(TEXTS))
    assert model.network.training


def test_probabilities_are_softened_by_the_temperature(tiny_model):
    model = tiny_model()
    assert np.allclose(model.probabilities(TEXTS), softmax(model.logits(TEXTS)), atol=1e-6)
    hot = replace(model, temperature=3.0).probabilities(TEXTS)
    assert np.allclose(hot.sum(axis=1), 1)
    assert np.allclose(hot, softmax(model.logits(TEXTS) / 3), atol=1e-6)


def test_a_folder_gives_the_same_model_back(tiny_model, architecture, tmp_path):
    model = replace(tiny_model(architecture, urls="keep", max_length=20), temperature=1.7)
    model.save(tmp_path / "model")
    loaded = SentimentModel.load(tmp_path / "model")
    assert (loaded.labels, loaded.temperature, loaded.preprocessing) == (LABELS, 1.7, model.preprocessing)
    assert np.array_equal(loaded.logits(TEXTS), model.logits(TEXTS))


def test_a_folder_is_replaced_whole_or_not_at_all(tiny_model, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    first, second = tiny_model(), replace(tiny_model("roberta"), temperature=2.0)
    first.save(folder)
    second.save(folder)
    assert SentimentModel.load(folder).temperature == 2.0

    def fail(path: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(first.tokenizer, "save_pretrained", fail)
    with pytest.raises(OSError, match="No space left"):
        first.save(folder)
    assert np.array_equal(SentimentModel.load(folder).logits(TEXTS), second.logits(TEXTS))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_classifier_of_others_loads_with_defaults(tiny_model, tmp_path):
    model = tiny_model()
    model.save(tmp_path / "model")
    (tmp_path / "model" / "sentiment.json").unlink()
    loaded = SentimentModel.load(tmp_path / "model")
    assert (loaded.temperature, loaded.preprocessing) == (1.0, PreprocessingConfig())


def test_an_encoder_gets_a_new_layer_that_depends_on_the_seed_alone(encoder_folder, architecture):
    def build(seed: int) -> SentimentModel:
        return build_classifier(
            ModelConfig(name=str(encoder_folder(architecture))), PreprocessingConfig(), LABELS, seed
        )

    first = build(1).logits(TEXTS)
    torch.rand(5)
    assert np.array_equal(build(1).logits(TEXTS), first)
    assert not np.array_equal(build(2).logits(TEXTS), first)
    assert build(1).labels == LABELS


def test_a_pooler_that_starts_as_the_identity_hands_the_first_state_on(encoder_folder):
    folder = encoder_folder("bert")
    config = ModelConfig(name=str(folder), pooler="identity")
    network: Any = build_classifier(config, PreprocessingConfig(), LABELS, 1).network.eval()
    token_ids = torch.tensor([[2, 7, 9, 3]])
    with torch.no_grad():
        first_state = network.bert(token_ids).last_hidden_state[:, 0]
        expected = network.classifier(torch.tanh(first_state))
        assert torch.allclose(network(token_ids).logits, expected, atol=1e-6)
    kept: Any = build_classifier(ModelConfig(name=str(folder)), PreprocessingConfig(), LABELS, 1).network
    assert not torch.equal(kept.bert.pooler.dense.weight, network.bert.pooler.dense.weight)
    assert torch.equal(kept.classifier.weight, network.classifier.weight)


def test_the_built_in_encoder_starts_with_the_identity():
    network: Any = build_classifier(ModelConfig(name="minilm"), PreprocessingConfig(), LABELS, 1).network
    assert torch.equal(network.bert.pooler.dense.weight, torch.eye(384))


def test_an_encoder_without_a_pooler_is_told_apart(encoder_folder):
    folder = encoder_folder("distilbert")
    with pytest.raises(UserError) as raised:
        build_classifier(ModelConfig(name=str(folder), pooler="identity"), PreprocessingConfig(), LABELS, 1)
    assert str(raised.value) == f"--model.pooler identity: {folder} has no pooler as BERT has: leave the flag out"


def test_dropout_is_set_in_encoder_and_classifier(encoder_folder):
    config = ModelConfig(name=str(encoder_folder("bert")), dropout=0.25)
    network = build_classifier(config, PreprocessingConfig(), LABELS, 1).network
    rates = {module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.25}


def test_a_classifier_with_the_same_labels_keeps_its_layer(tiny_model, tmp_path):
    model = tiny_model()
    model.save(tmp_path / "model")
    again = build_classifier(ModelConfig(name=str(tmp_path / "model")), PreprocessingConfig(), LABELS, 9)
    assert np.array_equal(again.logits(TEXTS), model.logits(TEXTS))


def test_a_classifier_with_other_labels_is_refused(tiny_model, tmp_path):
    tiny_model(labels=("bad", "good")).save(tmp_path / "model")
    with pytest.raises(UserError) as raised:
        build_classifier(ModelConfig(name=str(tmp_path / "model")), PreprocessingConfig(), LABELS, 1)
    assert str(raised.value) == (
        f"--model.name {tmp_path / 'model'}: is a classifier with the labels bad, good, but the texts have negative, "
        "neutral, positive. Name the file's labels as the model does with --data.label_map, or start from an encoder "
        "without a classifier"
    )


def test_what_is_no_model_folder_is_said(tmp_path, encoder_folder):
    with pytest.raises(UserError) as raised:
        SentimentModel.load(tmp_path)
    assert str(raised.value) == f"{tmp_path}: is no model folder (no config.json in it)"
    folder = encoder_folder("bert")
    with pytest.raises(UserError) as raised:
        SentimentModel.load(folder)
    assert str(raised.value) == (
        f"{folder}: is no classifier but BertModel. Train one: bert-sentiment run --model.name {folder}"
    )
    with pytest.raises(UserError) as raised:
        build_classifier(ModelConfig(name="no/such-model"), PreprocessingConfig(), LABELS, 1)
    assert str(raised.value) == (
        "--model.name no/such-model: there is no such folder, and the hub does not answer or has no such model. "
        "Offline, use --model.name minilm or a folder"
    )


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("sentiment.json", "{", "sentiment.json: is damaged (Expecting property name"),
        ("sentiment.json", '{"temperature": 1}', "sentiment.json: is damaged ('preprocessing')"),
        ("sentiment.json", "[]", "sentiment.json: is damaged (list indices must be integers"),
        ("config.json", "{}", "cannot be loaded as a text classifier: "),
        ("model.safetensors", "weights", "cannot be loaded as a text classifier: "),
    ],
)
def test_a_damaged_folder_is_named(tiny_model, tmp_path, file, content, message):
    tiny_model().save(tmp_path / "model")
    (tmp_path / "model" / file).write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as raised:
        SentimentModel.load(tmp_path / "model")
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / "model"))
    assert "\n" not in str(raised.value)


def test_the_extras_are_readable(tiny_model, tmp_path):
    tiny_model().save(tmp_path / "model")
    extras = json.loads((tmp_path / "model" / "sentiment.json").read_text(encoding="utf-8"))
    assert extras["temperature"] == 1.0
    assert extras["preprocessing"]["truncation"] == "head"
