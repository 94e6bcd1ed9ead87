"""`bert-sentiment compare`: models and baselines side by side on data sets.

`run` below is the whole story; each of its lines is one module.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from bert_sentiment.comparison.compared import Compared
from bert_sentiment.comparison.data_sets import NamedSplits, load_data_sets
from bert_sentiment.comparison.measuring import Measured, Place, measure
from bert_sentiment.comparison.report import comparison_report
from bert_sentiment.comparison.results import ResultCache
from bert_sentiment.comparison.scores import Entry, champion, leaderboard, mean_accuracy
from bert_sentiment.config import CompareConfig
from bert_sentiment.data.rejects import write_rejects
from bert_sentiment.run_layout import PROJECT
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import Interval
from roadmap_shared.runs import start_run

RESULTS_FOLDER = "compared"
RESUMABLE_CHANGES = ("models", "shares", "trainer.threads", "n_resamples")
"""Settings that may differ when a run is resumed: all results have keys of their own."""


def run(config: CompareConfig) -> dict[str, Any]:
    """Measure what is not yet known, compare and report; returns the summary."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("compare trains one model after another in one process: start it without torchrun")
    with start_run(config, project=PROJECT, command="compare", resumable_changes=RESUMABLE_CHANGES) as run:
        run.rewind(0)
        data_sets = load_data_sets(config, print)
        write_rejects(run.folder, {data.name: data.splits for data in data_sets}, print)
        cache = ResultCache(config.cache or config.run.root / PROJECT / RESULTS_FOLDER)
        measured = measure(config, data_sets, cache, run)
        models = [str(spec) for spec in config.model_specs]
        boards = {data.name: leaderboard(measured, data, models, config.n_resamples) for data in data_sets}
        best = champion(measured, data_sets, models, config.n_resamples)
        compared = Compared(config, run, data_sets, measured, boards, best)
        summary = spread("accuracy", best.accuracy) | {"macro_f1": best.macro_f1, "best_model": best.model}
        summary |= per_data_set(boards) | baselines(measured, data_sets, models)
        summary |= {"n_fits_measured": measured.n_measured, "n_fits_kept": measured.n_kept}
        return run.finish(summary | {"n_failed": len(measured.failures)}, comparison_report(compared))


def per_data_set(boards: Mapping[str, Sequence[Entry]]) -> dict[str, Any]:
    """The best model of each data set."""
    figures: dict[str, Any] = {}
    for name, entries in boards.items():
        if entries:
            figures |= {f"best_model_{name}": entries[0].model} | spread(f"accuracy_{name}", entries[0].scores.accuracy)
            figures[f"macro_f1_{name}"] = entries[0].scores.macro_f1.estimate
    return figures


def baselines(measured: Measured, data_sets: Sequence[NamedSplits], models: Sequence[str]) -> dict[str, float]:
    """Mean accuracy of the models without an encoder, over the data sets."""
    figures: dict[str, float] = {}
    for model in ("majority", "tfidf"):
        on = [data for data in data_sets if Place(model, data.name, data.name) in measured.results]
        if model in models and on:
            figures[f"baseline_{model}_accuracy"] = mean_accuracy(measured, model, on, n_resamples=1).estimate
    return figures


def spread(name: str, interval: Interval) -> dict[str, float]:
    """An interval under the keys of a summary."""
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
