"""What the comparison says of the differences between models, and how it draws them."""

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy.stats import chi2

from bert_sentiment.comparison import measuring
from bert_sentiment.comparison.compared import short_names
from bert_sentiment.comparison.data_sets import NamedSplits, percent
from bert_sentiment.comparison.figures import accuracy_figure, cross_figure, efficiency_figure
from bert_sentiment.comparison.measuring import Measured, Place
from bert_sentiment.comparison.results import Result
from bert_sentiment.comparison.scores import champion, cross_matrix, curves, leaderboard, mean_accuracy
from roadmap_shared.metrics import Interval, bootstrap_interval
from roadmap_shared.report import PALETTE, figure_svg

from .helpers import named


def result(correct: np.ndarray, data: NamedSplits) -> Result:
    """Predictions that are right where `correct` says so."""
    targets = np.array(data.splits.test.targets)
    predicted = np.where(correct, targets, 1 - targets)
    return Result(tuple(predicted.tolist()), data.labels, 1.0, 10, 5)


def test_the_best_and_what_cannot_be_told_apart_from_it():
    data = named("one", n_test=100)
    draw = np.random.default_rng(0)
    right = {"good": draw.random(100) < 0.9, "bad": draw.random(100) < 0.5}
    right["as good"] = right["good"].copy()
    right["as good"][np.flatnonzero(right["good"])[:2]] = False
    measured = Measured({Place(name, "one", "one"): result(correct, data) for name, correct in right.items()})
    board = leaderboard(measured, data, ["bad", "missing", "as good", "good"], 1000)
    assert [(entry.model, entry.verdict) for entry in board] == [
        ("good", "best"),
        ("as good", "cannot tell apart"),
        ("bad", "worse"),
    ]
    assert [entry.scores.accuracy.estimate for entry in board] == [right[e.model].mean() for e in board]
    close, far = board[1:]
    assert close.behind is not None
    assert close.mcnemar is not None
    assert close.behind.difference == pytest.approx(0.02)
    assert (close.mcnemar.only_a, close.mcnemar.only_b, close.mcnemar.p_value) == (0, 2, 0.5)
    assert far.mcnemar is not None
    only_good, only_bad = int((right["good"] & ~right["bad"]).sum()), int((~right["good"] & right["bad"]).sum())
    assert (far.mcnemar.only_b, far.mcnemar.only_a) == (only_good, only_bad)
    corrected = (abs(only_good - only_bad) - 1) ** 2 / (only_good + only_bad)
    assert far.mcnemar.p_value == pytest.approx(chi2.sf(corrected, df=1))
    assert leaderboard(measured, named("two"), ["good"], 10) == []


def test_labels_in_another_order_are_the_same_labels():
    one, turned = named("one"), named("turned", labels=("positive", "negative"))
    # Of a model trained on `one`, which calls positive 1: right on every text of `turned`, where it is 0.
    texts = Result(tuple(1 - target for target in turned.splits.test.targets), one.labels, 1.0, 1, 1)
    assert measuring.accuracy_of(texts, turned) == 1
    measured = Measured({Place("a", "one", "turned"): texts}, {("a", "turned"): "broken"})
    matrix = cross_matrix(measured, [one, turned], "a", 50)
    assert matrix == [["not measured", Interval(1, 1, 1)], ["failed", "failed"]]


def test_the_mean_over_data_sets_and_its_interval():
    one, two = named("one", 0, n_test=60), named("two", 7, n_test=30)
    draw = np.random.default_rng(1)
    right = {"one": draw.random(60) < 0.8, "two": draw.random(30) < 0.6}
    measured = Measured({Place("a", data.name, data.name): result(right[data.name], data) for data in (one, two)})
    mean = mean_accuracy(measured, "a", [one, two], 4000)
    assert mean.estimate == pytest.approx((right["one"].mean() + right["two"].mean()) / 2)
    # The same by hand: the number of right answers in a resample is binomial.
    shares = [draw.binomial(len(r), r.mean(), size=40_000) / len(r) for r in right.values()]
    low, high = np.quantile(np.mean(shares, axis=0), [0.025, 0.975])
    assert (mean.low, mean.high) == (pytest.approx(low, abs=0.015), pytest.approx(high, abs=0.015))
    # A data set given twice under two names holds nothing more: the interval is that of one.
    twin = NamedSplits("twin", one.splits)
    measured.results[Place("a", "twin", "twin")] = measured.results[Place("a", "one", "one")]
    single = bootstrap_interval(right["one"].astype(float), n_resamples=4000)
    both = mean_accuracy(measured, "a", [one, twin], 4000)
    assert (both.estimate, both.low, both.high) == pytest.approx((single.estimate, single.low, single.high))


