"""The figures of the reports. Each function draws one, in the report's style, and says what to look for in it.

Label names come from the user's data: they are shown as they are, never read as mathematics (`$`), long ones wrapped.
Colours are PALETTE's by value: matplotlib looks `C0` up when it saves, and the style has ended by then.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import ArrayLike

from roadmap_shared import metrics
from roadmap_shared.metrics import Interval, ReliabilityBins
from roadmap_shared.report import INK, PALETTE, figure_style

_REFERENCE: dict[str, Any] = {"color": INK, "linestyle": "--", "linewidth": 0.8, "alpha": 0.6}
_CURVES: tuple[tuple[str, float, dict[str, tuple[str, int]]], ...] = (
    ("loss (nats)", 4, {"loss": ("training", 0), "val_loss": ("validation", 1)}),
    ("validation score", 3, {"val_accuracy": ("accuracy", 1), "val_macro_f1": ("macro-F1", 2)}),
    ("learning rate", 1.5, {"learning_rate": ("learning rate", 3)}),
)
"""Panels of the learning curve: what it shows, height, and name and colour of each key's curve."""


@figure_style()
def confusion_figure(matrix: ArrayLike, labels: Sequence[str]) -> Figure:
    """Which labels are taken for which: true labels down, predicted ones across.

    What to see: the diagonal holds the texts labelled right (bold). Each cell shows its count and its share of the
    row, which also gives the colour, so that a rare label is judged like a frequent one: the share on the
    diagonal is that label's recall. A dark cell beside the diagonal is a confusion worth reading examples of.

    Args:
        matrix: counts, (n_labels, n_labels), rows the true labels: `metrics.confusion_matrix`.
        labels: name of each label.
    """
    counts = np.asarray(matrix)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    names = [_wrapped(label) for label in labels]
    longest = max(len(line) for name in names for line in name.splitlines())
    cell = max(1.05, 0.078 * longest + 0.1)  # inches: the names across must not touch
    figure = Figure(figsize=(cell * len(labels) + 0.078 * longest + 0.9, 0.62 * len(labels) + 1.0))
    axis = figure.subplots()
    axis.imshow(shares, vmin=0, vmax=1, aspect="auto")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    for row, column in np.ndindex(counts.shape):
        text = f"{counts[row, column]:,}\n{_percent(shares[row, column]) if totals[row, 0] else '–'}"
        weight = "bold" if row == column else "normal"
        axis.text(column, row, text, ha="center", va="center", fontweight=weight, linespacing=1.3)
    axis.set_xticks(range(len(labels)), names)
    axis.set_yticks(range(len(labels)), [f"{name}\n{n:,} texts" for name, n in zip(names, totals[:, 0], strict=True)])
    axis.tick_params(length=0)
    axis.set(xlabel="predicted", ylabel="true")
    _verbatim([*axis.get_xticklabels(), *axis.get_yticklabels()])
    return figure


@figure_style()
def roc_pr_figure(probabilities: ArrayLike, targets: ArrayLike, labels: Sequence[str]) -> Figure:
    """ROC and precision-recall curve of each label against all others.

    What to see: on the left, a curve that hugs the top left corner ranks the label's texts above the rest; the
    dashed diagonal is chance. On the right, how many of the texts found are right (precision) as more of the
    label's texts are found (recall); dotted, the label's share of the texts, which is what chance would reach. The
    right side tells more about rare labels.

    Args:
        probabilities: (n_texts, n_labels).
        targets: index of each text's label, (n_texts,).
        labels: name of each label. One that no text has, or every text, is named without a curve.
    """
    scores, true = np.asarray(probabilities), np.asarray(targets)
    figure = Figure(figsize=(7.6, 3.5 + 0.2 * len(labels)))
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], **_REFERENCE)
    for index, label in enumerate(labels):
        values, positive, color = scores[:, index], true == index, PALETTE[index % len(PALETTE)]
        name = _wrapped(label, 30)
        if not 0 < positive.sum() < len(true):
            for axis in (left, right):
                axis.plot([], [], color=color, label=f"–  {name} ({positive.sum():,} of {len(true):,} texts)")
            continue
        roc, curve = metrics.roc_curve(values, positive), metrics.precision_recall_curve(values, positive)
        areas = metrics.roc_auc(values, positive), metrics.average_precision(values, positive)
        roc_label, curve_label = (f"{area:.3f}  {name}" for area in areas)
        left.plot(roc.false_positive_rate, roc.true_positive_rate, color=color, label=roc_label)
        # As steps, which is how average precision counts the area.
        right.plot(curve.recall, curve.precision, color=color, drawstyle="steps-pre", label=curve_label)
        right.axhline(positive.mean(), color=color, linestyle=":", linewidth=1)
    left.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate (recall)")
    right.set(title="Precision and recall", xlabel="recall", ylabel="precision")
    for axis, title in ((left, "area under the curve"), (right, "average precision")):
        axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        legend = axis.legend(title=title, loc="upper left", bbox_to_anchor=(0, -0.16), alignment="left")
        _verbatim(legend.get_texts())
    return figure


