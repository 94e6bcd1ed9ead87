"""Windows over a stream: the budget of false alarms is kept, and what is strong is found."""

import numpy as np
import pytest

from model_optimization.config.monitoring import MonitorConfig
from model_optimization.monitoring.detectors import DETECTORS, fit_detectors
from model_optimization.monitoring.drift_monitor import DriftMonitor, _upper_quantile
from model_optimization.monitoring.embeddings import encoder_named, hashed_embeddings
from model_optimization.monitoring.mmd import gaussian_kernel, median_bandwidth, unbiased_mmd2
from model_optimization.monitoring.observed import Observed, observe
from model_optimization.monitoring.text_features import SCRIPTS, Vocabulary, script_counts, words_of
from roadmap_shared.errors import UserError

CONFIG = MonitorConfig(window=40, horizon=200, calibration=200, false_alarms=0.05, max_reference=300)


def requests(count: int, random: np.random.Generator, shift: float = 0.0) -> Observed:
    """Confidence, embeddings, labels and tokens of requests; `shift` moves the first two."""
    return Observed(
        tokens=random.poisson(12, count).astype(float),
        confidence=random.beta(5 - 3 * shift, 2, count),
        labels=random.choice(np.array(["a", "b", "c"], dtype=object), count, p=[0.5, 0.3, 0.2]),
        embeddings=random.normal(shift, 1, (count, 4)),
    )


def test_the_budget_is_kept_over_many_references_and_streams() -> None:
    random = np.random.default_rng(0)
    alarms, streams = 0, 0
    for seed in range(10):
        monitor = DriftMonitor.fit(
            requests(200, random),
            MonitorConfig(window=40, horizon=200, calibration=200, false_alarms=0.05, max_reference=300, seed=seed),
        )
        for _ in range(12):
            alarms += any(score.drift for score in monitor.watch(requests(200, random)))
            streams += 1
    # 5 % of 120 are 6, and 13 lie three standard deviations above.
    assert streams == 120
    assert alarms <= 13


def test_a_shift_is_found_and_named() -> None:
    random = np.random.default_rng(1)
    monitor = DriftMonitor.fit(requests(240, random), CONFIG)
    scores = list(monitor.watch(requests(120, random, shift=1.0)))
    assert [score.end for score in scores] == [40, 80, 120]
    assert all(score.drift for score in scores)
    assert {score.largest for score in scores} == {"embeddings MMD"}
    assert all(score.scores["labels chi-square"] < monitor.threshold for score in scores)


def test_the_same_settings_give_the_same_monitor() -> None:
    reference = requests(240, np.random.default_rng(2))
    first, second = (DriftMonitor.fit(reference, CONFIG) for _ in range(2))
    assert (first.threshold, first.means, first.own_thresholds) == (
        second.threshold,
        second.means,
        second.own_thresholds,
    )
    assert max(first.own_thresholds.values()) <= first.threshold


def test_only_what_was_observed_is_looked_at() -> None:
    seen = observe(["a good film", "not bad", "so slow"] * 10)
    assert set(fit_detectors(seen)) == {
        "length KS", "length PSI", "unknown words KS", "vocabulary JS", "scripts JS",
    }  # fmt: skip
    everything = observe(["a"] * 4, labels=["x"] * 4, confidence=[0.5] * 4, embeddings=np.eye(4))
    assert set(fit_detectors(everything)) == set(DETECTORS) - {"tokens KS"}


def test_a_statistic_that_never_varies_is_no_alarm_until_it_does() -> None:
    constant = Observed(confidence=np.full(150, 0.5))
    monitor = DriftMonitor.fit(constant, CONFIG)
    assert not monitor.score(Observed(confidence=np.full(40, 0.5))).drift
    assert monitor.score(Observed(confidence=np.full(40, 0.6))).drift


def test_empty_texts_are_drift_and_no_error() -> None:
    reference = observe([f"a film about {word} and other things" for word in "abcdefghij"] * 15)
    monitor = DriftMonitor.fit(reference, CONFIG)
    assert monitor.score(observe([""] * 40)).drift


def test_the_mmd_of_the_detector_is_the_unbiased_one() -> None:
    random = np.random.default_rng(3)
    reference, window = requests(50, random), requests(40, random)
    a, b = reference.embeddings, window.embeddings
    assert a is not None
    assert b is not None
    width = median_bandwidth(a)
    expected = unbiased_mmd2(*(gaussian_kernel(x, y, width) for x, y in ((a, a), (b, b), (a, b))))
    assert fit_detectors(reference)["embeddings MMD"](window) == pytest.approx(expected, abs=1e-12)


def test_a_short_reference_in_one_line() -> None:
    with pytest.raises(UserError) as caught:
        DriftMonitor.fit(requests(100, np.random.default_rng(0)), CONFIG)
    assert str(caught.value) == (
        "the reference has 100 records: windows of 40 need at least 120. Collect more, or give a smaller "
        "--monitor.window"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window": 10}, "--monitor.window 10 must be at least 20"),
        ({"horizon": 50}, "--monitor.horizon 50 must be at least --monitor.window (100)"),
        ({"max_reference": 200}, "--monitor.max_reference 200 must be at least three windows (300)"),
        (
            {"calibration": 150},
            "--monitor.calibration 150 is too few for 10 windows at a budget of 0.05: give at least 200",
        ),
    ],
)
def test_settings(values: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        MonitorConfig(**values)
    assert str(caught.value) == message


def test_the_quantile_is_exceeded_as_rarely_as_it_says() -> None:
    assert _upper_quantile(np.arange(1.0, 100), 0.05) == 95  # ceil(100 * 0.95)-th of 99
    random = np.random.default_rng(4)
    exceeded = [random.normal() > _upper_quantile(random.normal(size=59), 0.05) for _ in range(4000)]
    assert np.mean(exceeded) == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 4000) ** 0.5)


def test_words() -> None:
    assert words_of("It's GOOD, 很好看! 42 <b> 😀") == (
        "it's", "good", ",", "很", "好", "看", "!", "42", "<", "b", ">", "😀",
    )  # fmt: skip
    assert words_of("") == ()


def test_scripts_by_hand() -> None:
    counts = dict(zip(SCRIPTS, script_counts("Ab é 好 да 7 <b>!😀"), strict=True))
    assert counts == {
        "latin": 4, "han": 1, "other letters": 2, "digits": 1, "space": 5, "punctuation": 1, "markup": 2,
        "emoji and symbols": 1,
    }  # fmt: skip


def test_the_vocabulary_by_hand() -> None:
    vocabulary = Vocabulary([("a", "b", "a"), ("a", "c")], most=2)
    assert vocabulary.counts([("a", "c", "d", "a")]).tolist() == [2, 0, 2]
    assert vocabulary.unknown_share(("a", "c", "d", "e")) == 0.5
    assert vocabulary.unknown_share(()) == 0


def test_hashed_embeddings() -> None:
    same, near, far = hashed_embeddings(["the film was good", "the film was good!", "电池不耐用"])
    assert np.linalg.norm(same) == pytest.approx(1)
    assert same @ near > 0.9 > abs(same @ far)
    assert hashed_embeddings([""]).shape == (1, 128)
    with pytest.raises(UserError, match=r"^encoder 'bert' is neither hashed nor minilm nor a folder$"):
        encoder_named("bert")