def test_the_champion_was_measured_everywhere():
    one, two = named("one", 0), named("two", 7)
    everywhere = np.arange(40) < 28
    measured = Measured(
        {
            Place("lucky", "one", "one"): result(np.arange(40) < 39, one),
            Place("steady", "one", "one"): result(everywhere, one),
            Place("steady", "two", "two"): result(everywhere, two),
        }
    )
    best = champion(measured, [one, two], ["lucky", "steady"], 100)
    assert (best.model, best.accuracy.estimate) == ("steady", pytest.approx(0.7))


def test_a_curve_ends_with_all_texts():
    data = named("one")
    measured = Measured(
        {Place("a", "one", "one", share): result(np.arange(40) < 40 * share, data) for share in (1.0, 0.25, 0.5)}
    )
    points = curves(measured, data, ["a", "b"], 50)
    assert list(points) == ["a"]
    assert [(point.n_texts, point.accuracy.estimate) for point in points["a"]] == [(15, 0.25), (30, 0.5), (60, 1.0)]


# --- figures ----------------------------------------------------------------------------------------


def test_the_heat_map_shows_its_numbers_and_why_there_are_none():
    matrix = [[Interval(0.9123, 0.9, 0.95), "labels differ"], [Interval(0.5, 0.4, 0.6), Interval(0.75, 0.7, 0.8)]]
    names = ["$x$ & <b>", "two"]
    figure = cross_figure({"a": matrix, "$m$": matrix}, names)
    for axis in figure.axes:
        assert [text.get_text() for text in axis.texts] == ["0.912", "labels\ndiffer", "0.500", "0.750"]
        assert [text.get_fontweight() for text in axis.texts if "." in text.get_text()] == ["bold", "normal", "bold"]
        assert [label.get_text() for label in axis.get_xticklabels()] == names
    assert "$x$" in figure_svg(figure)


def test_the_accuracies_are_coloured_by_verdict():
    data = named("one", n_test=100)
    right = {"good": np.arange(100) < 90, "bad": np.arange(100) < 40}
    measured = Measured({Place(name, "one", "one"): result(correct, data) for name, correct in right.items()})
    board = leaderboard(measured, data, list(right), 200)
    (axis,) = accuracy_figure({"one": board}, {name: name for name in right}).axes
    dots: list[Any] = list(axis.collections)[1::2]
    points = {float(dot.get_offsets()[0][0]): to_hex(dot.get_facecolor()[0]) for dot in dots}
    assert points == {0.9: PALETTE[0], 0.4: PALETTE[1]}


def test_a_curve_is_drawn_through_its_points():
    data = named("one")
    measured = Measured(
        {Place("a", "one", "one", share): result(np.arange(40) < 40 * share, data) for share in (1.0, 0.5)}
    )
    points = curves(measured, data, ["a"], 50)
    (axis,) = efficiency_figure({"one": points}, {"a": "a"}).axes
    x, y = axis.lines[0].get_data()
    assert (list(x), list(y)) == ([30, 60], [0.5, 1.0])


def test_short_names_stay_apart():
    models = ["tfidf", "finetune:/a/bert", "frozen:/a/bert", "finetune:google/bert"]
    assert list(short_names(models).values()) == ["tfidf", "finetune:/a/bert", "frozen:bert", "finetune:google/bert"]
    assert percent(0.125) == "12.5 %"
