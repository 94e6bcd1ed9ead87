"""The figures of a comparison, in the report's style. Names come from the user: they are shown as they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from model_optimization.benchmarking.peaks import Peaks
from model_optimization.benchmarking.roofline import Explained
from model_optimization.benchmarking.speed import Speed
from roadmap_shared.metrics import Interval
from roadmap_shared.report import INK, PALETTE, figure_style

_MARKERS = "osD^vP*X<>"
_LABEL_GAP = 0.062  # of the panel's height, between two labels


@dataclass(frozen=True, kw_only=True)
class ParetoRow:
    """One variant: what it costs and how good it is."""

    name: str
    size_mb: float
    latency_ms: float
    accuracy: Interval
    """Between 0 and 1."""


@figure_style()
def pareto_figure(rows: Sequence[ParetoRow], *, latency_label: str = "latency, ms (batch 1, median)") -> Figure:
    """Accuracy with its interval against size and against latency, the first row being the original.

    What to see: the line joins the variants that no other one beats in both; further left and higher is better. A
    variant below the line costs as much as one on it, and is worse.

    Args:
        rows: the original first.
        latency_label: says what was measured.
    """
    figure = Figure(figsize=(7.2, 2 * max(3.0, 0.9 + 0.21 * len(rows))))
    above, below = figure.subplots(2, 1)
    _pareto_panel(above, rows, [row.size_mb for row in rows], "size of the weights, MB")
    _pareto_panel(below, rows, [row.latency_ms for row in rows], latency_label)
    return figure


@figure_style()
def latency_figure(speeds: Sequence[Speed]) -> Figure:
    """Median latency of a batch, and up to which the slowest twentieth goes, one panel a batch size.

    What to see: a short line behind the dot is a steady variant; the number is how many times as fast as the first it
    is, orange where the interval does not exclude that it is not faster.
    """
    batches = list(speeds[0].latency)
    figure = Figure(figsize=(1.8 + 2.9 * len(batches), 0.9 + 0.3 * len(speeds)))
    panels = np.atleast_1d(figure.subplots(1, len(batches), sharey=True))
    for axes, batch in zip(panels, batches, strict=True):
        most = max(speed.latency[batch].p95_ms for speed in speeds)
        for place, speed in enumerate(speeds):
            row = speed.latency[batch]
            slower = place > 0 and (row.speedup is None or row.speedup.low <= 1)
            color = PALETTE[1 if slower else 0]
            axes.hlines(place, row.p50_ms, row.p95_ms, colors=color, linewidth=2)
            axes.scatter([row.p50_ms], [place], color=color, s=32, zorder=3)
            if place and row.speedup:
                axes.text(row.p95_ms + 0.02 * most, place, f"{row.speedup.estimate:.2f} x", va="center", fontsize=8)
        axes.set(xlabel="milliseconds a batch", xlim=(0, 1.22 * most), ylim=(len(speeds) - 0.5, -0.5))
        axes.set_title(f"{batch} x {speeds[0].tokens} tokens")
        axes.set_yticks(range(len(speeds)), [speed.name for speed in speeds], parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.grid(False, axis="y")
    return figure


@figure_style()
def roofline_figure(explained: Sequence[Explained], peaks: Peaks) -> Figure:
    """What the machine allows (lines) and what each variant reached (marks), by operations a byte.

    What to see: on the slope a variant waits for memory, on the flat for arithmetic. Hollow marks are the smallest
    batch, filled ones larger batches. A mark above a line keeps its intermediate results in the cache.
    """
    names = list(dict.fromkeys(one.name for one in explained))
    least = min(one.batch for one in explained)
    figure = Figure(figsize=(7.2, 3.9))
    axes = figure.subplots()
    spots = [(one.prediction.intensity, _gflops(one)) for one in explained]
    low, high = min(spot[0] for spot in spots) / 3, max(spot[0] for spot in spots) * 3
    intensity = np.geomspace(low, max(high, 2 * peaks.int8_gflops / peaks.gigabytes_per_second), 100)
    for gflops, label, color, style in (
        (peaks.fp32_gflops, "floats", INK, "-"),
        (peaks.int8_gflops, "bytes", INK, "--"),
    ):
        roof = np.minimum(gflops, intensity * peaks.gigabytes_per_second)
        axes.plot(intensity, roof, color=color, linestyle=style, linewidth=1.2)
        axes.annotate(
            f"{label}: {gflops:.0f} GFLOP/s", (intensity[-1], gflops), (0, 4), textcoords="offset points", ha="right"
        )
    for one, spot in zip(explained, spots, strict=True):
        index = names.index(one.name)
        color = PALETTE[index % len(PALETTE)]
        face = "none" if one.batch == least else color
        label = one.name if one.batch == least else None
        axes.plot(*spot, _MARKERS[index % len(_MARKERS)], color=color, markerfacecolor=face, markersize=7, label=label)
    axes.set(xscale="log", yscale="log", xlabel="operations for each byte moved", ylabel="GFLOP/s")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    legend = figure.legend(loc="outside right upper")
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def frontier(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Places of the items that none beats: no other costs less and scores at least as much, or costs as much and
    scores more. Ascending by cost; of equal items the first."""
    best, found = -np.inf, []
    for place in sorted(range(len(costs)), key=lambda place: (costs[place], -scores[place], place)):
        if scores[place] > best:
            best = scores[place]
            found.append(place)
    return found


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places moved apart to `gap` or more, in their order, between `low` and `high`, each near where it was.

    Where they need more room than there is, the gap shrinks.
    """
    if len(places) > 1:
        gap = min(gap, (high - low) / (len(places) - 1))
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    floor = low
    for index in order:
        moved[index] = floor = max(places[index], floor)
        floor += gap
    ceiling = high
    for index in reversed(order):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved


def _pareto_panel(axes: Axes, rows: Sequence[ParetoRow], costs: Sequence[float], label: str) -> None:
    scores = [row.accuracy.estimate for row in rows]
    best = frontier(costs, scores)
    for place, row in enumerate(rows):
        color = PALETTE[1] if place == 0 else PALETTE[0] if place in best else INK
        axes.vlines(costs[place], row.accuracy.low, row.accuracy.high, colors=color, linewidth=1, alpha=0.55)
        axes.plot(
            costs[place],
            scores[place],
            "D" if place == 0 else "o",
            color=color,
            markersize=5.5,
            zorder=3 + (place == 0),
        )
    steps = [costs[place] for place in best], [scores[place] for place in best]
    axes.step(*steps, where="post", color=PALETTE[0], linewidth=1.2, alpha=0.7)
    axes.set(xlabel=label, ylabel="accuracy", xscale="log")
    low, high = min(costs) / 1.12, max(costs) * 1.12
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    _labels_at_the_side(axes, [row.name for row in rows], list(zip(costs, scores, strict=True)))


def _labels_at_the_side(axes: Axes, names: Sequence[str], spots: Sequence[tuple[float, float]]) -> None:
    """Name each point in a column beside the panel, with a thin line to it: names of points that lie together cannot
    overlap there."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    heights = [(score - bottom) / (top - bottom) for _, score in spots]
    for name, spot, height in zip(names, spots, spread(heights, _LABEL_GAP, 0.0, 1.0), strict=True):
        axes.annotate(
            name,
            spot,
            (1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),  # from the left end of the name
                "color": INK,
                "alpha": 0.25,
                "linewidth": 0.6,
                "shrinkB": 3,
            },
        )


def _gflops(one: Explained) -> float:
    return (one.prediction.flops_fp32 + one.prediction.flops_int8) / one.measured_seconds / 1e9
