"""How many weights a model has, and what they start as."""

import math

import pytest
import torch
from torch import nn

from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.models import (
    Classifier,
    DecoderLM,
    Encoder,
    EncoderDecoder,
    MaskedLM,
    count_parameters,
    initialize,
)

VOCAB = 17


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def config_of(**options) -> ModelConfig:
    return ModelConfig(n_layers=2, d_model=24, n_heads=4, d_hidden=40, context=16, **options)


def test_number_of_parameters_of_nanogpts_cpu_model():
    model = DecoderLM(ModelConfig(n_layers=4, d_model=128, n_heads=4, d_hidden=512), 65)
    blocks = 4 * (4 * 128 * 128 + 2 * 128 * 512 + 2 * 128)
    assert count_parameters(model) == blocks + 128 + 65 * 128
    assert round(count_parameters(model) / 1e6, 2) == 0.80


def test_number_of_parameters_with_every_option():
    model = DecoderLM(
        config_of(
            n_kv_heads=2,
            bias=True,
            activation="swiglu",
            positions="learned",
            tie_embeddings=False,
            n_experts=3,
            ngram_orders=(2,),
            ngram_width=5,
        ),
        VOCAB,
    )
    attention = 2 * (24 * 24 + 24) + 2 * (24 * 12 + 12)
    expert = 2 * (24 * 40 + 40) + 40 * 24 + 24
    block = attention + 3 * expert + 3 * 24 + 2 * (24 + 24)
    embeddings = 2 * VOCAB * 24 + 16 * 24 + VOCAB**2 * 5 + 5 * 24
    assert count_parameters(model) == 2 * block + (24 + 24) + embeddings


START = ModelConfig(
    n_layers=8,
    d_model=64,
    d_hidden=128,
    activation="swiglu",
    positions="learned",
    context=128,
    bias=True,
    tie_embeddings=False,
)
GAINS = {  # times 1/sqrt(inputs); the layers that write to the residual stream have 1/sqrt(2 · 8)
    **{f"attention.{name}": 1 for name in ("query", "key", "value")},
    **{f"cross_attention.{name}": 1 for name in ("query", "key", "value")},
    **{name: 1 for name in ("gate", "up", "router", "head", "transform", "projection")},
    **{name: 1 / 4 for name in ("attention.output", "cross_attention.output", "down")},
}


@pytest.mark.parametrize(
    "build",
    [
        lambda: DecoderLM(START, VOCAB),
        lambda: DecoderLM(ModelConfig(**{**vars(START), "n_experts": 4, "ngram_orders": (2,)}), VOCAB),
        lambda: EncoderDecoder(START, VOCAB),
        lambda: MaskedLM(START, VOCAB),
        lambda: Classifier(START, VOCAB, 3),
    ],
    ids=["decoder", "experts", "encoder-decoder", "masked", "classifier"],
)
def test_every_layer_starts_with_its_own_variance(build):
    model, gains = build(), set()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            parts = name.split(".")
            layer = ".".join(parts[-2:]) if parts[-2:][0].endswith("attention") else parts[-1]
            expected = GAINS[layer] / math.sqrt(module.in_features)
            gains.add(layer)
            if module.bias is not None:
                assert module.bias.abs().max() == 0, name
        elif isinstance(module, nn.Embedding):
            expected = 0.0 if name.startswith("ngrams.tables") else 1 / math.sqrt(64)
        else:
            continue
        # Five standard deviations of a standard deviation that is estimated from so many numbers.
        tolerance = 5 / math.sqrt(2 * module.weight.numel())
        assert module.weight.std().item() == pytest.approx(expected, rel=tolerance), name
        assert abs(module.weight.mean().item()) <= 5 * expected / math.sqrt(module.weight.numel()), name
    assert {"attention.output", "down", "up", "gate"} <= gains


def test_weights_depend_on_the_seed_alone():
    def weights(seed: int) -> torch.Tensor:
        model = Encoder(config_of(), VOCAB)
        torch.manual_seed(seed)
        initialize(model, config_of())
        return nn.utils.parameters_to_vector(model.parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
