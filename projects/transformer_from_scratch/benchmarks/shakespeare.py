"""Exact validation loss on Tiny Shakespeare after a fixed amount of work, over several seeds.

    python benchmarks/shakespeare.py input.txt

Trains two recipes on one thread, one after the other: `shakespeare` (the shipped config) and nanoGPT's CPU shape with
AdamW (4 layers, 4 heads, 128 wide, context 64, batch 12, 2000 steps) with the better of two learning rates. CPU time is
that of the training loop alone, without reading the text and without evaluation. The validation loss is that of every
held-out character (the last tenth of the text), in nats a character. Steps are fixed, so the losses repeat exactly on
the same machine.
"""

import argparse
import os
import platform
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import torch
from torch import nn

from roadmap_shared.config import RunConfig, parse_config
from roadmap_shared.metrics import mean_and_spread
from roadmap_shared.runs import start_run
from transformer_from_scratch.config import CorpusConfig, LanguageModelConfig, ModelConfig, TrainerConfig
from transformer_from_scratch.corpus import Corpus, load_corpus
from transformer_from_scratch.evaluation import window_losses
from transformer_from_scratch.models import count_parameters
from transformer_from_scratch.ngram import KneserNey
from transformer_from_scratch.processes import start_processes
from transformer_from_scratch.train_simple_lm import LanguageModelTask, build_language_model
from transformer_from_scratch.trainer import train


class TrainingOnly(LanguageModelTask):
    """The task without evaluation during training, so that only training is timed."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class Result:
    """What one training run came to."""

    parameters: int
    cpu_seconds: float
    loss: float


def nanogpt_shape(text: Path) -> LanguageModelConfig:
    """nanoGPT's `train_shakespeare_char` as its README runs it on a CPU, with the better of two learning rates (2e-3,
    4e-3)."""
    return LanguageModelConfig(
        data=CorpusConfig(path=text),
        model=ModelConfig(
            n_layers=4, d_model=128, n_heads=4, d_hidden=512, context=64, positions="learned", activation="gelu"
        ),
        trainer=TrainerConfig(
            steps=2000,
            batch_size=12,
            optimizer="adamw",
            learning_rate=2e-3,
            weight_decay=0.1,
            warmup_steps=100,
            threads=1,
        ),
    )


def measure(config: LanguageModelConfig, corpus: Corpus, seed: int, folder: Path) -> Result:
    """Train once and evaluate on the whole validation part."""
    seeded = replace(config, run=RunConfig(root=folder, seed=seed))
    with (
        start_processes(config.trainer) as processes,
        start_run(seeded, project="transformer_from_scratch", command="run") as run,
    ):
        model = build_language_model(config.model, corpus.tokenizer.vocab_size, seed)
        task = TrainingOnly(corpus, seeded, seed)
        started = time.process_time()
        train(model, task, config.trainer, run, processes)
        cpu_seconds = time.process_time() - started
    loss = window_losses(model, corpus.validation, config.model.context, batch_size=32).mean
    return Result(count_parameters(model), cpu_seconds, loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, nargs="?", help="Tiny Shakespeare; default: that of the folder ROADMAP_DATA")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each recipe")
    parser.add_argument("--steps", type=int, help="training steps instead of the recipe's own")
    arguments = parser.parse_args()
    text = arguments.text or Path(os.environ.get("ROADMAP_DATA", "")) / "tinyshakespeare" / "input.txt"
    if not text.is_file():
        print(f"skipped: {text} is not there; give Tiny Shakespeare as one text file")
        return

    shipped = parse_config(
        LanguageModelConfig,
        ["--config", "shakespeare", "--data.path", str(text)],
        prog="shakespeare",
        description="",
        configs=files("transformer_from_scratch") / "configs",
        default=None,
    )
    recipes = {"shakespeare": shipped, "nanoGPT's shape, AdamW": nanogpt_shape(text)}
    print(f"PyTorch {torch.__version__}, Python {platform.python_version()}, 1 thread, {arguments.seeds} seeds")
    print(f"{'recipe':24}{'parameters':>11}{'steps':>7}{'CPU s':>8}{'nats a character':>24}")
    with tempfile.TemporaryDirectory() as folder:
        for name, recipe in recipes.items():
            config = recipe
            if arguments.steps:
                config = replace(recipe, trainer=replace(recipe.trainer, steps=arguments.steps))
            corpus = load_corpus(config.data, config.model.context)
            results = [measure(config, corpus, seed, Path(folder)) for seed in range(1, arguments.seeds + 1)]
            losses = [result.loss for result in results]
            loss = f"{losses[0]:.4f}"
            if len(losses) > 1:
                mean, spread = mean_and_spread(losses)
                loss = f"{mean:.4f} ± {spread:.4f}"
            cpu = max(result.cpu_seconds for result in results)
            print(f"{name:24}{results[0].parameters:11,}{config.trainer.steps:7}{cpu:8.1f}{loss:>24}", flush=True)
    five_gram = KneserNey(order=5).fit(corpus.train.numpy(), corpus.tokenizer.vocab_size)
    print(f"{'5-gram, Kneser-Ney':24}{'':>26}{five_gram.losses(corpus.validation.numpy())[1:].mean():24.4f}")


if __name__ == "__main__":
    main()
