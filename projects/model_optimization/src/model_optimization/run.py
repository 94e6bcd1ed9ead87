"""`model-optimization run`: make variants of a classifier, measure all of them, and say what each saves and costs.

`run` below is the whole story; each of its lines is one module.
"""

from typing import Any

from model_optimization.benchmarking.harness import Failure, measure_variants, print_failure
from model_optimization.config.run import OptimizationConfig
from model_optimization.data import in_labels_of, load_splits
from model_optimization.ledger.flips import write_flips
from model_optimization.ledger.quality import Quality, measure_quality
from model_optimization.ledger.rows import Ledger, LedgerRow
from model_optimization.machine import cache_folder
from model_optimization.model import given_classifier
from model_optimization.recipes import RECIPES, SUMMARIES
from model_optimization.report import Findings, ledger_report
from model_optimization.run_layout import CHOSEN, ORIGINAL, PROJECT, VARIANTS
from model_optimization.shelf import Shelf
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Splits
from model_optimization.variants import load_variant, read_info, size_bytes
from model_optimization.workshop import Workshop
from roadmap_shared.files import atomic_write
from roadmap_shared.metrics import Interval
from roadmap_shared.runs import start_run

CONTROLS = ("student_labels_only", "student_random_start")
"""Variants that answer a question about another, and have its size and speed."""


def run(config: OptimizationConfig) -> dict[str, Any]:
    """Train, shrink, measure, choose and report; returns the summary."""
    with start_run(config, project=PROJECT, command="run") as run:
        given = given_classifier(config.model)
        splits = labelled_texts(config, given)
        shelf = Shelf(run.folder / VARIANTS, cache_folder() / "trained" if config.keep_trained else None)
        shop = Workshop(config=config, splits=splits, shelf=shelf, seed=run.seed, recipes=RECIPES, given=given)
        for name in (ORIGINAL, *config.variants):
            shop.folder(name)
        qualities = qualities_of(shop, config.test_batch)
        ledger = measured(shop, qualities)
        chosen = ledger.choose(config.choice, config.benchmark.batch_sizes[0])
        atomic_write(run.folder / CHOSEN, chosen.name + "\n")
        write_flips(run.folder / "flips.jsonl", {row.name: row.quality.flips for row in ledger.rows})
        found = Findings(config=config, run=run, splits=splits, shop=shop, ledger=ledger, chosen=chosen)
        return run.finish(summary_of(found), ledger_report(found))


def labelled_texts(config: OptimizationConfig, given: TorchClassifier | None) -> Splits:
    """The data set, its labels numbered as those of a classifier that is given."""
    splits = load_splits(config.data)
    for line in splits.rejected[:3]:
        print(f"left out: {line}")
    if len(splits.rejected) > 3:
        print(f"left out: {len(splits.rejected) - 3:,} more")
    return splits if given is None else in_labels_of(given.labels, splits)


def qualities_of(shop: Workshop, batch_size: int) -> dict[str, Quality]:
    """What each variant gets right on the test texts, and where it differs from the original."""
    found: dict[str, Quality] = {}
    for name in (ORIGINAL, *shop.config.variants):
        classifier = load_variant(shop.folder(name))
        original = found[ORIGINAL].logits if found else None
        found[name] = measure_quality(classifier, shop.splits.test, original, batch_size=batch_size)
        classifier.close()
        print(f"{name}: accuracy {found[name].accuracy.estimate:.4f}", flush=True)
    return found


def measured(shop: Workshop, qualities: dict[str, Quality]) -> Ledger:
    """Every variant with its speed; the controls have that of the student."""
    failures: dict[str, str] = {}

    def failed(failure: Failure) -> None:
        failures[failure.name] = failure.reason
        print_failure(failure)

    folders = [shop.folder(name) for name in qualities if name not in CONTROLS]
    speeds = {
        speed.name: speed
        for speed in measure_variants(folders, shop.config.benchmark, texts=shop.splits.test.texts, on_failure=failed)
    }
    rows = [
        LedgerRow(
            info=read_info(shop.folder(name)),
            summary=SUMMARIES[name],
            size_mb=size_bytes(shop.folder(name)) / 1e6,
            quality=quality,
            speed=speeds.get(name),
        )
        for name, quality in qualities.items()
    ]
    return Ledger(rows=rows, failures=failures)


def summary_of(found: Findings) -> dict[str, Any]:
    """The figures of `summary.json`."""
    ledger, batch = found.ledger, found.config.benchmark.batch_sizes[0]
    best = found.best
    accuracy, original = best.quality.accuracy, ledger.original.quality.accuracy
    speedup = best.speedup(batch) or Interval(1.0, 1.0, 1.0)
    figures: dict[str, Any] = {
        "best_variant": best.name,
        "best_speedup": speedup.estimate,
        "best_speedup_low": speedup.low,
        "best_speedup_high": speedup.high,
        "best_accuracy": accuracy.estimate,
        "best_accuracy_low": accuracy.low,
        "best_accuracy_high": accuracy.high,
        "best_size_mb": best.size_mb,
        "baseline_accuracy": original.estimate,
        "baseline_size_mb": ledger.original.size_mb,
        "chosen_variant": found.chosen.name,
    }
    if (row := ledger.original.latency(batch)) is not None:
        figures["baseline_p50_ms"] = row.p50_ms
    for one in ledger.rows:
        figures |= {f"{one.name}_accuracy": one.quality.accuracy.estimate, f"{one.name}_size_mb": one.size_mb}
        if one.quality.flips is not None:
            figures[f"{one.name}_flips"] = one.quality.flips.share.estimate
        for size in found.config.benchmark.batch_sizes:
            if (ratio := one.speedup(size)) is not None:
                figures[f"{one.name}_speedup_batch_{size}"] = ratio.estimate
    return figures