@figure_style()
def reliability_figure(before: ReliabilityBins, after: ReliabilityBins) -> Figure:
    """Accuracy and mean confidence of each bin, before and after calibration, with the number of texts below.

    What to see: bars that end on the dashed diagonal mean what they say: of the texts labelled with 80 %, 80 % are
    right. A bar that ends below its mark is overconfident, the usual fault of fine-tuned models. The error in the
    title is the mean distance from bar to mark, weighed by the number of texts. An empty bin has no bar, and the
    bar of a few texts means little: look at the histogram.
    """
    figure = Figure(figsize=(7.2, 4.2))
    axes = figure.subplots(2, 2, height_ratios=(3, 1), sharex=True, sharey="row")
    for (top, bottom), name, bins in zip(axes.T, ("before", "after"), (before, after), strict=True):
        filled = bins.counts > 0
        centres, width = (bins.edges[:-1] + bins.edges[1:]) / 2, 0.92 / len(bins.counts)
        x, accuracy, confidence = centres[filled], bins.accuracy[filled], bins.confidence[filled]
        top.bar(x, accuracy, width, color=PALETTE[0], label="accuracy", linewidth=0)
        top.hlines(confidence, x - width / 2, x + width / 2, color=PALETTE[1], linewidth=2.5, label="mean confidence")
        top.plot([0, 1], [0, 1], **_REFERENCE)
        top.set_title(f"{name} calibration: error {bins.calibration_error:.3f}")
        bottom.bar(centres, bins.counts, width, color=INK, alpha=0.45, linewidth=0)
        bottom.set_xlabel("confidence")
    axes[0, 0].set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    axes[0, 0].legend(loc="upper left")
    axes[1, 0].set_ylabel("texts")
    axes[1, 0].yaxis.set_major_locator(MaxNLocator(3, integer=True))
    figure.align_ylabels()
    return figure


@figure_style()
def confidence_figure(probabilities: ArrayLike, targets: ArrayLike) -> Figure:
    """How sure the model is where it is right and where it is wrong, and what refusing unsure texts would buy.

    What to see: on the left, a good model's mistakes lie to the left; mistakes at the right end are the confident
    ones to read. On the right, the accuracy on the texts that are left when the least confident are handed to a person:
    the curve should rise as fewer texts are answered. It ends at the model's accuracy on all texts.

    Args:
        probabilities: (n_texts, n_labels).
        targets: index of each text's label, (n_texts,).
    """
    scores, true = np.asarray(probabilities), np.asarray(targets)
    # A softmax in single precision may exceed 1 by a rounding error, and fall out of the last bin.
    confidences, right = scores.max(axis=1).clip(max=1), scores.argmax(axis=1) == true
    figure = Figure(figsize=(7.6, 3.2))
    histogram, coverage = figure.subplots(1, 2)
    histogram.hist(
        [confidences[right], confidences[~right]],
        bins=np.linspace(0, 1, 21).tolist(),
        stacked=True,
        color=list(PALETTE[:2]),
        label=[f"right ({right.sum():,})", f"wrong ({(~right).sum():,})"],
        linewidth=0,
    )
    histogram.set(xlabel="confidence", ylabel="texts", xlim=(1 / scores.shape[1] - 0.05, 1))
    histogram.legend(loc="best")
    ranked = np.argsort(-confidences, kind="stable")
    answered = np.arange(1, len(true) + 1)
    # Texts of equal confidence are answered together: only the last of each group is a point.
    last = np.append(np.flatnonzero(np.diff(confidences[ranked])), len(true) - 1)
    coverage.plot((answered / len(true))[last], (np.cumsum(right[ranked]) / answered)[last])
    coverage.axhline(right.mean(), **_REFERENCE)
    coverage.set(xlabel="share of the texts answered", ylabel="accuracy on them", xlim=(0, 1))
    coverage.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    coverage.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    return figure


@figure_style()
def slices_figure(slices: Mapping[str, tuple[Interval, int]], overall: float) -> Figure:
    """Accuracy of each group of texts with its interval, best first; the dashed line is that on all texts.

    What to see: orange groups are hard for the model: even the upper end of their interval lies below the line. A
    blue one cannot be told from the average, or is better. Small groups have long whiskers: the number of texts
    stands beside each name. A dot without a whisker is a group of which every text is right, or every one wrong.

    Args:
        slices: name of each group (`irony`, `films`, `over 128 tokens`), its accuracy, its number of texts.
        overall: accuracy on all texts.
    """
    ordered = sorted(slices.items(), key=lambda item: item[1][0].estimate)
    intervals = [interval for _, (interval, _) in ordered]
    colors = [PALETTE[1] if interval.high < overall else PALETTE[0] for interval in intervals]
    rows = np.arange(len(ordered))
    figure = Figure(figsize=(7.2, 0.27 * len(ordered) + 0.9))
    axis = figure.subplots()
    axis.axvline(overall, **_REFERENCE)
    axis.hlines(rows, [i.low for i in intervals], [i.high for i in intervals], colors=colors, linewidth=2)
    axis.scatter([i.estimate for i in intervals], rows, c=colors, s=34, zorder=3)
    axis.set_yticks(rows, [f"{_wrapped(name, 34)}  ({n:,})" for name, (_, n) in ordered])
    axis.set(xlabel=f"accuracy, 95 % interval (all texts: {overall:.3f})", ylim=(-0.6, len(ordered) - 0.4))
    axis.grid(axis="x")
    axis.tick_params(axis="y", length=0)
    _verbatim(axis.get_yticklabels())
    return figure


