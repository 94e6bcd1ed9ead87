"""What several test files share: small settings, texts whose label a rule gives, and short ways to call what is tested.

Fixtures stand in conftest.py.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bert_sentiment.comparison.data_sets import NamedSplits
from bert_sentiment.config import (
    METHOD_NAMES,
    ArenaConfig,
    ContestConfig,
    DataConfig,
    EvaluationConfig,
    MethodConfig,
    ModelConfig,
    PreprocessingConfig,
    RatesConfig,
    ScratchConfig,
    TrainerConfig,
)
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.preprocessor import pad, token_ids
from bert_sentiment.data.types import Example, SentimentDataset, Splits
from bert_sentiment.inference.files import FileResult, predict_file
from bert_sentiment.inference.predictor import Predictor
from bert_sentiment.models.bert_classifier import SentimentModel
from roadmap_shared.config import RunConfig
from roadmap_shared.errors import UserError

LABELS = ("negative", "neutral", "positive")
TWO_LABELS = ("negative", "positive")

# --- files with texts -----------------------------------------------------------------------------


def write_csv(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_dataset(path: Path, dataset: SentimentDataset) -> Path:
    return write_csv(path, [(example.text, dataset.labels[example.label]) for example in dataset.examples])


def loading_error(config: DataConfig, folder: Path) -> str:
    """What is said of data that cannot be loaded, with DIR for the folder."""
    with pytest.raises(UserError) as caught:
        load_splits(config)
    return str(caught.value).replace(str(folder), "DIR")


# --- fine-tuning methods and the arena ------------------------------------------------------------

METHODS = {name: MethodConfig(name=name, rank=3, alpha=5, n_virtual_tokens=4, bottleneck=6) for name in METHOD_NAMES}
DEAD_ENDS = {("prefix", "distilbert"), ("prefix", "albert"), ("prefix", "modernbert"), ("bitfit", "modernbert")}
ARCHITECTURES = ("bert", "roberta", "distilbert", "albert", "modernbert")
PAIRS = [(method, name) for method in METHOD_NAMES for name in ARCHITECTURES if (method, name) not in DEAD_ENDS]
every_method = pytest.mark.parametrize("method", METHOD_NAMES)
every_pair = pytest.mark.parametrize(("method", "architecture"), PAIRS)

TEXTS = ["the film was good !", "bad", "i really loved this phone , it is great and never dull", "awful plot ."]
Base = Callable[..., SentimentModel]
"""The fixture `base`: from an architecture's name to a fresh classifier, the same each time."""


def gradient_step(model: SentimentModel, rate: float = 0.05) -> None:
    """One step of gradient descent by signs, which moves each weight that gets a gradient by `rate`."""
    model.network.train()
    inputs = pad(token_ids(TEXTS, model.tokenizer, model.preprocessing), model.tokenizer)
    loss = model.network(**inputs, labels=torch.tensor([2, 0, 2, 0])).loss
    loss.backward()
    with torch.no_grad():
        for weight in model.network.parameters():
            if weight.grad is not None:
                weight -= rate * weight.grad.sign()
    model.network.zero_grad()
    model.network.eval()


def arena_config(root: Path, encoder: Path | str = "minilm", **contest: Any) -> ArenaConfig:
    """Three steps a training and two rates a method."""
    return ArenaConfig(
        run=RunConfig(root=root, seed=5),
        data=DataConfig(max_examples=40),
        preprocessing=PreprocessingConfig(max_length=40),
        model=ModelConfig(name=str(encoder)),
        method=MethodConfig(rank=3, n_virtual_tokens=4, bottleneck=6),
        arena=ContestConfig(**{"max_steps": 3, "n_seeds": 2, "n_forgetting": 20, "isolate": False} | contest),
        rates=RatesConfig(**dict.fromkeys(METHOD_NAMES, (1e-3, 1e-2))),
        trainer=TrainerConfig(
            epochs=3, learning_rate=1e-3, head_factor=2, warmup_share=0, patience=None, threads=1, device="cpu"
        ),
        evaluation=EvaluationConfig(n_resamples=200),
    )


# --- the comparison -------------------------------------------------------------------------------

QUICK_TRAINER = TrainerConfig(
    epochs=1, batch_size=16, learning_rate=2e-3, head_factor=1.0, patience=None, threads=1, device="cpu"
)
TINY_SCRATCH = ScratchConfig(layers=1, width=16, heads=2, vocabulary=120, epochs=1)


def rule(n: int, seed: int, labels: tuple[str, ...] = TWO_LABELS) -> SentimentDataset:
    """Texts whose label is that of the one opinion word in them."""
    draw = np.random.default_rng(seed)
    words = "the film was and it is a phone you we they plot".split()
    opinions = [["bad", "awful"], ["good", "great"], ["plain", "usual"]]
    examples = []
    for index in range(n):
        label = index % len(labels)
        text = [*draw.choice(words, size=6), draw.choice(opinions[label]), f"x{seed}y{index}"]
        examples.append(Example(" ".join(text), label))
    return SentimentDataset(labels, tuple(examples), "a rule")


def named(name: str, seed: int = 0, labels: tuple[str, ...] = TWO_LABELS, n_test: int = 40) -> NamedSplits:
    parts = rule(60, seed, labels), rule(20, seed + 100, labels), rule(n_test, seed + 200, labels)
    return NamedSplits(name, Splits(*parts))


# --- labelling files ------------------------------------------------------------------------------

said: list[str] = []
"""What `label_file` told the user; the fixture `small_chunks` empties it before each test."""


def label_file(predictor: Predictor, source: Path, output: Path | None = None, **options: object) -> FileResult:
    return predict_file(predictor, source, output, say=said.append, **options)  # type: ignore[arg-type]


def labelling_error(predictor: Predictor, source: Path, output: Path | None = None, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        label_file(predictor, source, output, **options)
    return str(caught.value)


# --- the page and its server ----------------------------------------------------------------------

FIRST, SECOND = "20260102-000000-first", "20260101-000000-second"
"""Names of the runs in the fixture `root`."""

EVIL = "<script>document.title='x'</script><img src=x onerror=\"document.title='x'\"> ${1+1} {{value}} not good"


def write_run(root: Path, name: str, model: SentimentModel) -> Path:
    """A run folder as `bert-sentiment run` leaves it, with five predictions of which two are wrong."""
    folder = root / "bert_sentiment" / name
    model.save(folder / "model")
    rows = [
        ("positive", (0.1, 0.1, 0.8)),
        ("negative", (0.7, 0.2, 0.1)),
        ("neutral", (0.05, 0.05, 0.9)),
        ("negative", (0.2, 0.6, 0.2)),
        ("neutral", (0.3, 0.5, 0.2)),
    ]
    lines = [
        {"text": f"{EVIL} {n}", "label": label, "probabilities": dict(zip(LABELS, row, strict=True))}
        for n, (label, row) in enumerate(rows)
    ]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    summary = {"accuracy": 0.6, "accuracy_low": 0.21, "accuracy_high": 0.99, "baseline_tfidf_accuracy": 0.5}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder
