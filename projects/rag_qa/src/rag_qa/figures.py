"""The figures of the report. Each function draws one and says what to look for in it."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from rag_qa.evaluation.retrieval_metrics import RetrievalScores
from rag_qa.generation.risk_coverage import RiskCoverage
from rag_qa.studies.retrieval import NAMES
from roadmap_shared.report import INK, PALETTE, figure_style


@figure_style()
def recall_figure(scores: Mapping[str, RetrievalScores], cutoffs: tuple[int, ...]) -> Figure:
    """Recall by the number of passages that are read.

    What to see: how far the fused curve lies above the better of the two searches, and where it flattens: reading more
    passages than that costs time and brings hardly an answer.
    """
    figure = Figure(figsize=(6.4, 3.4))
    axis = figure.subplots()
    for number, (name, found) in enumerate(scores.items()):
        intervals = [found.interval(f"recall@{k}") for k in cutoffs]
        values = [interval.estimate for interval in intervals]
        axis.plot(cutoffs, values, marker="o", color=PALETTE[number], label=NAMES[name])
        axis.fill_between(
            cutoffs, [one.low for one in intervals], [one.high for one in intervals], color=PALETTE[number], alpha=0.12
        )
    axis.set_xlabel("passages read, k")
    axis.set_ylabel("recall@k")
    axis.set_xticks(cutoffs)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.legend(loc="lower right")
    return figure


@figure_style()
def risk_coverage_figure(curve: RiskCoverage, threshold: float) -> Figure:
    """Share of wrong answers by the share of questions that are answered, the surest ones first.

    What to see: a curve that stays low for long has the wrong answers among its least sure ones, and refusing those
    helps; a flat one cannot tell them apart. The mark is the threshold in use.
    """
    figure = Figure(figsize=(6.4, 3.2))
    axis = figure.subplots()
    axis.plot(curve.coverage, curve.risk, color=PALETTE[0], drawstyle="steps-post")
    axis.axhline(curve.risk[-1], color=INK, linestyle="--", linewidth=0.8, alpha=0.6, label="answer everything")
    inside = [i for i, value in enumerate(curve.thresholds) if value >= threshold]
    if inside:
        at = inside[-1]
        axis.plot(curve.coverage[at], curve.risk[at], "o", color=PALETTE[1], label=f"threshold {threshold:g}")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, max(0.05, *curve.risk) * 1.1)
    axis.set_xlabel("questions answered")
    axis.set_ylabel("answers that are wrong")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.legend(loc="upper left")
    return figure
