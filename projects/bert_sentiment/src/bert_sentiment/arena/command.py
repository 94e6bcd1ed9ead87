"""`bert-sentiment arena`: fine-tuning methods against each other on equal terms.

For each method: a training per learning rate of its grid, judged on the validation texts; then several seeds at the
best rate, judged on the test texts. All trainings have the same number of steps. Whatever has been trained stays in
the run folder: a resumed arena trains what is missing.
"""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from bert_sentiment.arena.processes import train_in_process
from bert_sentiment.arena.report import arena_report
from bert_sentiment.arena.standings import Standings, edge_remark, standings
from bert_sentiment.arena.training import FOLDER, MethodTraining
from bert_sentiment.config import ArenaConfig, EvaluationConfig, MethodName, RatesConfig
from bert_sentiment.data.check_sentences import print_warnings
from bert_sentiment.data.data_check import check_data
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.rejects import write_rejects
from bert_sentiment.data.types import Splits
from bert_sentiment.evaluation.baselines import fit_majority, fit_tfidf
from bert_sentiment.models.bert_classifier import build_classifier
from bert_sentiment.run_layout import PROJECT
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import accuracy
from roadmap_shared.runs import Run, start_run

RESUMABLE_CHANGES = (
    *("arena.methods", "arena.n_seeds", "arena.isolate", "trainer.threads"),
    *(f"rates.{item.name}" for item in fields(RatesConfig)),
    *(f"evaluation.{item.name}" for item in fields(EvaluationConfig)),
)
"""Settings that may differ when an arena is resumed: they change no training that is done."""


def run(config: ArenaConfig) -> dict[str, Any]:
    """Train all methods, compare them and report; returns the summary.

    Raises:
        UserError: no method could be trained, or several processes were started.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("the arena trains in one process: start it without torchrun or accelerate launch")
    with start_run(config, project=PROJECT, command="arena", resumable_changes=RESUMABLE_CHANGES) as run:
        splits = load_splits(config.data, print)
        write_rejects(run.folder, {"": splits}, print)
        check_texts(config, splits)
        killed = train_all(config, splits, run)
        outcome = standings(config, run.folder / FOLDER, splits.test.targets, killed)
        if not outcome.ranked:
            reasons = "; ".join(f"{method}: {reason}" for method, reason in outcome.dead_ends.items())
            raise UserError(f"no method could be trained. {reasons}")
        if remark := edge_remark(outcome.ranked):
            print(f"{remark}. Wider grids: --config arena_full, or --rates.METHOD")
        figures = summary_figures(outcome) | baseline_figures(splits)
        return run.finish(figures, arena_report(config, run, splits, outcome, figures))


def check_texts(config: ArenaConfig, splits: Splits) -> None:
    """Print what should be known about the texts before they are trained on many times."""
    plain = build_classifier(config.model, config.preprocessing, splits.labels, config.run.seed)
    print_warnings(check_data(splits, plain.tokenizer, config.preprocessing, label_map=config.data.label_map))


def train_all(config: ArenaConfig, splits: Splits, run: Run) -> dict[MethodName, str]:
    """Train what is missing of every method; returns those whose process was killed, with the reason."""
    arena = run.folder / FOLDER
    arena.mkdir(exist_ok=True)
    killed: dict[MethodName, str] = {}
    for number, method in enumerate(config.arena.methods, 1):
        print(f"arena: {method} ({number} of {len(config.arena.methods)})", flush=True)
        reason = train_method(config, method, splits, run.folder)
        if reason is not None:
            killed[method] = reason
    return killed


def train_method(config: ArenaConfig, method: MethodName, splits: Splits, folder: Path) -> str | None:
    """Train a method's missing trials, here or in a process of its own; returns why that was killed, if it was."""
    if config.arena.isolate:
        return train_in_process(folder, method)
    MethodTraining(config, method, splits, folder / FOLDER).run()
    return None


def baseline_figures(splits: Splits) -> dict[str, float]:
    """Accuracy of the most frequent label and of the words alone."""
    targets, figures = np.array(splits.test.targets), {}
    for name, fit in (("majority", fit_majority), ("tfidf", fit_tfidf)):
        predicted = fit(splits.train, splits.validation)(splits.test.texts).argmax(axis=1)
        figures[f"baseline_{name}_accuracy"] = accuracy(predicted, targets)
    return figures


def summary_figures(outcome: Standings) -> dict[str, Any]:
    """The outcome under the flat keys of `summary.json`."""
    best = outcome.ranked[0]
    smallest = min(outcome.indistinguishable, key=lambda standing: standing.trained)
    figures: dict[str, Any] = {
        "best_accuracy": best.accuracy.estimate,
        "best_accuracy_low": best.accuracy.low,
        "best_accuracy_high": best.accuracy.high,
        "best_method": best.method,
        "smallest_as_good": smallest.method,
        "smallest_as_good_share": smallest.share,
    }
    for standing in outcome.ranked:
        name, interval = standing.method, standing.accuracy
        figures |= {
            f"accuracy_{name}": interval.estimate,
            f"accuracy_{name}_low": interval.low,
            f"accuracy_{name}_high": interval.high,
            f"accuracy_{name}_spread": standing.accuracy_spread,
            f"macro_f1_{name}": standing.macro_f1,
            f"trained_share_{name}": standing.share,
            f"forgetting_{name}": standing.forgetting,
            f"rate_{name}": standing.rate,
        }
    return figures
