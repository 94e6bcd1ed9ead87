"""The quality-diversity frontier as a figure."""

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from roadmap_shared.report import INK, PALETTE, figure_style
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
            diversity and lie at the left edge.
    """
    results = [result for curve in curves.values() for result in curve] + list(marked)
    panels: list[tuple[str, Callable[[StrategyResult], float]]] = [
        ("mean log-probability per token (nats)", lambda result: result.logprob_per_token)
    ]
    if any(not math.isnan(result.checked) for result in results):
        panels.append(("share that does what was asked", lambda result: result.checked))
    figure = Figure(figsize=(7.2, 3.9 * len(panels)))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, quality) in zip(axes, panels, strict=True):
        for color, (varied, curve) in zip(PALETTE, curves.items(), strict=False):
            _draw_curve(axis, varied, curve, quality, color)
        _draw_marked(axis, marked, quality)
        axis.set_ylabel(title)
        axis.grid(True, axis="both")
        axis.margins(x=0.09, y=0.1)
    axes[-1].set_xlabel("diversity (1 − self-BLEU of a prompt's samples)")
    axes[0].legend(loc="best")
    return figure


def _draw_curve(
    axis: Axes,
    varied: str,
    curve: Sequence[StrategyResult],
    quality: Callable[[StrategyResult], float],
    color: str,
) -> None:
    x, y = [1 - result.self_bleu for result in curve], [quality(result) for result in curve]
    axis.plot(x, y, color=color, marker="o", markersize=4, label=varied)
    right = color == PALETTE[0]
    for result, at, value in zip(curve, x, y, strict=True):
        if math.isfinite(at) and math.isfinite(value):
            # The curves lie close together: one's values stand to the right of it, the other's to the left.
            offset, side = ((6, 2), "left") if right else ((-6, -7), "right")
            name = axis.annotate(
                result.name, (at, value), offset, textcoords="offset points", color=color, fontsize=8, ha=side
            )
            name.set_in_layout(False)  # dots far apart must not squeeze the panels


def _draw_marked(axis: Axes, marked: Sequence[StrategyResult], quality: Callable[[StrategyResult], float]) -> None:
    """The dots, each with its name beside it, joined by a thin line where names had to make room for each other."""
    dots = [(1 - result.self_bleu, quality(result), result.name.replace("_", " ")) for result in marked]
    dots = [dot for dot in dots if math.isfinite(dot[0]) and math.isfinite(dot[1])]
    low, high = axis.get_ylim()
    gap = 0.05 * (high - low)
    lowest_name = math.inf
    for x, y, name in sorted(dots, key=lambda dot: -dot[1]):
        axis.plot([x], [y], marker="D", markersize=5, color=_MARKED_COLOR, linestyle="")
        lowest_name = min(y, lowest_name - gap)
        # Names stand towards the empty middle: dots without diversity lie at the left edge, the others at the right.
        to_the_left = x > 0.5
        label = axis.annotate(
            name,
            (x, y),
            (x + (-0.09 if to_the_left else 0.03), lowest_name),
            ha="right" if to_the_left else "left",
            va="center",
            color=INK,
            fontsize=8.5,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.5, "alpha": 0.5, "shrinkA": 1, "shrinkB": 3},
        )
        label.set_in_layout(False)
