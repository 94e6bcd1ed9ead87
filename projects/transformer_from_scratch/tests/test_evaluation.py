"""Exact evaluation: every token is a target once."""

import math

import pytest
import torch
import torch.nn.functional as F

from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.evaluation import evaluating, window_losses
from transformer_from_scratch.models import DecoderLM


@pytest.fixture
def model() -> DecoderLM:
    torch.manual_seed(0)
    return DecoderLM(ModelConfig(n_layers=1, d_model=16, n_heads=2, d_hidden=16, context=8, dropout=0.5), 11)


@pytest.mark.parametrize("n_tokens", [9, 16, 17, 33, 50, 57])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_losses_equal_a_loop_over_windows(model: DecoderLM, n_tokens: int, batch_size: int) -> None:
    ids = torch.randint(11, (n_tokens,), generator=torch.Generator().manual_seed(n_tokens))
    expected, counts = [], []
    model.eval()
    with torch.no_grad():
        for start in range(0, n_tokens - 1, 8):
            window = ids[start : min(start + 8, n_tokens - 1) + 1]
            losses = F.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="none")
            expected.append(losses.sum().item())
            counts.append(len(losses))
    model.train()
    actual = window_losses(model, ids, context=8, batch_size=batch_size)
    assert actual.counts.tolist() == counts
    assert sum(counts) == n_tokens - 1
    assert actual.sums.tolist() == pytest.approx(expected, rel=1e-5)
    assert actual.mean == pytest.approx(sum(expected) / (n_tokens - 1), rel=1e-5)
    assert model.training, "the mode is put back"


def test_interval_is_in_characters(model: DecoderLM) -> None:
    ids = torch.randint(11, (400,), generator=torch.Generator().manual_seed(1))
    losses = window_losses(model, ids, context=8, batch_size=16)
    interval = losses.interval(tokens_per_character=0.25, n_resamples=200)
    assert interval.estimate == pytest.approx(losses.mean / 4)
    assert interval.low < interval.estimate < interval.high


def test_uniform_model_costs_the_logarithm_of_the_vocabulary(model: DecoderLM) -> None:
    with torch.no_grad():
        model.tokens.embedding.weight.zero_()
    ids = torch.randint(11, (40,), generator=torch.Generator().manual_seed(2))
    assert window_losses(model, ids, 8, 4).mean == pytest.approx(math.log(11), rel=1e-6)


def test_mode_comes_back_after_an_error(model: DecoderLM) -> None:
    model.train()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        _ = 1 / 0
    assert model.training
    assert torch.is_grad_enabled()
