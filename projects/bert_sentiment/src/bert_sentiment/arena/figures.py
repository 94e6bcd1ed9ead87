"""The arena's figure."""

from collections.abc import Iterator, Sequence
from math import log10

from matplotlib.figure import Figure

from bert_sentiment.arena.standings import Standing
from roadmap_shared.report import INK, PALETTE, figure_style


@figure_style()
def accuracy_by_share_figure(ranked: Sequence[Standing]) -> Figure:
    """Accuracy of each method against the share of the network that it trains, with intervals over texts.

    What to see: how far to the left one can go before the accuracy falls. Orange methods are worse than the best one,
    measured on the same texts; blue ones cannot be told from it, even where their dots lie apart.
    """
    figure = Figure(figsize=(7.2, 4.2))
    axis = figure.subplots()
    for standing in ranked:
        color = PALETTE[1] if standing.is_told_apart else PALETTE[0]
        interval, x = standing.accuracy, 100 * standing.share
        axis.vlines(x, interval.low, interval.high, color=color, linewidth=1.6, alpha=0.65)
        axis.scatter([x], [interval.estimate], color=color, s=36, zorder=3)
    for standing, x_offset, y in name_places(ranked):
        axis.annotate(
            standing.method,
            (100 * standing.share, y),
            xytext=(x_offset, 0),
            textcoords="offset points",
            ha="left" if x_offset > 0 else "right",
            va="center",
            fontsize=8.5,
            color=INK,
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axis.margins(x=0.12, y=0.06)
    axis.set(xlabel="share of the network that is trained (logarithmic)", ylabel="test accuracy, 95 % interval")
    return figure


def name_places(ranked: Sequence[Standing]) -> Iterator[tuple[Standing, int, float]]:
    """Where each method's name stands: beside its dot, offset in points, at this accuracy.

    Of methods that are close on the axis, the smaller half is named on the left, the larger on the right, and names on
    one side are pushed apart upwards.
    """
    lowest, highest = min(s.accuracy.low for s in ranked), max(s.accuracy.high for s in ranked)
    gap = 0.05 * (highest - lowest)
    clusters: list[list[Standing]] = []
    for standing in sorted(ranked, key=lambda standing: (standing.share, standing.method)):
        if clusters and log10(standing.share / clusters[-1][-1].share) < 0.3:
            clusters[-1].append(standing)
        else:
            clusters.append([standing])
    for cluster in clusters:
        half = len(cluster) // 2
        for side, names in ((-7, cluster[:half]), (7, cluster[half:])):
            y = -1.0
            for standing in sorted(names, key=lambda standing: standing.accuracy.estimate):
                y = max(standing.accuracy.estimate, y + gap)
                yield standing, side, y
