"""The figures of pruning. Each function draws one, in the report's style, and says what to look for in it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from model_optimization.pruning.importance import Importance
from model_optimization.pruning.layer_pruning import LayerRemoval
from model_optimization.pruning.pruning_study import CutPoint
from roadmap_shared.report import INK, PALETTE, figure_style


@figure_style()
def importance_figure(rated: Importance) -> Figure:
    """Taylor importance of each head, and of each layer's neurons from the most important one on.

    What to see: on the left, the few dark heads are what the task needs, and pale ones can go. On the right, a curve
    that drops steeply has a handful of neurons that matter and many that do not.
    """
    figure = Figure(figsize=(7.6, 0.28 * len(rated.heads) + 1.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    grid = np.full((len(rated.heads), max(map(len, rated.heads))), np.nan)
    for number, scores in enumerate(rated.heads):
        grid[number, : len(scores)] = scores
    image = left.imshow(grid, vmin=0, aspect="auto")
    figure.colorbar(image, ax=left, shrink=0.8)
    left.grid(False)
    left.set(title="heads", xlabel="head", ylabel="layer")
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    shades = np.linspace(0.25, 1, len(rated.neurons))
    for number, (scores, shade) in enumerate(zip(rated.neurons, shades, strict=True)):
        # A logarithm has no place for a neuron that is worth exactly nothing.
        ordered = np.maximum(np.sort(scores)[::-1], np.finfo(np.float32).tiny)
        right.plot(np.arange(1, len(scores) + 1) / len(scores), ordered, color=PALETTE[0], alpha=shade, label=number)
    right.set(title="neurons, best first", xlabel="share of the layer's neurons", yscale="log")
    right.set_ylim(bottom=max(map(max, rated.neurons)) * 1e-5)
    right.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    right.legend(title="layer", ncols=2)
    return figure


@figure_style()
def cut_curve_figure(points: Sequence[CutPoint]) -> Figure:
    """Accuracy against the share of heads and of neurons that is masked, without training in between.

    What to see: how far the blue curve stays level is what can be cut at no cost. It should lie above the orange one,
    for which the units were drawn by chance; where the 95 % bands overlap, importance tells no more than chance does.
    """
    figure = Figure(figsize=(7.6, 3.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, unit in zip(panels, ("heads", "neurons"), strict=True):
        for order, color in (("importance", PALETTE[0]), ("chance", PALETTE[1])):
            chosen = sorted((p for p in points if (p.unit, p.order) == (unit, order)), key=lambda p: p.share_cut)
            shares = [point.share_cut for point in chosen]
            axes.plot(shares, [point.accuracy.estimate for point in chosen], color=color, marker="o", label=order)
            low, high = [point.accuracy.low for point in chosen], [point.accuracy.high for point in chosen]
            axes.fill_between(shares, low, high, color=color, alpha=0.15, linewidth=0)
        axes.set(title=unit, xlabel="share cut")
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    panels[0].set_ylabel("accuracy")
    panels[0].legend(title="cut first by")
    return figure


@figure_style()
def layer_figure(tried: Sequence[LayerRemoval]) -> Figure:
    """Validation loss without each single layer, the others in place.

    What to see: the shortest bar is the layer that the network misses least. The last layers are often among them, and
    the first hardly ever.
    """
    first = [removal for removal in tried if not removal.without]
    figure = Figure(figsize=(7.2, 0.27 * len(first) + 0.9), layout="constrained")
    axes = figure.subplots()
    best = min(first, key=lambda removal: removal.loss)
    colors = [PALETTE[1] if removal is best else PALETTE[0] for removal in first]
    axes.barh([removal.layer for removal in first], [removal.loss for removal in first], color=colors, edgecolor=INK)
    axes.set(xlabel="mean loss without the layer (nats)", ylabel="layer", yticks=[removal.layer for removal in first])
    axes.invert_yaxis()
    axes.grid(axis="x")
    return figure
