"""Flat figures of the prompt studies for `summary.json`."""

from typing import Any

from text_generation.prompting.ab_test import ABResult
from text_generation.prompting.injection import LabResult
from text_generation.prompting.search_types import SearchResult


def ab_summary(result: ABResult) -> dict[str, Any]:
    """Flat keys for `summary.json`, the first comparison's share first."""
    summary: dict[str, Any] = {}
    for comparison in result.comparisons:
        key = f"{comparison.b}_better_by_{comparison.measure}"
        share = comparison.b_better
        summary |= {key: share.estimate, f"{key}_low": share.low, f"{key}_high": share.high}
    return summary


def injection_summary(result: LabResult) -> dict[str, Any]:
    """Flat keys for `summary.json`: both rates of every defence."""
    summary: dict[str, Any] = {}
    for of in result.results:
        for name, rate in (("attack_success", of.attack_success), ("false_refusals", of.false_refusals)):
            if rate is not None:
                key = f"{of.defence.name}_{name}"
                summary |= {key: rate.estimate, f"{key}_low": rate.low, f"{key}_high": rate.high}
        summary[f"{of.defence.name}_unclear"] = of.count("unclear")
        summary[f"{of.defence.name}_cases"] = len(of.outcomes)
    return summary


def search_summary(result: SearchResult) -> dict[str, Any]:
    """Flat keys for `summary.json`: the gain of the prompt search on held-out cases, and what it took."""
    gain = result.gain
    return {
        "search_gain": gain.difference,
        "search_gain_low": gain.low,
        "search_gain_high": gain.high,
        "search_winner_examples": result.winner.n_examples,
        "search_calls": result.calls,
    }
