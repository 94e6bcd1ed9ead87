"""What refusing buys: how many questions are answered at each threshold, and how many of those answers are wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RiskCoverage:
    """One point for each distinct confidence, from the most cautious threshold to answering everything."""

    thresholds: tuple[float, ...]
    """Answer where the confidence is at least this."""

    coverage: tuple[float, ...]
    """Share of the questions that are answered."""

    risk: tuple[float, ...]
    """Share of the answers that are wrong."""

    area: float
    """Mean risk over the coverages 1/n, 2/n, …, 1: AURC of Geifman, Uziel & El-Yaniv (2019), "Bias-Reduced Uncertainty
    Estimation for Deep Neural Classifiers"; lower is better."""


def risk_coverage(confidences: Sequence[float], correct: Sequence[bool]) -> RiskCoverage:
    """The curve; equal confidences are answered together, and share their errors in the area.

    Args:
        confidences: (N,).
        correct: (N,), whether the answer would be right; of a question without an answer it never is.

    Raises:
        ValueError: no questions, different lengths, or a confidence that is no number.
    """
    scores, right = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=bool)
    if scores.ndim != 1 or scores.shape != right.shape or not len(scores):
        raise ValueError(f"confidences and correct must be two lists of one length, got {scores.shape}, {right.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("a confidence is NaN or infinite")
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    answered = ends + 1
    wrong = np.cumsum(~right[order])[ends]
    # Within a tie the errors are spread evenly: no order of equal confidences is better than another.
    wrong_at_each = np.interp(np.arange(1, len(scores) + 1), np.append(0, answered), np.append(0, wrong))
    return RiskCoverage(
        thresholds=tuple(scores[order][ends].tolist()),
        coverage=tuple((answered / len(scores)).tolist()),
        risk=tuple((wrong / answered).tolist()),
        area=float(np.mean(wrong_at_each / np.arange(1, len(scores) + 1))),
    )


def threshold_for_risk(curve: RiskCoverage, most_risk: float) -> float | None:
    """The threshold with the largest coverage whose risk is at most this; None where no threshold reaches it.

    The risk is that of the questions of the curve: keep some back to check it on others.
    """
    allowed = [i for i, risk in enumerate(curve.risk) if risk <= most_risk]
    return curve.thresholds[allowed[-1]] if allowed else None
