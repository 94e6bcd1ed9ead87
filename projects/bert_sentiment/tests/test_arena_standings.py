"""The arena's rates, trials and standings: what is chosen, kept, compared and drawn."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bert_sentiment.arena.figures import name_places
from bert_sentiment.arena.standings import against, edge_of, edge_remark, summarise
from bert_sentiment.arena.training import best_rate, final_trials, rates_for, tuning_trials
from bert_sentiment.arena.trials import Trial, TrialResult, read_result
from bert_sentiment.config import METHOD_NAMES, RatesConfig, TrainerConfig
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import Interval, paired_bootstrap

from .helpers import arena_config


def test_the_classification_layer_learns_at_the_same_rate_with_every_method():
    config = TrainerConfig(learning_rate=1e-4, head_factor=10)
    lora = rates_for(Trial("lora", 5e-3, 0), config)
    assert (lora.learning_rate, lora.learning_rate * lora.head_factor) == (5e-3, pytest.approx(1e-3))
    head = rates_for(Trial("head", 2e-2, 0), config)
    assert (head.learning_rate, head.head_factor) == (2e-2, 1)


def test_the_tuning_seed_is_none_of_the_tested_ones(tmp_path):
    config = arena_config(tmp_path, n_seeds=3)
    assert [trial.rate for trial in tuning_trials(config, "full")] == [1e-3, 1e-2]
    assert {trial.seed for trial in tuning_trials(config, "full")} == {5}
    assert final_trials(config, "full", 2e-4) == [Trial("full", 2e-4, seed) for seed in (6, 7, 8)]


@pytest.mark.parametrize(
    ("metric", "scores", "best"),
    [
        ("macro_f1", (0.5, 0.7), 1e-2),
        ("macro_f1", (0.7, 0.7), 1e-3),
        ("loss", (0.5, 0.7), 1e-3),
        ("accuracy", (None, 0.3), 1e-2),
        ("loss", (None, None), None),
    ],
)
def test_the_best_rate_is_that_of_the_validation_texts(tmp_path, metric, scores, best):
    config = arena_config(tmp_path)
    config = replace(config, trainer=replace(config.trainer, metric=metric))
    assert best_rate(config, "lora", tmp_path) is None
    for trial, score in zip(tuning_trials(config, "lora"), scores, strict=True):
        trial.folder(tmp_path).mkdir(parents=True)
        TrialResult(validation=score, failure=None if score else "diverged").write(trial.folder(tmp_path))
    assert best_rate(config, "lora", tmp_path) == best


def test_a_trial_is_read_as_it_was_written(tmp_path):
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32)
    result = TrialResult(trained=3, total=9, steps=4, validation=0.1 + 0.2, probabilities=probabilities)
    assert read_result(tmp_path) is None
    result.write(tmp_path)
    read = read_result(tmp_path)
    assert read is not None
    assert read.probabilities is not None
    assert replace(read, probabilities=None) == replace(result, probabilities=None)
    np.testing.assert_array_equal(read.probabilities, probabilities)
    (tmp_path / "probabilities.npy").write_bytes(b"PK")
    with pytest.raises(UserError) as failure:
        read_result(tmp_path)
    assert str(failure.value).startswith(f"{tmp_path}: is damaged (")
    assert str(failure.value).endswith("): remove the folder and resume the arena")


def tried(predicted: list[int], **figures: Any) -> TrialResult:
    probabilities = np.full((len(predicted), 2), 0.1)
    probabilities[np.arange(len(predicted)), predicted] = 0.9
    costs = {"trained": 10, "total": 1000, "steps": 3, "file_bytes": 44, "forgetting": 0.25, "validation": 0.5}
    return TrialResult(**costs | figures, probabilities=probabilities)


def test_a_standing_by_hand(tmp_path):
    config, targets = arena_config(tmp_path), [0, 0, 1, 1]
    finals = [
        tried([0, 0, 1, 1], seconds_per_step=2.0, forgetting=0.1),
        tried([0, 1, 1, 0], seconds_per_step=4.0, forgetting=0.3),
    ]
    tuned = [TrialResult(seconds_per_step=9.0, peak_memory_mb=700.0), TrialResult()]
    standing = summarise(config, "lora", 1e-2, finals, tuned, targets)
    assert standing.correct.tolist() == [1, 0.5, 1, 0.5]
    assert standing.accuracy.estimate == 0.75
    assert standing.accuracy_spread == pytest.approx(0.5 / 2**0.5)
    assert (standing.macro_f1, standing.macro_f1_spread) == (pytest.approx(0.75), pytest.approx(0.5 / 2**0.5))
    assert 0.5 <= standing.accuracy.low < 0.75 < standing.accuracy.high <= 1
    assert (standing.seconds_per_step, standing.peak_memory_mb, standing.file_bytes) == (4.0, 700.0, 44)
    assert (standing.share, standing.forgetting, standing.edge) == (0.01, pytest.approx(0.2), "highest")
    wide = replace(config, rates=RatesConfig(lora=(1e-3, 1e-2, 1e-1)))
    assert summarise(wide, "lora", 1e-2, finals, tuned, targets).edge is None


def test_each_method_tries_three_rates_wide_apart():
    for method in METHOD_NAMES:
        low, middle, high = RatesConfig().of(method)
        assert 2 <= middle / low <= 10, method
        assert 2 <= high / middle <= 10, method


def test_a_rate_at_an_end_of_its_grid_is_named():
    def standing(method: str, edge: str | None) -> Any:
        return SimpleNamespace(method=method, edge=edge)

    assert [edge_of(rate, (1, 2, 3)) for rate in (1, 2, 3)] == ["lowest", None, "highest"]
    assert edge_of(1, (1,)) == "only one"
    assert edge_remark([standing("full", None)]) is None
    ranked = [
        standing("full", "highest"),
        standing("lora", "lowest"),
        standing("ia3", None),
        standing("dora", "lowest"),
    ]
    assert edge_remark(ranked) == (
        "The chosen learning rate is the lowest of its grid for lora, dora; the highest of its grid for full: one "
        "beyond it may be better still"
    )


def test_the_best_is_told_from_a_bad_one_and_not_from_one_like_it(tmp_path):
    config, draw = arena_config(tmp_path), np.random.default_rng(0)
    targets = draw.integers(2, size=200)

    def with_accuracy(share: float) -> list[TrialResult]:
        return [tried(np.where(draw.random(200) < share, targets, 1 - targets).tolist()) for _ in range(2)]

    good, like_it, bad = (
        summarise(config, "lora", 2e-3, with_accuracy(share), [], targets.tolist()) for share in (0.9, 0.89, 0.6)
    )
    compared = against(bad, good, 200)
    expected = paired_bootstrap(good.correct, bad.correct, n_resamples=200)
    assert compared.against_best == expected
    assert expected.difference == pytest.approx(bad.accuracy.estimate - good.accuracy.estimate)
    assert compared.is_told_apart
    assert not against(like_it, good, 200).is_told_apart
    assert not good.is_told_apart


def test_names_in_the_figure_keep_apart():
    def standing(method: str, share: float, accuracy: float) -> Any:
        return SimpleNamespace(method=method, share=share, accuracy=Interval(accuracy, accuracy - 0.1, accuracy + 0.1))

    methods = [("full", 1, 0.8), ("lora", 0.0144, 0.79), ("dora", 0.016, 0.79), ("p_tuning", 0.0196, 0.79)]
    places = {place[0].method: place[1:] for place in name_places([standing(*each) for each in methods])}
    assert places["full"] == (7, 0.8)
    assert places["lora"] == (-7, 0.79)
    assert places["dora"] == (7, 0.79)
    assert places["p_tuning"] == (7, pytest.approx(0.79 + 0.05 * 0.21))
