"""The quality-diversity frontier as a figure."""

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from roadmap_shared.report import INK, PALETTE, figure_style
from text_generation.decoding.point_labels import PointLabel, label_points
from text_generation.decoding.strategies import StrategyResult

_MARKED_COLOR = PALETTE[2]


@figure_style()
def frontier_figure(curves: Mapping[str, Sequence[StrategyResult]], marked: Sequence[StrategyResult] = ()) -> Figure:
    """Quality against diversity as one setting is turned, with the strategies to compare as single dots.

    What to see: up and right is better, and nothing is both: a flatter distribution buys variety with improbable
    words. A curve above another gives better texts at the same variety. A dot below the curves is dominated: some
    temperature or p is at least as varied and better. Probability is the model's own opinion, which a repetitive text
    flatters; with a checker, the lower panel shows what was asked for instead.

    Args:
        curves: results of `sweep` by what is varied, each result named by its value.
        marked: results to compare with them, as dots with names. Such without a share in chance have no
            diversity and lie at the left edge. Values of a curve for which there is no room are left out.
    """
    results = [result for curve in curves.values() for result in curve] + list(marked)
    panels: list[tuple[str, Callable[[StrategyResult], float]]] = [
        ("mean log-probability per token (nats)", lambda result: result.logprob_per_token)
    ]
    if any(not math.isnan(result.checked) for result in results):
        panels.append(("share that does what was asked", lambda result: result.checked))
    figure = Figure(figsize=(7.2, 3.9 * len(panels)))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    labels_of: list[tuple[Axes, list[PointLabel]]] = []
    for axis, (title, quality) in zip(axes, panels, strict=True):
        labels: list[PointLabel] = []
        for color, (varied, curve) in zip(PALETTE, curves.items(), strict=False):
            labels += _draw_curve(axis, varied, curve, quality, color)
        labels += _draw_marked(axis, marked, quality)
        axis.set_ylabel(title)
        axis.grid(True, axis="both")
        axis.margins(x=0.09, y=0.1)
        labels_of.append((axis, labels))
    axes[-1].set_xlabel("diversity (1 − self-BLEU of a prompt's samples)")
    axes[0].legend(loc="best")
    for axis, labels in labels_of:
        label_points(axis, labels)
    return figure


def _draw_curve(
    axis: Axes,
    varied: str,
    curve: Sequence[StrategyResult],
    quality: Callable[[StrategyResult], float],
    color: str,
) -> list[PointLabel]:
    """The line; returns the values to write at its dots, both ends first."""
    x, y = [1 - result.self_bleu for result in curve], [quality(result) for result in curve]
    axis.plot(x, y, color=color, marker="o", markersize=4, label=varied)
    places = [
        PointLabel(result.name, at, value, color)
        for result, at, value in zip(curve, x, y, strict=True)
        if math.isfinite(at) and math.isfinite(value)
    ]
    return [*places[:1], *places[-1:], *places[1:-1]] if len(places) > 1 else places


def _draw_marked(
    axis: Axes, marked: Sequence[StrategyResult], quality: Callable[[StrategyResult], float]
) -> list[PointLabel]:
    """The dots; returns their names."""
    labels = [
        PointLabel(result.name.replace("_", " "), 1 - result.self_bleu, quality(result), INK, 8.5, needed=True)
        for result in marked
    ]
    labels = [label for label in labels if math.isfinite(label.x) and math.isfinite(label.y)]
    for label in labels:
        axis.plot([label.x], [label.y], marker="D", markersize=5, color=_MARKED_COLOR, linestyle="")
    return labels
