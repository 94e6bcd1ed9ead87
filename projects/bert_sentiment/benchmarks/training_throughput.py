"""Training throughput against `run_glue`-style fixed padding, same encoder, same texts, in the same run.

    python benchmarks/training_throughput.py [reviews.csv] [--accuracy]

The peer is transformers' Trainer as its text-classification example sets it up: each text padded or cut to 128 tokens,
random batches. Ours puts texts of similar length into one batch and pads to its longest. Both fine-tune MiniLM with the
same batch size, rate and AdamW; they take turns over the same texts, and the median of the ratios is printed.
`--accuracy` then trains both for two whole epochs and compares them on the test texts.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import Trainer, TrainingArguments

from bert_sentiment.config import DataConfig, ModelConfig, PreprocessingConfig, SentimentConfig, TrainerConfig
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.types import SentimentDataset, Splits
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier, quiet_transformers
from bert_sentiment.models.trainer import train
from roadmap_shared.config import RunConfig
from roadmap_shared.runs import start_run

OURS = TrainerConfig(epochs=1, batch_size=16, learning_rate=1e-4, head_factor=1.0, warmup_share=0.1, patience=None)


def with_fixed_padding(model: SentimentModel, splits: Splits, config: TrainerConfig, folder: str) -> None:
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


def ours(model: SentimentModel, splits: Splits, config: TrainerConfig, folder: str) -> None:
    """This project's training."""
    settings = SentimentConfig(run=RunConfig(root=Path(folder)), trainer=config)
    with start_run(settings, project="bert_sentiment", command="run") as run:
        train(model, splits, config, run)


WAYS: dict[str, Callable[..., None]] = {"fixed padding to 128": with_fixed_padding, "ours": ours}


def trained(way: Callable[..., None], splits: Splits, config: TrainerConfig) -> tuple[SentimentModel, float]:
    """A fresh model trained that way, and the seconds it took."""
    model = build_classifier(ModelConfig(), PreprocessingConfig(max_length=128), splits.labels, 1)
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        start = time.perf_counter()
        way(model, splits, config, folder)
        return model, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, nargs="?", help="texts, as for --data.path; default: the built-in ones")
    parser.add_argument("--texts", type=int, default=320, help="training texts a turn")
    parser.add_argument("--rounds", type=int, default=3, help="times that the two take turns")
    parser.add_argument("--accuracy", action="store_true", help="also train both for two epochs on all texts")
    arguments = parser.parse_args()
    splits = load_splits(DataConfig(path=arguments.path), print)
    few = replace(
        splits,
        train=replace(splits.train, examples=splits.train.examples[: arguments.texts]),
        validation=replace(splits.validation, examples=splits.validation.examples[:2]),
    )
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(arguments.rounds):
        for name, way in WAYS.items():
            seconds[name].append(trained(way, few, OURS)[1])
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads")
    print(f"{len(few.train)} texts of {splits.train.origin}, {arguments.rounds} rounds")
    for name, times in seconds.items():
        print(f"{name:24}{len(few.train) / statistics.median(times):8.1f} texts a second")
    ratios = [a / b for a, b in zip(seconds["fixed padding to 128"], seconds["ours"], strict=True)]
    print(f"ratio, median of the rounds: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    if arguments.accuracy:
        for name, way in WAYS.items():
            model, took = trained(way, splits, replace(OURS, epochs=2))
            right = model.logits(splits.test.texts).argmax(axis=1) == splits.test.targets
            print(f"{name:24}accuracy {right.mean():.4f} on {len(splits.test):,} test texts after {took:.0f} s")


if __name__ == "__main__":
    main()
