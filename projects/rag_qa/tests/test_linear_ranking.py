"""The conditional logit and the logistic regression against independent solvers."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from rag_qa.generation.linear_ranking import LinearRanker, fit
from rag_qa.generation.logistic_regression import fit_logistic, sigmoid


def test_fit_finds_the_minimum_that_scipy_finds() -> None:
    generator = np.random.default_rng(0)
    groups = []
    for _ in range(60):
        x = generator.normal(size=(5, 2))
        utility = x @ [1.0, -0.5] + generator.gumbel(size=5)
        gains = np.zeros(5)
        gains[int(np.argmax(utility))] = 1.0
        gains[int(np.argmin(utility))] = 0.3
        groups.append(([{"a": float(r[0]), "b": float(r[1])} for r in x], gains.tolist()))
    table = np.array([[row["a"], row["b"]] for rows, _ in groups for row in rows])
    scale = table.std(axis=0) + 1e-6

    def loss(w: np.ndarray) -> float:
        total = 0.5 * 2.0 * float(w @ w)
        for rows, gains in groups:
            scores = np.array([[row["a"], row["b"]] for row in rows]) / scale @ w
            p = np.exp(scores - scores.max())
            total -= np.log(p @ gains / p.sum())
        return total

    expected = minimize(loss, np.zeros(2)).x / scale
    found = fit(groups, l2=2.0, n_steps=2000)
    assert [found["a"], found["b"]] == pytest.approx(expected, abs=1e-3)


def test_groups_without_gain_and_rare_features_are_left_out() -> None:
    groups = [([{"a": 1.0, "rare": 1.0}, {"a": 0.0}], [1.0, 0.0]), ([{"a": 1.0}, {"a": 0.5}], [1.0, 0.0])]
    useless = [([{"c": 1.0}, {"a": 2.0}], [0.0, 0.0])]
    assert set(fit(groups + useless, min_questions=2)) == {"a"}


def test_ranker_comes_back_from_its_file(tmp_path: Path) -> None:
    ranker = LinearRanker({"a": 1.25, "b": -2.0}, {"data": "by hand"})
    (tmp_path / "ranker.json").write_text(ranker.dump())
    assert LinearRanker.load(tmp_path / "ranker.json") == ranker
    assert ranker.score({"a": 2.0, "unknown": 9.0}) == 2.5


def test_logistic_regression_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    x = generator.normal(size=(200, 3)) * [1, 10, 0.1] + [0, 5, 1]
    y = x @ [1.0, 0.1, -3.0] + generator.logistic(size=200) > -2
    ours = fit_logistic(x, y, l2=2.0)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    peer = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(scaled, y)
    assert ours.weights == pytest.approx(peer.coef_[0], abs=1e-5)
    assert sigmoid(ours.logits(x)) == pytest.approx(peer.predict_proba(scaled)[:, 1], abs=1e-5)


def test_separable_classes_and_constant_features_stay_finite() -> None:
    x = np.array([[0.0, 7.0], [1.0, 7.0], [10.0, 7.0], [11.0, 7.0]])
    model = fit_logistic(x, np.array([False, False, True, True]), l2=1e-3)
    assert np.isfinite(model.weights).all()
    assert (model.logits(x) > 0).tolist() == [False, False, True, True]


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
