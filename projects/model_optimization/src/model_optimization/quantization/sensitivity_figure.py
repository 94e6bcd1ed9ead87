"""The sensitivity map as a figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from model_optimization.quantization.sensitivity import LayerSensitivity
from roadmap_shared.report.figures import INK, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CAP = 80.0  # dB: beyond that the difference is fp32's own rounding


def sensitivity_figure(rows: Sequence[LayerSensitivity], *, title: str) -> "Figure":
    """Layers from top to bottom, parts from left to right; in each cell the SQNR in dB, and below it the flips.

    The colour grows with the noise: by how many dB a cell lies below the best one. Matrices outside of layers, and
    parts of all layers, stand in a row of their own.

    Args:
        rows: of one sensitivity map, one or more.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    parts = list(dict.fromkeys(row.part for row in rows))
    layers = sorted({row.layer for row in rows}, key=lambda layer: (layer is None, layer or 0))
    values = np.array([min(row.sqnr_db, _CAP) for row in rows])
    noise = np.full((len(layers), len(parts)), np.nan)
    for row, value in zip(rows, values, strict=True):
        noise[layers.index(row.layer), parts.index(row.part)] = values.max() - value
    with figure_style():
        figure = Figure(figsize=(max(3.6, 1.3 + 0.95 * len(parts)), 1.3 + 0.46 * len(layers)))
        axes = figure.subplots()
        image = axes.imshow(noise, vmin=0, vmax=max(float(np.nanmax(noise)), 1.0), aspect="auto")
        axes.grid(False)
        axes.set_xticks(range(len(parts)), [part.replace("_", "\n") for part in parts])
        axes.set_yticks(range(len(layers)), ["no layer" if layer is None else f"layer {layer}" for layer in layers])
        axes.set_title(title)
        _annotate(axes, rows, layers, parts)
        figure.colorbar(image, ax=axes, label="dB below the best cell")
    return figure


def _annotate(
    axes: "Axes", rows: Sequence[LayerSensitivity], layers: Sequence[int | None], parts: Sequence[str]
) -> None:
    for row in rows:
        sqnr = "∞" if np.isinf(row.sqnr_db) else f"{row.sqnr_db:.0f} dB"
        flips = f"{row.flips} flip{'' if row.flips == 1 else 's'}"
        place = (parts.index(row.part), layers.index(row.layer))
        axes.text(*place, f"{sqnr}\n{flips}", ha="center", va="center", fontsize=7.5, color=INK)
