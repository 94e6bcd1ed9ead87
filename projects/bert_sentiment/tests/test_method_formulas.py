"""Fine-tuning methods compute what their papers say, and are merged into the weights where that is possible."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import AutoModelForSequenceClassification

from bert_sentiment.data.preprocessor import pad, token_ids
from bert_sentiment.models.bert_classifier import SentimentModel
from bert_sentiment.models.methods import apply_method, merge, method_of
from roadmap_shared.errors import UserError

from .helpers import ARCHITECTURES, LABELS, METHODS, TEXTS, Base, gradient_step


def ia3_by_hand(network: nn.Module, factors: dict[str, torch.Tensor]) -> None:
    """Multiply (IA)³'s factors into the weights of a BERT: rows of keys and values, columns of the second layer."""
    for name, factor in factors.items():
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            if name.endswith("output.dense"):
                layer.weight *= factor.reshape(1, -1)
            else:
                layer.weight *= factor.reshape(-1, 1)
                layer.bias.mul_(factor.flatten())


def test_ia3_scales_keys_values_and_hidden_activations(base: Base) -> None:
    model = apply_method(base(), METHODS["ia3"])
    factors = {}
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if ".ia3_l." in name:
                weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(len(factors)))
                factors[name.removeprefix("base_model.model.").removesuffix(".ia3_l.default")] = weight.clone()
    assert sorted(factors) == sorted(
        f"bert.encoder.layer.{layer}.{end}"
        for layer in range(2)
        for end in ("attention.self.key", "attention.self.value", "output.dense")
    )
    expected = base()
    ia3_by_hand(expected.network, factors)
    np.testing.assert_allclose(model.logits(TEXTS), expected.logits(TEXTS), atol=1e-5)


def test_lora_adds_the_scaled_product_to_the_weights(base: Base) -> None:
    config = replace(METHODS["lora"], target_modules=("query", "value"))
    model, expected = apply_method(base(), config), base()
    gradient_step(model)
    gradient_step(model)
    state = dict(model.network.named_parameters())
    with torch.no_grad():
        for name in [name for name, _ in expected.network.named_modules() if name.endswith(("query", "value"))]:
            A = state[f"base_model.model.{name}.lora_A.default.weight"]
            B = state[f"base_model.model.{name}.lora_B.default.weight"]
            assert A.shape == (3, 32)
            assert B.shape == (32, 3)
            weight = expected.network.get_parameter(f"{name}.weight")
            weight += 5 / 3 * B @ A
        for part in ("weight", "bias"):
            trained = state[f"base_model.model.classifier.modules_to_save.default.{part}"]
            expected.network.get_parameter(f"classifier.{part}").copy_(trained)
    np.testing.assert_allclose(model.logits(TEXTS), expected.logits(TEXTS), atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prompt_is_the_same_as_words_before_the_text(base: Base, architecture: str) -> None:
    """The prompt starts from the embeddings of words: the network sees what it would see with these words."""
    torch.manual_seed(5)
    model, plain = apply_method(base(architecture), METHODS["prompt"]), base(architecture)
    prompt = model.network.get_parameter("prompt_encoder.default.embedding.weight")
    words = cast(nn.Embedding, plain.network.get_input_embeddings()).weight
    ids = [int(torch.eq(words, row).all(dim=1).nonzero()[0]) for row in prompt]
    inputs = pad(token_ids(TEXTS[:1], plain.tokenizer, plain.preprocessing), plain.tokenizer)
    with torch.inference_mode():
        expected = plain.network(
            input_ids=torch.cat([torch.tensor([ids]), inputs["input_ids"]], dim=1),
            attention_mask=torch.ones(1, 4 + inputs["input_ids"].shape[1], dtype=torch.long),
        ).logits
    np.testing.assert_allclose(model.logits(TEXTS[:1]), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_every_virtual_key_of_a_prefix_is_seen_by_padded_texts(base: Base, architecture: str) -> None:
    model = apply_method(base(architecture), METHODS["prefix"])
    prefix = model.network.get_parameter("prompt_encoder.default.embedding.weight")
    before = model.logits(TEXTS)
    for row in range(4):
        with torch.no_grad():
            kept = prefix[row].clone()
            prefix[row] += 1
        changed = np.abs(model.logits(TEXTS) - before).max(axis=1)
        assert (changed > 1e-4).all()
        with torch.no_grad():
            prefix[row] = kept


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_merged_model_is_an_ordinary_one_with_the_same_logits(
    base: Base, tmp_path: Path, method: str, architecture: str
) -> None:
    model = apply_method(base(architecture), METHODS[method])
    gradient_step(model)
    gradient_step(model)
    expected = model.logits(TEXTS)
    assert np.abs(expected - base(architecture).logits(TEXTS)).max() > 1e-2
    merged = merge(model)
    np.testing.assert_allclose(merged.logits(TEXTS), expected, atol=1e-5, rtol=1e-5)
    assert type(merged.network) is type(base(architecture).network)
    assert [name for name, _ in merged.network.named_parameters()] == [
        name for name, _ in base(architecture).network.named_parameters()
    ]
    assert not any(
        isinstance(module, BaseTunerLayer) or "peft" in type(module).__module__ for module in merged.network.modules()
    )
    assert all(weight.requires_grad for weight in merged.network.parameters())
    assert method_of(merged.network) is None
    merged.save(tmp_path)
    np.testing.assert_array_equal(SentimentModel.load(tmp_path).logits(TEXTS), merged.logits(TEXTS))
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config.id2label == dict(enumerate(LABELS))


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("full", "the model is an ordinary classifier already, save it as it is"),
        ("head", "the model is an ordinary classifier already, save it as it is"),
        ("bitfit", "the model is an ordinary classifier already, save it as it is"),
        ("adapter", "adapters have a non-linearity and no weight of the encoder can take their place, keep them"),
        ("prefix", "prefix adds virtual tokens to the input and no update to the weights, keep them"),
        ("p_tuning", "p_tuning adds virtual tokens to the input and no update to the weights, keep them"),
        ("prompt", "prompt adds virtual tokens to the input and no update to the weights, keep them"),
    ],
)
def test_what_does_not_merge_says_why(base: Base, method: str, reason: str) -> None:
    with pytest.raises(UserError) as failure:
        merge(apply_method(base(), METHODS[method]))
    assert str(failure.value) == f"cannot merge: {reason}"
