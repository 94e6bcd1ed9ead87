"""The original: what is taken, and what is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForTokenClassification, GPT2Config, GPT2LMHeadModel

from model_optimization.batching import by_length, padded
from model_optimization.config.model import ModelConfig
from model_optimization.model import given_classifier, untrained_classifier
from model_optimization.pretrained import quiet_transformers
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier, tiny_tokenizer


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as refused:
        given_classifier(ModelConfig(path=folder))
    return str(refused.value)


def other_model(folder: Path, network: torch.nn.Module) -> Path:
    with quiet_transformers():
        network.save_pretrained(folder)  # type: ignore[operator]
    tiny_tokenizer().save_pretrained(folder)
    return folder


SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 40}


def test_the_built_in_encoder_becomes_a_classifier() -> None:
    one, two = (untrained_classifier(ModelConfig(max_length=16), ("a", "b", "c"), 7) for _ in range(2))
    assert one.labels == ("a", "b", "c")
    assert one.max_length == 16
    np.testing.assert_array_equal(one.logits(["some text"]), two.logits(["some text"]))
    dense = one.network.base_model.pooler.dense
    assert torch.equal(dense.weight, torch.eye(384))
    assert len(one.token_ids(["word " * 100])[0]) == 16


def test_a_classifier_that_is_given(tmp_path: Path) -> None:
    classifier = tiny_classifier(tmp_path / "m")
    given = given_classifier(ModelConfig(path=tmp_path / "m", max_length=64))
    assert given is not None
    np.testing.assert_array_equal(given.logits(TEXTS), classifier.logits(TEXTS))
    assert given_classifier(ModelConfig()) is None


def test_logits_in_any_batch_and_order() -> None:
    classifier = tiny_classifier()
    alone = np.concatenate([classifier.logits([text]) for text in TEXTS])
    np.testing.assert_allclose(classifier.logits(TEXTS, batch_size=3), alone, atol=1e-6)
    assert classifier.logits([]).shape == (0, 2)


def test_padding() -> None:
    input_ids, mask = padded([[5, 6, 7], [8]], 9)
    assert input_ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert list(by_length([[1, 1], [1], [1, 1, 1]], 2)) == [[1, 0], [2]]


class TestRefusals:
    def test_no_model(self, tmp_path: Path) -> None:
        assert refusal(tmp_path) == f"--model.path {tmp_path}: is no model folder (no config.json in it)"

    def test_other_tasks(self, tmp_path: Path) -> None:
        generative = other_model(tmp_path / "gpt", GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2)))
        tokens = other_model(tmp_path / "tokens", BertForTokenClassification(BertConfig(**SMALL)))
        masked = other_model(tmp_path / "masked", BertForMaskedLM(BertConfig(**SMALL)))
        for folder, kind in (
            (generative, "GPT2LMHeadModel"),
            (tokens, "BertForTokenClassification"),
            (masked, "BertForMaskedLM"),
        ):
            assert refusal(folder) == (
                f"{folder}: is no text classifier but {kind}: give a sequence-classification model, or train one with "
                "--model.name"
            )

    def test_regression(self, tmp_path: Path) -> None:
        classifier = tiny_classifier()
        classifier.network.config.problem_type = "regression"
        (tmp_path / "m").mkdir()
        classifier.save(tmp_path / "m")
        assert "problem_type in config.json is regression" in refusal(tmp_path / "m")

    def test_cut_off_weights_and_a_missing_vocabulary(self, tmp_path: Path) -> None:
        tiny_classifier(tmp_path / "m")
        weights = tmp_path / "m" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        assert refusal(tmp_path / "m").startswith(f"{tmp_path / 'm'}: cannot be loaded as a text classifier: ")
        tiny_classifier(tmp_path / "n")
        (tmp_path / "n" / "tokenizer.json").unlink()
        assert "has no vocabulary for its tokenizer" in refusal(tmp_path / "n")

    def test_a_classifier_as_an_encoder(self, tmp_path: Path) -> None:
        tiny_classifier(tmp_path / "m")
        with pytest.raises(UserError) as refused:
            untrained_classifier(ModelConfig(name=str(tmp_path / "m")), ("a", "b"), 0)
        assert str(refused.value) == (
            f"--model.name {tmp_path / 'm'}: is a classifier already, with the labels negative, positive: give its "
            "folder as --model.path"
        )

    def test_a_name_that_nobody_has(self) -> None:
        with pytest.raises(UserError, match=r"--model.name nobody/nothing: there is no such folder"):
            untrained_classifier(ModelConfig(name="nobody/nothing"), ("a", "b"), 0)

    def test_length(self) -> None:
        with pytest.raises(ValueError, match=r"--model.max_length 4 is outside 8 … 512"):
            ModelConfig(max_length=4)
