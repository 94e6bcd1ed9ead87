"""Training throughput against `run_glue`-style fixed padding, same encoder, same texts, in the same run.

    python benchmarks/training_throughput.py [reviews.csv] [--accuracy SEEDS]

The peer is transformers' Trainer as its text-classification example sets it up: each text padded or cut to 128 tokens,
random batches. Ours puts texts of similar length into one batch and pads to its longest. Both fine-tune MiniLM with the
same batch size, rate and AdamW; they take turns over the same texts, and the median of the ratios is printed.
`--accuracy 3` then trains both for whole epochs with each of three seeds and compares them on the test texts, with ours
in random batches beside them: what the batches of similar length alone cost.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import Trainer, TrainingArguments

from bert_sentiment.config import DataConfig, ModelConfig, PreprocessingConfig, SentimentConfig, TrainerConfig
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.types import SentimentDataset, Splits
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier, quiet_transformers
from bert_sentiment.models.trainer import train
from roadmap_shared.config import RunConfig
from roadmap_shared.metrics import mean_and_spread, paired_bootstrap
from roadmap_shared.runs import start_run

OURS = TrainerConfig(epochs=1, batch_size=16, learning_rate=1e-4, head_factor=1.0, warmup_share=0.1, patience=None)


def with_fixed_padding(model: SentimentModel, splits: Splits, config: TrainerConfig, seed: int, folder: str) -> None:
    """The Trainer as transformers' example script uses it."""

    def tokenized(dataset: SentimentDataset) -> list[dict[str, Any]]:
        inputs = model.tokenizer(dataset.texts, padding="max_length", truncation=True, max_length=128)
        rows = zip(inputs["input_ids"], inputs["attention_mask"], dataset.targets, strict=True)
        return [{"input_ids": ids, "attention_mask": mask, "labels": label} for ids, mask, label in rows]

    trainer = Trainer(
        model=model.network,
        args=TrainingArguments(
            output_dir=folder,
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            seed=seed,
            weight_decay=config.weight_decay,
            warmup_steps=round(0.1 * config.epochs * len(splits.train) / config.batch_size),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_pin_memory=False,
        ),
        train_dataset=tokenized(splits.train),  # type: ignore[arg-type]
    )
    trainer.train()


def ours(model: SentimentModel, splits: Splits, config: TrainerConfig, seed: int, folder: str) -> None:
    """This project's training."""
    settings = SentimentConfig(run=RunConfig(root=Path(folder), seed=seed), trainer=config)
    with start_run(settings, project="bert_sentiment", command="run") as run:
        train(model, splits, config, run)


def in_random_batches(model: SentimentModel, splits: Splits, config: TrainerConfig, seed: int, folder: str) -> None:
    """This project's training without its batches of similar length: padded to the longest of a random batch."""
    ours(model, splits, replace(config, bucket=False), seed, folder)


FIXED, OURS_BUCKETS = "fixed padding to 128", "ours"
WAYS: dict[str, Callable[..., None]] = {FIXED: with_fixed_padding, OURS_BUCKETS: ours}


def trained(way: Callable[..., None], splits: Splits, config: TrainerConfig, seed: int) -> tuple[SentimentModel, float]:
    """A fresh model trained that way, and the seconds it took."""
    model = build_classifier(ModelConfig(), PreprocessingConfig(max_length=128), splits.labels, seed)
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        start = time.perf_counter()
        way(model, splits, config, seed, folder)
        return model, time.perf_counter() - start


def compare_accuracy(splits: Splits, config: TrainerConfig, seeds: int) -> None:
    """Print the accuracy of each way: mean of the seeds, their spread, and the paired difference to fixed padding."""
    right: dict[str, np.ndarray] = {}
    for name, way in (WAYS | {"ours, random batches": in_random_batches}).items():
        runs, seconds = [], []
        for seed in range(1, seeds + 1):
            model, took = trained(way, splits, config, seed)
            runs.append(model.logits(splits.test.texts).argmax(axis=1) == splits.test.targets)
            seconds.append(took)
            print(f"  {name}, seed {seed}: {runs[-1].mean():.4f} after {took:.0f} s", flush=True)
        right[name] = np.mean(runs, axis=0)
        mean, spread = mean_and_spread([run.mean() for run in runs])
        line = f"{name:24}accuracy {mean:.4f} ±{spread:.4f} on {len(splits.test):,} test texts"
        if name != FIXED:
            gap = paired_bootstrap(right[FIXED], right[name])
            line += f", against fixed padding {gap.difference:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
        print(f"{line}, {statistics.median(seconds):.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, nargs="?", help="texts, as for --data.path; default: the built-in ones")
    parser.add_argument("--texts", type=int, default=320, help="training texts a turn")
    parser.add_argument("--rounds", type=int, default=3, help="times that the two take turns")
    parser.add_argument("--accuracy", type=int, metavar="SEEDS", help="also train each with so many seeds on all texts")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of the trainings that --accuracy compares")
    arguments = parser.parse_args()
    if arguments.accuracy is not None and arguments.accuracy < 2:
        parser.error(f"--accuracy {arguments.accuracy}: the spread over seeds needs at least 2")
    splits = load_splits(DataConfig(path=arguments.path), print)
    few = replace(
        splits,
        train=replace(splits.train, examples=splits.train.examples[: arguments.texts]),
        validation=replace(splits.validation, examples=splits.validation.examples[:2]),
    )
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(arguments.rounds):
        for name, way in WAYS.items():
            seconds[name].append(trained(way, few, OURS, 1)[1])
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads")
    print(f"{len(few.train)} texts of {splits.train.origin}, {arguments.rounds} rounds")
    for name, times in seconds.items():
        print(f"{name:24}{len(few.train) / statistics.median(times):8.1f} texts a second")
    ratios = [a / b for a, b in zip(seconds[FIXED], seconds[OURS_BUCKETS], strict=True)]
    print(
        f"ratio, median of the rounds: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )
    if arguments.accuracy:
        compare_accuracy(splits, replace(OURS, epochs=arguments.epochs), arguments.accuracy)


if __name__ == "__main__":
    main()
