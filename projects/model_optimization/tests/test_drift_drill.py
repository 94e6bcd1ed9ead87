"""The drill on a small scale, its drifts, and its command."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_optimization.commands import drill
from model_optimization.config.drill import DrillConfig
from model_optimization.config.monitoring import MonitorConfig
from model_optimization.monitoring.drift_drill import TOGETHER, _mixed, run_drill
from model_optimization.monitoring.drifts import DRIFTS, LabelledText, as_html, base_texts, mojibake, negated, typos
from model_optimization.monitoring.drill_model import CrossFitted, fit_softmax
from model_optimization.monitoring.embeddings import hashed_embeddings
from model_optimization.monitoring.observed import Observed
from roadmap_shared.errors import UserError

SMALL = DrillConfig(
    worlds=2,
    quiet_streams=4,
    drift_streams=2,
    reference=600,
    injected_texts=60,
    monitor=MonitorConfig(calibration=200),
)


def test_strong_drifts_are_found_and_quiet_streams_stay_quiet() -> None:
    chosen = [drift for drift in DRIFTS if drift.name in ("language", "empty texts", "HTML", "typos, a fifth")]
    result = run_drill(SMALL, hashed_embeddings, chosen)
    assert [score.name for score in result.drifts] == [drift.name for drift in chosen]
    by_name = {score.name: score for score in result.drifts}
    for name in ("language", "empty texts", "HTML"):
        assert by_name[name].found[TOGETHER] == 1
        assert (by_name[name].largest_delay or 999) <= 200, "the first or the second window"
    assert by_name["language"].found["scripts JS"] == 1
    assert result.missed == ()
    assert result.n_quiet == 8
    assert result.false_alarms[TOGETHER].estimate <= 0.25
    assert by_name["empty texts"].estimated_accuracy < result.accuracy


def test_the_command_prints_and_writes_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(SMALL, worlds=1, quiet_streams=1, drift_streams=1, json=tmp_path / "new" / "drill.json")
    drill.run(config)
    out = capsys.readouterr().out
    assert "1 worlds of built-in texts, vectors by hashed" in out
    assert "of 1 streams of 1,000 requests without drift; budget 5%" in out
    table = json.loads((tmp_path / "new" / "drill.json").read_text())
    assert [row["name"] for row in table["drifts"]] == [drift.name for drift in DRIFTS]
    for drift in DRIFTS:
        assert f"\n{drift.name}" in out
    assert table["goal_met"] == ("goal met: " in out)


def test_too_few_texts_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^--reference and --monitor.horizon need 2600 texts, and 1788 are built in$"):
        run_drill(replace(SMALL, reference=1600), hashed_embeddings)


def test_changes_of_texts_by_hand() -> None:
    assert negated("it is good") == "it is not good"
    assert negated("do not go") == "do go"
    assert negated("good!") is None
    assert as_html("a & b") == '<div class="review-body"><p data-id="r1">a &amp; b&nbsp;</p><br/></div>'
    assert mojibake("it's") == "itâ\x80\x99s"
    text = "the quick brown fox jumps over the lazy dog " * 50
    changed = typos(text, random.Random(0), 0.1)
    assert 0.05 < sum(a != b for a, b in zip(text.split(), changed.split(), strict=False)) / len(text.split()) < 0.6
    assert typos(text, random.Random(0), 0.0) == text


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.name)
def test_each_drift_changes_texts_and_keeps_to_the_labels(drift) -> None:
    texts = base_texts()[:200]
    made = drift.texts(texts, random.Random(0))
    assert len(made) >= 20
    assert {item.label for item in made} <= {"negative", "neutral", "positive"}
    assert {item.text for item in made} != {item.text for item in texts}
    assert made == drift.texts(texts, random.Random(0)), "the same chance, the same texts"


def test_a_share_of_the_stream_is_replaced() -> None:
    ordinary, drifted = Observed(confidence=np.zeros(5)), Observed(confidence=np.ones(5))
    replaced = np.array([True, False, False, True, False])
    assert _mixed(ordinary, drifted, replaced).confidence.tolist() == [1, 0, 0, 1, 0]  # type: ignore[union-attr]


def test_no_text_is_answered_by_a_model_that_was_fitted_on_it() -> None:
    texts = [LabelledText(text=f"text number {n} {'good' * (n % 2)}", label="np"[n % 2]) for n in range(80)]
    model = CrossFitted(texts, hashed_embeddings, seed=0)
    for fold in range(4):
        inside = model._folds == fold
        targets = np.array([model.labels.index(item.label) for item in texts])
        weights = fit_softmax(model.embeddings[~inside], targets[~inside], 2)
        expected = np.concatenate([model.embeddings[inside], np.ones((inside.sum(), 1))], axis=1) @ weights
        np.testing.assert_allclose(model.logits[inside], expected, atol=1e-9)


def test_the_softmax_regression_is_at_its_minimum() -> None:
    chance = np.random.default_rng(0)
    features, targets = chance.normal(size=(60, 3)), chance.integers(0, 3, 60)
    best = fit_softmax(features, targets, 3)

    def loss(weights: np.ndarray) -> float:
        logits = np.concatenate([features, np.ones((60, 1))], axis=1) @ weights
        right = logits[np.arange(60), targets] - np.log(np.exp(logits).sum(axis=1))
        return float(-right.mean() + 1e-3 * (weights**2).sum() / 2)

    assert all(loss(best) <= loss(best + 0.01 * chance.normal(size=best.shape)) for _ in range(50))
