import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_optimization.deployment.batching_policy import choose, worth_waiting
from model_optimization.deployment.latency_model import CLASSES, LatencyModel, probe


def model_of(a: float, b: float, tokens: int = 16) -> LatencyModel:
    model = LatencyModel()
    for n in (1, 2, 4, 8):
        model.observe(n, tokens, a * n + b, lasting=True)
    return model


def test_fit_is_weighted_least_squares():
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 33, 60)
    seconds = 0.002 * sizes + 0.004 + generator.normal(0, 0.0005, 60)
    model = LatencyModel()
    for n, t in zip(sizes, seconds, strict=True):
        model.observe(int(n), 10, float(t))
    weights = np.sqrt(0.98 ** np.arange(59, -1, -1))
    design = np.stack([sizes, np.ones(60)], axis=1)
    expected, *_ = np.linalg.lstsq(design * weights[:, None], seconds * weights, rcond=None)
    assert model.coefficients(10) == pytest.approx(expected, rel=1e-9)
    assert model.seconds(7, 16) == pytest.approx(7 * expected[0] + expected[1])


def test_fit_is_never_negative():
    falling = LatencyModel()
    for n, t in ((1, 3.0), (2, 2.0), (3, 1.0)):
        falling.observe(n, 10, t, lasting=True)
    a, b = falling.coefficients(10)
    assert (a, b) == (0.0, pytest.approx(2.0))
    steep = LatencyModel()
    for n, t in ((1, 0.1), (2, 1.0), (3, 2.0)):
        steep.observe(n, 10, t, lasting=True)
    assert steep.coefficients(10) == (pytest.approx((0.1 + 2 + 6) / 14), 0.0)


def test_batches_of_one_size_do_not_hide_the_fixed_cost_that_was_learnt_before():
    model = model_of(0.001, 0.005)
    for _ in range(1000):
        model.observe(32, 16, 0.001 * 32 + 0.005)
    assert model.coefficients(16) == pytest.approx((0.001, 0.005), rel=1e-6)


def test_a_server_that_slows_down_is_followed_and_an_outlier_is_not():
    model = model_of(0.001, 0.001)
    model.observe(4, 16, 10.0)
    assert model.seconds(4, 16) < 0.015
    for _ in range(300):
        for n in (1, 8, 16):
            model.observe(n, 16, 0.002 * n + 0.002)
    assert model.seconds(16, 16) == pytest.approx(0.034, rel=0.1)


def test_a_class_without_batches_is_like_its_neighbour_by_length():
    model = model_of(0.002, 0.004, tokens=32)
    assert model.coefficients(128) == pytest.approx((0.008, 0.004))
    assert model.coefficients(5) == pytest.approx((0.001, 0.004))
    assert LatencyModel().coefficients(5) == (0.0, 0.0)
    assert set(model.table()) == {"32"}


def test_useful_batch_ends_where_the_fixed_cost_is_a_twentieth():
    # b / (a n + b) = 0.05 at n = 19 b / a
    assert model_of(0.001, 0.001).useful_batch(16, 100) == 19
    assert model_of(0.001, 0.001).useful_batch(16, 8) == 8
    assert model_of(0.001, 0.0).useful_batch(16, 100) == 4
    assert LatencyModel().useful_batch(16, 32) == 32


def test_probe_observes_every_class_up_to_the_longest_text():
    model = LatencyModel()
    probe(lambda n, tokens: 0.0001 * n * tokens + 0.002, model, 100, 8)
    for tokens in (16, 32, 64, 100):
        assert model.coefficients(tokens) == pytest.approx((0.0001 * tokens, 0.002))


@given(st.integers(1, 2000))
def test_classes_hold_what_is_not_longer(tokens):
    index = LatencyModel().class_of(tokens)
    assert tokens <= CLASSES[index] or index == len(CLASSES) - 1
    assert index == 0 or tokens > CLASSES[index - 1]


def test_waiting_pays_while_all_who_wait_lose_less_than_one_run():
    assert worth_waiting(3, gap=0.001, fixed=0.004)
    assert not worth_waiting(4, gap=0.001, fixed=0.004)
    assert not worth_waiting(1, gap=0.001, fixed=0.0)


@given(
    st.lists(st.integers(1, 600), min_size=1, max_size=60).map(sorted),
    st.data(),
    st.integers(1, 40),
    st.floats(1e-6, 1e-2),
    st.floats(0, 1e-2),
)
def test_the_oldest_text_is_in_the_batch_and_the_batch_is_not_too_large(lengths, data, most, a, b):
    oldest = data.draw(st.integers(0, len(lengths) - 1))
    chosen = choose(lengths, oldest, model_of(a, b), most)
    assert oldest in chosen
    assert 0 <= chosen.start < chosen.stop <= len(lengths)
    assert len(chosen) <= most


def test_shorter_texts_join_where_padding_costs_less_than_a_run():
    cheap_padding, dear_padding = LatencyModel(), LatencyModel()
    for model, long in ((cheap_padding, 0.0011), (dear_padding, 0.02)):
        for n in (1, 2, 4):
            model.observe(n, 16, 0.001 * n + 0.01, lasting=True)
            model.observe(n, 32, long * n + 0.01, lasting=True)
    lengths = [8, 9, 30]
    assert choose(lengths, 2, cheap_padding, 32) == range(0, 3)
    assert choose(lengths, 2, dear_padding, 32) == range(2, 3)
    assert choose(lengths, 0, cheap_padding, 32) == range(0, 2)


def test_of_a_class_that_is_too_large_the_oldest_and_its_neighbours_are_taken():
    model = model_of(0.001, 0.5)
    lengths = list(range(1, 17))
    assert choose(lengths, 3, model, 8) == range(3, 11)
    assert choose(lengths, 14, model, 8) == range(8, 16)
