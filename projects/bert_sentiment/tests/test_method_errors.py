"""Fine-tuning methods that do not fit the network, encoders of unknown architecture, and wrong settings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ElectraConfig, ElectraModel, PreTrainedTokenizerBase

from bert_sentiment.config import METHOD_NAMES, MethodConfig, ModelConfig, PreprocessingConfig
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier
from bert_sentiment.models.method_files import load_method, save_method
from bert_sentiment.models.methods import apply_method
from roadmap_shared.errors import UserError

from .helpers import LABELS, METHODS, TEXTS, Base, gradient_step


@pytest.mark.parametrize(
    ("config", "architecture", "message"),
    [
        (
            {"name": "prefix"},
            "distilbert",
            "--method.name prefix: the attention of distilbert takes no keys and values from outside (that of bert "
            "and roberta does). Use prompt or p_tuning for virtual tokens, or lora",
        ),
        (
            {"name": "prefix"},
            "albert",
            "--method.name prefix: the attention of albert takes no keys and values from outside (that of bert "
            "and roberta does). Use prompt or p_tuning for virtual tokens, or lora",
        ),
        (
            {"name": "prefix"},
            "modernbert",
            "--method.name prefix: the attention of modernbert takes no keys and values from outside (that of bert "
            "and roberta does). Use prompt or p_tuning for virtual tokens, or lora",
        ),
        (
            {"name": "bitfit"},
            "modernbert",
            "--method.name bitfit: this modernbert has no biases to train. Use ia3, which is about as small, lora, or "
            "head",
        ),
        (
            {"name": "lora", "rank": 33},
            "bert",
            "--method.rank 33 is above the width 32 of bert.encoder.layer.0.attention.self.query: give at most 32, or "
            "full",
        ),
        (
            {"name": "adapter", "bottleneck": 32},
            "bert",
            "--method.bottleneck 32 must be below the encoder's width 32",
        ),
        (
            {"name": "ia3", "target_modules": ("querry",)},
            "bert",
            "--method.target_modules querry: no such layer in the encoder; its linear layers are query, key, value, "
            "dense",
        ),
        (
            {"name": "lora", "target_modules": ("(",)},
            "bert",
            "--method.target_modules (: is no regular expression: missing ), unterminated subpattern at position 0",
        ),
        (
            {"name": "prompt", "n_virtual_tokens": 30},
            "bert",
            "--method.n_virtual_tokens 30 and texts of 40 tokens need more than the 66 positions of this encoder: use "
            "--preprocessing.max_length 36",
        ),
        (
            {"name": "p_tuning", "n_virtual_tokens": 60},
            "roberta",
            "--method.n_virtual_tokens 60 and texts of 40 tokens need more than the 65 positions of this encoder: use "
            "fewer virtual tokens",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_network_is_one_clear_line(
    base: Base, config: dict, architecture: str, message: str
) -> None:
    with pytest.raises(UserError) as failure:
        apply_method(base(architecture), MethodConfig(**config))
    assert str(failure.value) == message


@pytest.mark.parametrize("method", ["prefix", "prompt", "p_tuning"])
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_virtual_tokens_and_text_may_fill_all_positions(base: Base, method: str, architecture: str) -> None:
    model = base(architecture)
    n_positions = {"bert": 66, "roberta": 65}[architecture]
    model = apply_method(model, MethodConfig(name=method, n_virtual_tokens=n_positions - 40))  # type: ignore[arg-type]
    assert np.isfinite(model.logits(["good " * 50])).all()


@pytest.fixture
def electra(tmp_path: Path, base: Base) -> SentimentModel:
    """An architecture that the table does not know."""
    tokenizer: PreTrainedTokenizerBase = base().tokenizer
    settings = ElectraConfig(
        vocab_size=len(tokenizer), embedding_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=66,
    )  # fmt: skip
    torch.manual_seed(2)
    ElectraModel(settings).save_pretrained(tmp_path / "electra")
    tokenizer.save_pretrained(tmp_path / "electra")
    name = str(tmp_path / "electra")
    return build_classifier(ModelConfig(name=name), PreprocessingConfig(max_length=40), LABELS, 0)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "adapter"])
def test_unknown_architecture_needs_target_modules(electra: SentimentModel, method: str) -> None:
    with pytest.raises(UserError) as failure:
        apply_method(electra, METHODS[method])
    assert str(failure.value) == (
        f"--method.name {method}: which layers of electra to change is not known here. Name them with "
        "--method.target_modules; its linear layers are embeddings_project, query, key, value, dense"
    )


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_unknown_architecture_works_with_target_modules(electra: SentimentModel, tmp_path: Path, method: str) -> None:
    config = METHODS[method]
    if method in ("lora", "dora", "ia3", "adapter"):
        config = replace(config, target_modules=("value", r"layer\.\d+\.output\.dense"))
    model = apply_method(electra, config)
    gradient_step(model)
    save_method(model, tmp_path / "saved")
    np.testing.assert_array_equal(load_method(tmp_path / "saved").logits(TEXTS), model.logits(TEXTS))


def test_second_method_on_one_network_is_refused(base: Base) -> None:
    model = apply_method(base(), METHODS["lora"])
    with pytest.raises(ValueError, match="the network has a fine-tuning method already: merge it, or start from"):
        apply_method(model, METHODS["head"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "lore"}, f"--method.name lore is none of {', '.join(METHOD_NAMES)}"),
        ({"rank": 0}, "--method.rank 0 must be at least 1"),
        ({"n_virtual_tokens": 0}, "--method.n_virtual_tokens 0 must be at least 1"),
        ({"bottleneck": 0}, "--method.bottleneck 0 must be at least 1"),
        ({"alpha": 0.0}, "--method.alpha 0.0 must be above 0"),
        ({"alpha": float("nan")}, "--method.alpha nan must be above 0"),
        ({"dropout": 1.0}, "--method.dropout 1.0 must be at least 0 and below 1"),
        (
            {"name": "prompt", "target_modules": ("query",)},
            "--method.target_modules goes with lora, dora, ia3, adapter, not with prompt",
        ),
        (
            {"name": "lora", "target_modules": ()},
            "--method.target_modules is empty: name layers, or leave it out",
        ),
    ],
)
def test_config_names_the_flag(values: dict, message: str) -> None:
    with pytest.raises(ValueError) as failure:
        MethodConfig(**values)
    assert str(failure.value) == message
