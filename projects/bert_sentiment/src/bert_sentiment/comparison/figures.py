"""The figures of a comparison, in the report's style. Names come from the user: they are shown as they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from bert_sentiment.comparison.scores import CurvePoint, Entry
from roadmap_shared.metrics import Interval
from roadmap_shared.report import INK, PALETTE, figure_style

_MARKERS = "osD^vP*X"
_LINES = ("-", "--", ":", "-.")
_FLOOR = "majority"
"""The model that learns nothing of the texts: a thin line, not one curve among others."""


def style_of(index: int) -> tuple[str, str, str]:
    """Colour, marker and line of a model: colour alone would not do for more than five, or for every reader."""
    return PALETTE[index % len(PALETTE)], _MARKERS[index % len(_MARKERS)], _LINES[index // len(PALETTE) % len(_LINES)]


@figure_style()
def accuracy_figure(boards: Mapping[str, Sequence[Entry]], names: Mapping[str, str]) -> Figure:
    """Accuracy of every model with its interval, one panel a data set.

    What to see: blue is the best and what cannot be told apart from it; orange is worse. The intervals are those of
    each model alone: two that overlap may still be told apart, because the same texts are hard for both.

    Args:
        boards: by data set, its models.
        names: what each model is called.
    """
    models = list(names)
    figure = Figure(figsize=(1.6 + 2.0 * _columns(len(boards)), _rows(boards) * (0.9 + 0.28 * len(models))))
    axes = _panels(figure, len(boards))
    lows, highs = zip(
        *((e.scores.accuracy.low, e.scores.accuracy.high) for es in boards.values() for e in es), strict=True
    )
    ends = (max(0, min(lows) - 0.03), min(1.02, max(highs) + 0.03))
    for axis, (data, entries) in zip(axes, boards.items(), strict=True):
        for entry in entries:
            row, color = models.index(entry.model), PALETTE[1 if entry.verdict == "worse" else 0]
            interval = entry.scores.accuracy
            axis.hlines(row, interval.low, interval.high, colors=color, linewidth=2)
            axis.scatter([interval.estimate], [row], color=color, s=34, zorder=3)
        axis.set(xlabel="accuracy", xlim=ends, ylim=(len(models) - 0.5, -0.5))
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.set_title(data, parse_math=False)
        axis.set_yticks(range(len(models)), list(names.values()))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x")
        axis.grid(False, axis="y")
        _verbatim(axis)
    return figure


@figure_style()
def cross_figure(matrices: Mapping[str, Sequence[Sequence[Interval | str]]], data_sets: Sequence[str]) -> Figure:
    """Accuracy by the data set trained on (down) and tested on (across), one panel a model.

    What to see: the diagonal (bold) is training and testing on the same data set. A column that is pale off the
    diagonal needs training texts of its own; a row that is dark throughout is a data set worth training on.

    Args:
        matrices: by the model's name, its cells: an accuracy, or why there is none.
        data_sets: their names.
    """
    size, shown = len(data_sets), _columns(len(matrices))
    cell = 0.86 if size <= 4 else 0.7
    height = _rows(matrices) * (0.55 * size + 0.75) + 0.3
    figure = Figure(figsize=(max(3.6, 1.0 + shown * (cell * size + 0.25)), height))
    axes = _panels(figure, len(matrices))
    low, high = _ends(matrices)
    for axis, (name, matrix) in zip(axes, matrices.items(), strict=True):
        values = [[cell.estimate if isinstance(cell, Interval) else np.nan for cell in row] for row in matrix]
        axis.imshow(np.array(values), vmin=low, vmax=high, aspect="auto")
        for (row, column), _ in np.ndenumerate(np.array(values)):
            _write_cell(axis, row, column, matrix[row][column])
        axis.set_title(name, parse_math=False)
        axis.set_xticks(range(size), data_sets, rotation=30 if size > 4 else 0)
        axis.set_yticks(range(size), data_sets)
        axis.grid(False)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        _verbatim(axis)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(h_pad=0.12)  # inches: a panel's title must not seem to belong to the labels above it
    figure.supylabel("trained on", fontsize=9.5)
    figure.supxlabel("tested on", fontsize=9.5)
    return figure


def _write_cell(axis: Axes, row: int, column: int, cell: Interval | str) -> None:
    if isinstance(cell, Interval):
        weight = "bold" if row == column else "normal"
        axis.text(column, row, f"{cell.estimate:.3f}", ha="center", va="center", fontweight=weight)
    else:
        axis.text(column, row, cell.replace(" ", "\n"), ha="center", va="center", fontsize=7.5, alpha=0.75)


def _ends(matrices: Mapping[str, Sequence[Sequence[Interval | str]]]) -> tuple[float, float]:
    """Ends of the colours, the same in all panels: from a little below the lowest accuracy to the highest."""
    values = [
        cell.estimate for matrix in matrices.values() for row in matrix for cell in row if isinstance(cell, Interval)
    ]
    low, high = min(values, default=0.0), max(values, default=1.0)
    return low - 0.15 * max(high - low, 0.01), high


@figure_style()
def efficiency_figure(curves: Mapping[str, Mapping[str, Sequence[CurvePoint]]], names: Mapping[str, str]) -> Figure:
    """Accuracy by the number of training texts, one panel a data set, one line a model.

    What to see: how far to the left a line reaches a given height is what the model saves in labels. Lines whose
    whiskers overlap widely cannot be told apart at that point; one that is flat at its end gains little from more
    texts of the same kind.

    Args:
        curves: by data set, the points of each model.
        names: what each model is called.
    """
    figure = Figure(figsize=(1.0 + 2.25 * max(2, _columns(len(curves))), _rows(curves) * 2.7 + 0.25 * len(names)))
    axes = _panels(figure, len(curves))
    for axis, (data, of_models) in zip(axes, curves.items(), strict=True):
        for index, model in enumerate(names):
            if model in of_models:
                _draw_curve(axis, of_models[model], model, index, len(names))
        sizes = sorted({point.n_texts for points in of_models.values() for point in points})
        axis.set_xscale("log")
        axis.xaxis.set(major_locator=FixedLocator(sizes), minor_locator=NullLocator())
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.set_title(data, parse_math=False)
        axis.set_xlabel("training texts (logarithmic)")
    for axis in axes[:: _columns(len(axes))]:
        axis.set_ylabel("accuracy")
    looks = [(_look(model, index), name) for index, (model, name) in enumerate(names.items())]
    lines = [axes[0].plot([], [], **look, label=name)[0] for look, name in looks]
    legend = figure.legend(handles=lines, loc="outside lower left", ncols=2 if len(names) > 3 else len(names))
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _draw_curve(axis: Axes, points: Sequence[CurvePoint], model: str, index: int, n_models: int) -> None:
    """A line with whiskers; models stand a little beside each other, so that their whiskers do not hide one another."""
    shift = 1 + 0.03 * (index - (n_models - 1) / 2)
    x = [point.n_texts * shift for point in points]
    estimates = np.array([point.accuracy.estimate for point in points])
    ends = np.array([(point.accuracy.low, point.accuracy.high) for point in points]).T
    if model != _FLOOR:
        axis.vlines(x, *ends, colors=style_of(index)[0], linewidth=1, alpha=0.55)
    axis.plot(x, estimates, **_look(model, index))


def _look(model: str, index: int) -> dict[str, Any]:
    if model == _FLOOR:
        return {"color": INK, "linestyle": "--", "linewidth": 0.8, "alpha": 0.6}
    color, marker, line = style_of(index)
    return {"color": color, "marker": marker, "linestyle": line, "markersize": 4.5, "linewidth": 1.5}


def _rows(panels: Mapping[str, object]) -> int:
    return -(-len(panels) // _columns(len(panels)))


def _columns(number: int) -> int:
    """Panels beside each other: three at most, and four of them as two by two."""
    return 2 if number == 4 else min(number, 3)


def _panels(figure: Figure, number: int) -> list[Axes]:
    """So many panels in rows; those that the last row does not need are taken away."""
    columns = _columns(number)
    grid = figure.subplots(-(-number // columns), columns, squeeze=False, sharey=True).ravel().tolist()
    for axis in grid[number:]:
        axis.remove()
    return grid[:number]


def _verbatim(axis: Axes) -> None:
    """Keeps matplotlib from reading `$` in the user's words as mathematics."""
    for text in [*axis.get_xticklabels(), *axis.get_yticklabels()]:
        text.set_parse_math(False)