@figure_style()
def learning_curve_figure(history: Iterable[Mapping[str, Any]], best_step: int | None = None) -> Figure:
    """Training and validation loss, validation scores and learning rate over the steps of a run.

    What to see: where the validation loss turns up while the training loss still falls, the model begins to learn
    texts by heart; accuracy may still rise a little there, as it does not mind growing overconfidence. The dotted
    line is the checkpoint that was kept.

    Args:
        history: lines of metrics.jsonl with `step` and any of `loss`, `learning_rate`, `val_loss`, `val_accuracy`,
            `val_macro_f1`. A panel of which no line has a value is left out.
        best_step: step of the checkpoint that was kept.
    """
    lines = list(history)
    panels = {
        (title, height): curves
        for title, height, keys in _CURVES
        if (curves := [(key, *style) for key, style in keys.items() if any(key in line for line in lines)])
    }
    heights = [height for _, height in panels]
    figure = Figure(figsize=(7.2, 0.55 * sum(heights) + 0.5))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axis, ((title, _), curves) in zip(axes, panels.items(), strict=True):
        axis.set_ylabel(title)
        for key, name, color in curves:
            _draw_curve(axis, lines, key, name, PALETTE[color])
        if best_step is not None:
            label = "checkpoint kept" if axis is axes[0] else None
            axis.axvline(best_step, color=INK, linestyle=":", linewidth=1.2, label=label)
        if title != "validation score":
            axis.set_ylim(0, None)
        if title != "learning rate":
            axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    axes[-1].set_xlabel("step")
    figure.align_ylabels()
    return figure


def _draw_curve(axis: Axes, lines: Iterable[Mapping[str, Any]], key: str, name: str, color: str) -> None:
    """The key's values, as dots where they are few; many training losses pale, with a moving average over 1/40."""
    steps, values = np.array([(line["step"], line[key]) for line in lines if key in line]).T
    window = max(1, len(values) // 40)
    if key == "loss" and window > 1:
        axis.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
        weights = np.ones(window)
        # Divided by how many values there are under the window: it hangs over at both ends.
        values = np.convolve(values, weights, "same") / np.convolve(np.ones_like(values), weights, "same")
    axis.plot(steps, values, color=color, label=name, marker="o" if len(values) <= 20 else "", markersize=4)


@figure_style()
def length_figure(lengths: Mapping[str, Sequence[int]], context: int) -> Figure:
    """Share of each split's texts that have at most so many tokens; the dashed line is the context.

    What to see: where a curve crosses the line, that share of the texts is read whole; the rest above it is cut. Curves
    that lie apart mean that the splits do not come from the same kind of text.

    Args:
        lengths: number of tokens of each text, special tokens included, by split.
        context: number of tokens that the model reads.
    """
    figure = Figure(figsize=(7.2, 3.3))
    axis = figure.subplots()
    for index, (split, values) in enumerate(lengths.items()):
        ordered = np.sort(np.asarray(values))
        name = f"{_percent(np.mean(ordered <= context))} of {split} ({len(ordered):,} texts)"
        axis.ecdf(ordered, color=PALETTE[index % len(PALETTE)], label=name, linestyle=("-", "--", ":", "-.")[index % 4])
    axis.axvline(context, color=INK, linestyle="--", linewidth=0.8)
    sizes = np.maximum(np.concatenate([[context], *lengths.values()]), 1)  # 0 has no place on the axis
    # Whole powers of two, the last one above every size: the axis must not be empty where all are equal.
    powers = 2 ** np.arange(np.floor(np.log2(sizes.min())), np.ceil(np.log2(sizes.max() + 1)) + 1)
    axis.set_xscale("log", base=2)
    axis.xaxis.set(major_locator=FixedLocator(powers), minor_locator=NullLocator())
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axis.set(xlabel=f"tokens (logarithmic; context: {context:,})", ylabel="share of the texts")
    axis.set(xlim=powers[[0, -1]], ylim=(0, 1.02))
    _verbatim(axis.legend(title="read whole", loc="best", alignment="left").get_texts())
    return figure


def _percent(share: float | np.floating) -> str:
    """Whole per cent, but 0 % and 100 % only for none and all."""
    if 0 < share <= 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else f"{share:.0%}".replace("%", " %")


def _wrapped(label: str, width: int = 14) -> str:
    """The label over several lines; a word that is longer stays whole."""
    return textwrap.fill(label, width, break_long_words=False, break_on_hyphens=False)


def _verbatim(texts: Iterable[Text]) -> None:
    """Keeps matplotlib from reading `$` in the user's words as mathematics."""
    for text in texts:
        text.set_parse_math(False)
