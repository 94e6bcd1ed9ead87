"""Learning rates over the steps, and the precision of the arithmetic."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bert_sentiment.config import ModelConfig, PreprocessingConfig, SentimentConfig, TrainerConfig
from bert_sentiment.data.types import Splits
from bert_sentiment.models import training_settings
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier
from bert_sentiment.models.trainer import train
from bert_sentiment.models.training_settings import training_arguments
from roadmap_shared.config import RunConfig
from roadmap_shared.errors import UserError
from roadmap_shared.runs import start_run

from .helpers import QUICK_TRAINER, TWO_LABELS, rule

TWENTY_STEPS = replace(QUICK_TRAINER, epochs=4, warmup_share=0.25)
"""Of 16 texts each: the first five steps are the warm-up."""


@pytest.fixture
def fine_tune(tmp_path: Path, encoder_folder: Any) -> Any:
    """Train on 80 texts, and return the model and the lines of its log."""

    def run(trainer: TrainerConfig) -> tuple[SentimentModel, list[dict[str, float]]]:
        name = ModelConfig(name=str(encoder_folder("bert")), dropout=0.0)
        config = SentimentConfig(run=RunConfig(root=tmp_path / "runs"), trainer=trainer, model=name)
        with start_run(config, project="bert_sentiment", command="run") as run:
            model = build_classifier(config.model, PreprocessingConfig(), TWO_LABELS, run.seed)
            train(model, Splits(rule(80, 0), rule(40, 1), rule(40, 2)), trainer, run)
            return model, run.history()

    return run


# --- learning rates -------------------------------------------------------------------------------

FORMULAS = {
    "linear": lambda step: (20 - step) / 15,
    "cosine": lambda step: (1 + math.cos(math.pi * (step - 5) / 15)) / 2,
    "constant": lambda step: 1.0,
}
"""Shares of the peak rate, by the number of steps that are done, behind a warm-up of 5 of 20."""


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_learning_rates_follow_the_schedule(fine_tune: Any, schedule: Any) -> None:
    _, history = fine_tune(replace(TWENTY_STEPS, schedule=schedule))
    rates = {line["step"]: line["learning_rate"] for line in history if "learning_rate" in line}
    assert list(rates) == list(range(1, 21))
    # Step n is taken at the rate of n - 1 done steps: the first one of a warm-up changes nothing.
    shares = {step: (step - 1) / 5 if step <= 5 else FORMULAS[schedule](step - 1) for step in rates}
    peak = TWENTY_STEPS.learning_rate
    assert rates == pytest.approx({step: peak * share for step, share in shares.items()})


def test_without_a_warm_up_the_first_step_has_the_peak_rate(fine_tune: Any) -> None:
    _, history = fine_tune(replace(TWENTY_STEPS, epochs=1, warmup_share=0.0))
    rates = [line["learning_rate"] for line in history if "learning_rate" in line]
    assert rates == pytest.approx([2e-3 * share for share in (1, 0.8, 0.6, 0.4, 0.2)])


# --- precision ------------------------------------------------------------------------------------


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_bf16_without_a_gpu_stays_near_fp32(fine_tune: Any) -> None:
    trainer = replace(TWENTY_STEPS, device="auto")
    _, exact = fine_tune(trainer)
    model, rounded = fine_tune(replace(trainer, precision="bf16"))
    losses = [[line["val_loss"] for line in history if "val_loss" in line] for history in (exact, rounded)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)
    assert {weight.dtype for weight in model.network.parameters()} == {torch.float32}


@pytest.mark.usefixtures("no_gpu")
def test_a_model_trained_in_bf16_is_used_in_fp32(fine_tune: Any, tmp_path: Path) -> None:
    model, _ = fine_tune(replace(TWENTY_STEPS, device="auto", precision="bf16"))
    texts = rule(12, 5).texts
    model.save(tmp_path / "model")
    loaded = SentimentModel.load(tmp_path / "model")
    torch.testing.assert_close(torch.tensor(model.logits(texts)), torch.tensor(loaded.logits(texts)))


@pytest.mark.usefixtures("no_gpu")
def test_fp16_without_a_gpu_is_one_line() -> None:
    with pytest.raises(UserError) as raised:
        training_arguments(TrainerConfig(precision="fp16"), 100, 0, "checkpoints")
    assert str(raised.value) == "fp16 needs a GPU; use --trainer.precision bf16 or fp32"


def test_fp16_on_the_cpu_is_refused_at_once() -> None:
    with pytest.raises(ValueError) as raised:
        TrainerConfig(precision="fp16", device="cpu")
    assert str(raised.value) == ("--trainer.precision fp16 needs a GPU; with --trainer.device cpu use bf16 or fp32")


def test_a_gpu_without_bf16_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_settings, "is_torch_bf16_gpu_available", lambda: False)
    for precision in ("fp32", "fp16"):
        training_settings.check_precision(precision, "cuda")
    with pytest.raises(UserError) as raised:
        training_settings.check_precision("bf16", "cuda")
    assert str(raised.value) == "this GPU has no bf16; use --trainer.precision fp16 or fp32"
