"""Temperature, filters and draws, against their definitions in plain Python and against Hugging Face."""

import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from transformer_from_scratch.config import SamplingConfig
from transformer_from_scratch.sampling import (
    GREEDY,
    apply_temperature,
    candidates,
    choose,
    greedy,
    min_p_filter,
    sample,
    top_k_filter,
    top_p_filter,
)

# Few different values: ties everywhere.
LOGITS = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


def softmax(logits: list[float]) -> list[float]:
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return [weight / math.fsum(weights) for weight in weights]


def kept(logits: Tensor) -> list[int]:
    """Ids of a vector's tokens that can still be drawn."""
    return logits.isfinite().nonzero().flatten().tolist()


def best_first(values: list[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda token: (-values[token], token))


@pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0, 3.0])
def test_temperature_divides_the_logits(temperature: float) -> None:
    logits = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = (logits / temperature).softmax(dim=-1)
    torch.testing.assert_close(apply_temperature(logits, temperature).softmax(-1), expected)


@pytest.mark.parametrize("temperature", [1e-4, 1e-7, 1e-30, 1e-45, 5e-324])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_tiny_temperature_is_greedy_and_never_nan(temperature: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[-400.0, 3.0, 400.0, 392.0], [2.0, -1.0, 2.0, -torch.inf]], dtype=dtype)
    probabilities = apply_temperature(logits, temperature).softmax(dim=-1)
    # Equal logits stay equally probable: only temperature 0 breaks the tie.
    assert probabilities.tolist() == [[0.0, 0.0, 1.0, 0.0], [0.5, 0.0, 0.5, 0.0]]


def test_temperature_zero_leaves_the_lowest_of_the_best_ids() -> None:
    logits = torch.tensor([[1.0, 4.0, 4.0, -2.0], [7.0, 7.0, 7.0, 7.0]])
    assert apply_temperature(logits, 0.0).softmax(dim=-1).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert greedy(logits).tolist() == [1, 0]
    assert choose(logits, GREEDY).tolist() == [1, 0]


@given(LOGITS, st.integers(1, 14))
def test_top_k_keeps_exactly_k_and_of_ties_the_lower_ids(values: list[float], k: int) -> None:
    logits = torch.tensor(values)
    filtered = top_k_filter(logits, k)
    assert kept(filtered) == sorted(best_first(values)[:k])
    assert filtered[filtered.isfinite()].tolist() == [values[token] for token in kept(filtered)]


@given(LOGITS, st.floats(1e-6, 1.0))
def test_top_p_keeps_the_smallest_set_that_reaches_p(values: list[float], p: float) -> None:
    probabilities, order = softmax(values), best_first(values)
    masses = [math.fsum(probabilities[token] for token in order[:n]) for n in range(len(order) + 1)]
    assume(p == 1 or all(abs(mass - p) > 1e-9 for mass in masses))
    size = len(order) if p == 1 else next(n for n, mass in enumerate(masses) if mass >= p)
    filtered = top_p_filter(torch.tensor(values), p)
    assert kept(filtered) == sorted(order[:size])
    assert filtered[filtered.isfinite()].tolist() == [values[token] for token in kept(filtered)]


def test_top_p_breaks_ties_by_id_in_a_large_vocabulary_too() -> None:
    assert kept(top_p_filter(torch.zeros(5000), 0.49999)) == list(range(2500))


def test_top_p_counts_the_token_that_crosses_p() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()
    assert [kept(top_p_filter(logits, p)) for p in (0.01, 0.49, 0.51, 0.74, 0.76, 0.91)] == [
        [1],
        [1],
        [1, 3],
        [1, 3],
        [1, 2, 3],
        [0, 1, 2, 3],
    ]


@given(LOGITS, st.floats(0.0, 1.0))
def test_min_p_keeps_what_is_probable_enough_beside_the_best(values: list[float], min_p: float) -> None:
    ratios = [math.exp(value - max(values)) for value in values]
    assume(all(abs(ratio - min_p) > 1e-6 or ratio == 1 for ratio in ratios))
    assert kept(min_p_filter(torch.tensor(values), min_p)) == [
        token for token, ratio in enumerate(ratios) if ratio >= min_p
    ]


def test_filters_treat_each_row_by_itself() -> None:
    logits = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(1))
    for filtered in (
        lambda x: top_k_filter(x, 3),
        lambda x: top_p_filter(x, 0.6),
        lambda x: min_p_filter(x, 0.3),
    ):
        rows = [filtered(row) for row in logits.flatten(0, 1)]
        torch.testing.assert_close(filtered(logits).flatten(0, 1), torch.stack(rows), rtol=0, atol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.6},
        {"temperature": 1.0, "top_k": 5},
        {"temperature": 1.0, "top_p": 0.8},
        {"temperature": 1.0, "min_p": 0.2},
        {"temperature": 1.7, "top_k": 12, "top_p": 0.7, "min_p": 0.1},
    ],
)
def test_candidates_have_the_probabilities_that_hugging_face_gives_them(settings: dict[str, Any]) -> None:
    logits = 3 * torch.randn(20, 33, generator=torch.Generator().manual_seed(2))
    config = SamplingConfig(**settings)
    warpers = {
        "temperature": TemperatureLogitsWarper,
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
    }
    ids = torch.zeros(20, 1, dtype=torch.long)  # the warpers ask for them and do not look at them
    expected = logits
    for name, value in settings.items():
        expected = warpers[name](value)(ids, expected)
    torch.testing.assert_close(candidates(logits, config).softmax(-1), expected.softmax(-1))


def test_sample_draws_by_probability_and_never_what_was_filtered() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2])
    n = 20_000
    logits = probabilities.log().expand(n, 4)
    drawn = sample(logits, torch.Generator().manual_seed(3))
    share = torch.bincount(drawn, minlength=4) / n
    assert share[1] == 0
    # Four standard deviations of a share of n draws.
    assert ((share - probabilities).abs() <= 4 * (probabilities * (1 - probabilities) / n).sqrt()).all()


def test_sample_keeps_leading_dimensions_and_follows_its_generator() -> None:
    logits = torch.randn(6, 5, 40, generator=torch.Generator().manual_seed(4))
    first, again, other = (sample(logits, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert first.shape == (6, 5)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: apply_temperature(x, -0.1), "temperature -0.1 must be a finite number of at least 0"),
        (lambda x: apply_temperature(x, math.nan), "temperature nan must be a finite number of at least 0"),
        (lambda x: apply_temperature(x, math.inf), "temperature inf must be a finite number of at least 0"),
        (lambda x: top_k_filter(x, 0), "top_k 0 must be at least 1"),
        (lambda x: top_p_filter(x, 0.0), "top_p 0.0 must be above 0 and at most 1"),
        (lambda x: top_p_filter(x, 1.5), "top_p 1.5 must be above 0 and at most 1"),
        (lambda x: min_p_filter(x, -0.5), "min_p -0.5 must lie between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        call(torch.zeros(3))
    assert str(error.value) == message
