"""Metrics as plain functions on arrays and strings; nothing here needs more than NumPy."""

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

__all__ = [
    "Interval",
    "LatencySummary",
    "PairedComparison",
    "bits_per_byte",
    "bits_per_character",
    "bootstrap_interval",
    "bootstrap_ratio",
    "character_error_rate",
    "edit_distance",
    "exact_match",
    "latency_summary",
    "mean_and_spread",
    "paired_bootstrap",
    "perplexity",
    "token_accuracy",
]
