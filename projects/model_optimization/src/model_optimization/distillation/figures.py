"""The figures of the controls. Each function draws one and says what to look for in it."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from model_optimization.distillation.controls import NAMES, Controls
from roadmap_shared.report import INK, PALETTE, figure_style


@figure_style()
def learning_curves_figure(found: Controls) -> Figure:
    """Accuracy on the validation texts before training and after each epoch: a thin line a seed, a thick one the mean.

    What to see: whether the arms still rise at the end. A student from the teacher's weights is nearly there after one
    epoch; one from random weights needs more than all of them, and its distance is that of too short a training.
    """
    figure = Figure(figsize=(6.4, 3.4))
    axis = figure.subplots()
    for number, arm in enumerate(found.arms):
        colour, curves = PALETTE[number], [one.curve for one in found.of(arm)]
        for curve in curves:
            axis.plot(*zip(*curve, strict=True), color=colour, linewidth=0.8, alpha=0.4)
        steps = [step for step, _ in curves[0]]
        means = [sum(curve[place][1] for curve in curves) / len(curves) for place in range(len(steps))]
        axis.plot(steps, means, marker="o", color=colour, label=NAMES[arm])
    axis.axhline(
        found.teacher_validation_accuracy, color=INK, linestyle="--", linewidth=0.8, alpha=0.6, label="teacher"
    )
    axis.set_xlabel("optimiser steps")
    axis.set_ylabel("validation accuracy")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.legend(loc="lower right")
    return figure


@figure_style()
def controls_figure(found: Controls) -> Figure:
    """Test accuracy of each arm: a dot a seed, and their mean with its interval over texts.

    What to see: the dots show how much another seed changes, the bars how much other texts would. The arms were
    measured on the same texts: bars may overlap and the difference be certain, which the paired comparison tells.
    """
    figure = Figure(figsize=(6.4, 0.7 + 0.55 * len(found.arms)))
    axis = figure.subplots()
    for row, arm in enumerate(found.arms):
        interval = found.interval(arm)
        axis.hlines(row, interval.low, interval.high, color=PALETTE[row], linewidth=2.2, alpha=0.5)
        axis.plot(interval.estimate, row, marker="D", color=PALETTE[row], markersize=7)
        accuracies = [one.accuracy for one in found.of(arm)]
        axis.plot(accuracies, [row + 0.2] * len(accuracies), "o", color=PALETTE[row], markersize=4, alpha=0.8)
    axis.axvline(found.teacher_accuracy, color=INK, linestyle="--", linewidth=0.8, alpha=0.6)
    axis.annotate("teacher", (found.teacher_accuracy, -0.45), fontsize=8.5, color=INK, ha="right", va="bottom")
    axis.set_yticks(range(len(found.arms)), [NAMES[arm] for arm in found.arms])
    axis.set_ylim(len(found.arms) - 0.4, -0.6)
    axis.grid(axis="x")
    axis.set_xlabel("test accuracy, 95 % interval over texts")
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure
