"""Metrics as plain functions on arrays and strings; nothing here needs more than NumPy."""

from roadmap_shared.metrics.calibration import (
    ReliabilityBins,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_bins,
)
from roadmap_shared.metrics.classification import (
    ClassScores,
    McNemarTest,
    accuracy,
    class_scores,
    cohen_kappa,
    confusion_matrix,
    macro_f1,
    macro_f1_interval,
    mcnemar_test,
    paired_macro_f1,
)
from roadmap_shared.metrics.language_model import (
    bits_per_byte,
    bits_per_character,
    perplexity,
    token_accuracy,
)
from roadmap_shared.metrics.latency import LatencySummary, latency_summary
from roadmap_shared.metrics.statistics import (
    Interval,
    PairedComparison,
    bootstrap_interval,
    bootstrap_ratio,
    mean_and_spread,
    paired_bootstrap,
)
from roadmap_shared.metrics.text_overlap import character_error_rate, edit_distance, exact_match
from roadmap_shared.metrics.threshold_curves import (
    PrecisionRecallCurve,
    RocCurve,
    average_precision,
    one_vs_rest,
    precision_recall_curve,
    roc_auc,
    roc_curve,
)

__all__ = [
    "ClassScores",
    "Interval",
    "LatencySummary",
    "McNemarTest",
    "PairedComparison",
    "PrecisionRecallCurve",
    "ReliabilityBins",
    "RocCurve",
    "accuracy",
    "average_precision",
    "bits_per_byte",
    "bits_per_character",
    "bootstrap_interval",
    "bootstrap_ratio",
    "brier_score",
    "character_error_rate",
    "class_scores",
    "cohen_kappa",
    "confusion_matrix",
    "edit_distance",
    "exact_match",
    "expected_calibration_error",
    "latency_summary",
    "macro_f1",
    "macro_f1_interval",
    "mcnemar_test",
    "mean_and_spread",
    "negative_log_likelihood",
    "one_vs_rest",
    "paired_bootstrap",
    "paired_macro_f1",
    "perplexity",
    "precision_recall_curve",
    "reliability_bins",
    "roc_auc",
    "roc_curve",
    "token_accuracy",
]
