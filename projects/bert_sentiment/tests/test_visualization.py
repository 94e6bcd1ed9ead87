"""The figures show the numbers that they are given, whatever the labels are called."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from bert_sentiment.evaluation.visualization import (
    confidence_figure,
    confusion_figure,
    learning_curve_figure,
    length_figure,
    reliability_figure,
    roc_pr_figure,
    slices_figure,
)
from roadmap_shared.metrics import Interval, average_precision, reliability_bins, roc_auc
from roadmap_shared.report import INK, PALETTE, figure_png, figure_svg

LABELS = {
    2: ["negative", "positive"],
    3: ["negative", "neutral", "positive"],
    5: ["very negative, would not recommend", "$x$ & <b>", "_neutral", "somewhat positive", "正面"],
}


def predictions(n_labels: int, n_texts: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(n_labels)
    targets = generator.integers(n_labels, size=n_texts)
    logits = generator.normal(size=(n_texts, n_labels)) + 2 * np.eye(n_labels)[targets]
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True), targets


HISTORY = [{"step": step, "loss": 1 / step, "learning_rate": 1e-5 * (1 - step / 12)} for step in range(1, 13)] + [
    {"step": 6, "val_loss": 0.4, "val_accuracy": 0.7, "val_macro_f1": 0.6},
    {"step": 12, "val_loss": 0.3, "val_accuracy": 0.8, "val_macro_f1": 0.75},
]
SLICES = {
    "irony": (Interval(0.55, 0.40, 0.69), 40),
    "films, all of them, with a name that is too long for one line": (Interval(0.9, 0.85, 0.94), 1200),
    "negation": (Interval(0.75, 0.65, 0.84), 90),
    "$5": (Interval(1.0, 1.0, 1.0), 3),
}


def axes_of(figure: Figure) -> list[Any]:
    """The figure's axes; their artists' exact kinds are known to the tests, not to a type checker."""
    return list(figure.axes)


def tick_texts(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def legend_texts(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def xy(line) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]


def lines_by_label(axes) -> dict:
    return {line.get_label(): line for line in axes.get_lines()}


@pytest.mark.parametrize("n_labels", LABELS)
def test_confusion_shows_every_count_with_its_share_of_the_row(n_labels: int) -> None:
    matrix = np.arange(n_labels**2).reshape(n_labels, n_labels) * 100
    axes = axes_of(confusion_figure(matrix, LABELS[n_labels]))[0]
    cells = {(round(text.get_position()[1]), round(text.get_position()[0])): text for text in axes.texts}
    assert len(cells) == n_labels**2
    for (row, column), text in cells.items():
        count, share = text.get_text().split("\n")
        assert count == f"{matrix[row, column]:,}"
        assert share == f"{matrix[row, column] / matrix[row].sum():.0%}".replace("%", " %")
        assert (text.get_fontweight() == "bold") == (row == column)
    np.testing.assert_allclose(axes.images[0].get_array(), matrix / matrix.sum(axis=1, keepdims=True))
    assert [text.replace("\n", " ") for text in tick_texts(axes.xaxis)] == LABELS[n_labels]
    assert [text.rsplit("\n", 1)[1] for text in tick_texts(axes.yaxis)] == [f"{n:,} texts" for n in matrix.sum(axis=1)]


def test_confusion_of_a_label_without_texts_and_of_shares_that_round_to_none_and_all() -> None:
    axes = axes_of(confusion_figure([[199, 1], [0, 0]], ["good", "bad"]))[0]
    assert [text.get_text() for text in axes.texts] == ["199\n>99 %", "1\n<1 %", "0\n–", "0\n–"]


@pytest.mark.parametrize("n_labels", LABELS)
def test_confusion_names_do_not_touch(n_labels: int) -> None:
    figure = confusion_figure(np.eye(n_labels, dtype=int), LABELS[n_labels])
    figure_svg(figure)  # lays it out
    (axes,) = axes_of(figure)
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert axes.yaxis.get_tightbbox().x0 >= 0


@pytest.mark.parametrize("n_labels", LABELS)
def test_curves_are_named_with_their_areas(n_labels: int) -> None:
    probabilities, targets = predictions(n_labels)
    left, right = axes_of(roc_pr_figure(probabilities, targets, LABELS[n_labels]))
    for axes, area in ((left, roc_auc), (right, average_precision)):
        assert [text.replace("\n", " ") for text in legend_texts(axes)] == [
            f"{area(probabilities[:, c], targets == c):.3f}  {label}" for c, label in enumerate(LABELS[n_labels])
        ]
    curves = [line for line in left.get_lines() if line.get_linestyle() == "-"]
    for c, curve in enumerate(curves):
        assert (xy(curve)[0], xy(curve)[-1]) == ((0, 0), (1, 1))
        assert np.trapezoid(curve.get_ydata(), curve.get_xdata()) == pytest.approx(
            roc_auc(probabilities[:, c], targets == c)
        )
    chance = [line.get_ydata()[0] for line in right.get_lines() if line.get_linestyle() == ":"]
    assert chance == pytest.approx(np.bincount(targets) / len(targets))


def test_label_that_no_text_has_is_named_without_a_curve() -> None:
    probabilities, targets = predictions(3)
    targets = np.minimum(targets, 1)
    for axes in axes_of(roc_pr_figure(probabilities, targets, LABELS[3])):
        assert legend_texts(axes)[2] == "–  positive (0 of 200 texts)"
        assert len(lines_by_label(axes)["–  positive (0 of 200 texts)"].get_xdata()) == 0


def test_reliability_bars_are_the_bins() -> None:
    probabilities, targets = predictions(3)
    bins = [reliability_bins(probabilities, targets, n_bins) for n_bins in (10, 5)]
    axes = axes_of(reliability_figure(*bins))
    for top, bottom, expected, name in zip(axes[:2], axes[2:], bins, ("before", "after"), strict=True):
        filled = expected.counts > 0
        assert [bar.get_height() for bar in top.patches] == pytest.approx(expected.accuracy[filled])
        centres = [bar.get_x() + bar.get_width() / 2 for bar in top.patches]
        assert centres == pytest.approx(((expected.edges[:-1] + expected.edges[1:]) / 2)[filled])
        marks = [segment[0][1] for segment in top.collections[0].get_segments()]
        assert marks == pytest.approx(expected.confidence[filled])
        assert [bar.get_height() for bar in bottom.patches] == expected.counts.tolist()
        assert top.get_title(loc="left") == f"{name} calibration: error {expected.calibration_error:.3f}"


def test_confidence_counts_right_and_wrong_texts_and_ends_at_the_accuracy() -> None:
    probabilities, targets = predictions(3)
    right = probabilities.argmax(axis=1) == targets
    histogram, coverage = axes_of(confidence_figure(probabilities, targets))
    heights = [sum(bar.get_height() for bar in bars) for bars in histogram.containers]
    assert heights == [right.sum(), (~right).sum()]
    assert legend_texts(histogram) == [f"right ({right.sum()})", f"wrong ({(~right).sum()})"]
    curve = xy(coverage.get_lines()[0])
    order = np.argsort(-probabilities.max(axis=1))
    assert curve[49] == pytest.approx((0.25, right[order[:50]].mean()))
    assert curve[-1] == pytest.approx((1, right.mean()))


def test_texts_of_equal_confidence_are_answered_together() -> None:
    coverage = axes_of(confidence_figure([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4], [0.6, 0.4]], [0, 1, 0, 0]))[1]
    assert xy(coverage.get_lines()[0]) == [(0.25, 1.0), (1.0, 0.75)]


def test_slices_are_sorted_and_the_hard_ones_stand_out() -> None:
    axes = axes_of(slices_figure(SLICES, 0.82))[0]
    assert tick_texts(axes.yaxis) == [
        "irony  (40)",
        "negation  (90)",
        "films, all of them, with a name\nthat is too long for one line  (1,200)",
        "$5  (3)",
    ]
    whiskers, dots = axes.collections
    assert [(s[0][0], s[1][0], s[0][1]) for s in whiskers.get_segments()] == [
        (0.40, 0.69, 0),
        (0.65, 0.84, 1),
        (0.85, 0.94, 2),
        (1.0, 1.0, 3),
    ]
    assert np.asarray(dots.get_offsets()).tolist() == [[0.55, 0], [0.75, 1], [0.9, 2], [1.0, 3]]
    blue, orange = (tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)) for c in PALETTE[:2])
    colours = [tuple(colour[:3]) for colour in whiskers.get_colors()]
    assert colours == [orange, blue, blue, blue]  # the interval of negation reaches the average
    assert axes.get_lines()[0].get_xdata() == [0.82, 0.82]
    assert axes.get_xlabel() == "accuracy, 95 % interval (all texts: 0.820)"


def test_learning_curves_show_each_key_where_it_was_logged() -> None:
    losses, scores, rates = axes_of(learning_curve_figure(HISTORY, best_step=6))
    assert xy(lines_by_label(losses)["training"]) == [(step, 1 / step) for step in range(1, 13)]
    assert xy(lines_by_label(losses)["validation"]) == [(6, 0.4), (12, 0.3)]
    assert xy(lines_by_label(scores)["accuracy"]) == [(6, 0.7), (12, 0.8)]
    assert xy(lines_by_label(scores)["macro-F1"]) == [(6, 0.6), (12, 0.75)]
    assert xy(rates.get_lines()[0])[-1] == (12, 0)
    assert legend_texts(losses) == ["training", "validation", "checkpoint kept"]
    assert lines_by_label(losses)["checkpoint kept"].get_xdata() == [6, 6]


def test_long_training_curve_is_averaged_and_panels_without_values_are_left_out() -> None:
    history = [{"step": step, "loss": 1.0 + (-1) ** step} for step in range(1, 401)]  # 0, 2, 0, 2, …
    figure = learning_curve_figure(history)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss (nats)"]
    raw, averaged = axes_of(figure)[0].get_lines()
    assert raw.get_ydata().tolist() == [line["loss"] for line in history]
    assert averaged.get_ydata()[10:-10] == pytest.approx(1.0)  # 10 at a time: half of them 0, half 2
    assert averaged.get_ydata()[0] == pytest.approx(0.8)  # at the end the first 5 only: 0, 2, 0, 2, 0


def test_lengths_show_the_share_that_the_context_holds() -> None:
    lengths = {"train": [3, 5, 8, 8, 40], "test": [4, 128, 129, 2000]}
    axes = axes_of(length_figure(lengths, 128))[0]
    assert legend_texts(axes) == ["100 % of train (5 texts)", "50 % of test (4 texts)"]
    train = xy(lines_by_label(axes)["100 % of train (5 texts)"])
    assert dict(train) == pytest.approx({3: 0.2, 5: 0.4, 8: 0.8, 40: 1.0})
    assert tick_texts(axes.xaxis) == ["2", "4", "8", "16", "32", "64", "128", "256", "512", "1,024", "2,048"]
    assert axes.get_lines()[-1].get_xdata() == [128, 128]


def test_lengths_that_are_all_the_context() -> None:
    assert axes_of(length_figure({"train": [0, 3]}, 64))[0].get_xlim()[0] == 1  # a text without any token
    axes = axes_of(length_figure({"train": [64, 64]}, 64))[0]
    assert axes.get_xlim() == (64, 128)
    assert legend_texts(axes) == ["100 % of train (2 texts)"]


FIGURES: dict[str, Callable[[int], Figure]] = {
    "confusion": lambda n: confusion_figure(np.eye(n, dtype=int) * 7, LABELS[n]),
    "curves": lambda n: roc_pr_figure(*predictions(n), LABELS[n]),
    "reliability": lambda n: reliability_figure(
        reliability_bins(*predictions(n)), reliability_bins(*predictions(n), n_bins=5)
    ),
    "confidence": lambda n: confidence_figure(*predictions(n)),
    "slices": lambda n: slices_figure(dict(list(SLICES.items())[:n]), 0.8),
    "learning": lambda n: learning_curve_figure(HISTORY, best_step=6),
    "length": lambda n: length_figure({"$train$": range(1, 90 * n), "test": [5, 9]}, 64),
}


@pytest.mark.parametrize("n_labels", LABELS)
@pytest.mark.parametrize("name", FIGURES)
def test_saved_figure_has_the_reports_colours_and_the_names_as_they_are(name: str, n_labels: int) -> None:
    figure = FIGURES[name](n_labels)
    svg = figure_svg(figure)
    root = ElementTree.fromstring(svg)
    styles = " ".join(element.get("style", "") for element in root.iter())
    # No colour of matplotlib's own style: on a dark page black would not be seen.
    assert not {"#000000", "#1f77b4", "#ff7f0e", INK} & set(re.findall(r"#[0-9a-f]{6}", styles))
    texts = {"".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text")}
    if name == "confusion":
        assert {line for label in LABELS[n_labels] for line in label.split()} <= set(" ".join(texts).split())
    if name == "length":
        assert any("$train$" in text for text in texts)
    if n_labels == 3:  # a machine without a Chinese font could not draw the labels of 5
        png = figure_png(figure, dpi=50)
        assert png.startswith(b"\x89PNG")
        assert int.from_bytes(png[16:20]) == pytest.approx(50 * figure.get_figwidth(), abs=1)
