"""Training with a fine-tuning method: what is kept, resumed, limited, and left by `run`."""

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from bert_sentiment.cli import main
from bert_sentiment.config import ModelConfig, PreprocessingConfig, SentimentConfig, TrainerConfig
from bert_sentiment.data.types import Example, SentimentDataset, Splits
from bert_sentiment.inference.predictor import Predictor
from bert_sentiment.models import callbacks
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier
from bert_sentiment.models.learning_rates import parameter_groups
from bert_sentiment.models.methods import apply_method, trained_weights
from bert_sentiment.models.trainer import TokenizedTexts, TrainingResult, train
from roadmap_shared.config import RunConfig
from roadmap_shared.errors import UserError
from roadmap_shared.runs import start_run

from .helpers import METHODS, TWO_LABELS, every_method

pytestmark = pytest.mark.usefixtures("imported_modules_are_not_searched_for_garbage")


def dataset(n: int, seed: int) -> SentimentDataset:
    """Texts whose label is that of the one opinion word in them."""
    draw = np.random.default_rng(seed)
    words = "the film was and it is a phone you we they plot".split()
    examples = []
    for index in range(n):
        text = list(draw.choice(words, size=draw.integers(2, 8)))
        text.append(draw.choice([["bad", "awful", "hated"], ["good", "great", "loved"]][index % 2]))
        examples.append(Example(" ".join(text), index % 2))
    return SentimentDataset(TWO_LABELS, tuple(examples), "a rule")


SPLITS = Splits(dataset(48, 0), dataset(16, 1), dataset(20, 2))
QUICK = TrainerConfig(
    epochs=3, learning_rate=2e-2, head_factor=1, warmup_share=0, patience=None, threads=1, device="cpu", metric="loss"
)


@pytest.fixture
def fine_tune(tmp_path: Path, encoder_folder: Callable[..., Path]) -> Callable[..., tuple]:
    """Train a method on the rule; returns the model and the result."""

    def run(
        method: str, trainer: TrainerConfig = QUICK, resume: str | None = None, dropout: float = 0.1, **limits: int
    ) -> tuple[SentimentModel, TrainingResult]:
        model_config = ModelConfig(name=str(encoder_folder("bert")), dropout=dropout)
        config = SentimentConfig(
            run=RunConfig(root=tmp_path / "runs", resume=resume),
            trainer=trainer,
            model=model_config,
            method=METHODS[method],  # type: ignore[index]
        )
        with start_run(config, project="bert_sentiment", command="run") as run:
            model = build_classifier(model_config, PreprocessingConfig(max_length=40), TWO_LABELS, run.seed)
            model = apply_method(model, config.method)
            return model, train(model, SPLITS, trainer, run, **limits)

    return run


@every_method
def test_after_training_the_network_is_the_one_its_best_evaluation_saw(fine_tune, monkeypatch, method):
    seen: list[np.ndarray] = []

    def the_first_is_best(prediction: Any) -> dict[str, float]:
        seen.append(np.array(prediction.predictions))
        return {"cross_entropy": float(len(seen)), "accuracy": 0.5, "macro_f1": 0.5}

    monkeypatch.setattr("bert_sentiment.models.trainer.compute_metrics", the_first_is_best)
    model, result = fine_tune(method)
    assert (len(seen), result.best_step, result.best_metric) == (3, 3, 1)
    sorted_texts = [
        SPLITS.validation.texts[index]
        for index in sorted(
            range(len(SPLITS.validation)), key=lambda index: -TokenizedTexts(model, SPLITS.validation).lengths[index]
        )
    ]
    np.testing.assert_allclose(model.logits(sorted_texts), seen[0], atol=1e-5)
    assert np.abs(seen[0] - seen[2]).max() > 1e-3


class Interrupter(callbacks.RunLogger):
    """Presses Ctrl-C in the middle of the second epoch."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 4:
            signal.raise_signal(signal.SIGINT)


@every_method
def test_a_training_interrupted_and_resumed_equals_one_that_was_not(fine_tune, monkeypatch, method):
    model, result = fine_tune(method)
    with monkeypatch.context() as patched:
        patched.setattr("bert_sentiment.models.trainer.RunLogger", Interrupter)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(method)
    resumed, resumed_result = fine_tune(method, resume="latest")
    assert resumed_result == result
    assert result.steps == 9
    np.testing.assert_array_equal(resumed.logits(SPLITS.test.texts), model.logits(SPLITS.test.texts))
    expected = trained_weights(model.network)
    actual = trained_weights(resumed.network)
    assert expected.keys() == actual.keys()
    assert all(torch.equal(actual[name], weight) for name, weight in expected.items())


def test_a_methods_checkpoint_holds_what_it_trains_and_no_more(fine_tune, tmp_path):
    model, _ = fine_tune("ia3")
    newest = tmp_path / "runs" / "bert_sentiment" / "latest" / "checkpoints" / "checkpoint-9"
    names = {path.name for path in newest.iterdir()}
    assert "trained.safetensors" in names
    assert not {"model.safetensors", "adapter_model.safetensors"} & names
    size = sum(weight.numel() for weight in trained_weights(model.network).values())
    content = (newest / "trained.safetensors").read_bytes()
    assert len(content) == 8 + int.from_bytes(content[:8], "little") + 4 * size


@pytest.mark.parametrize("method", ["lora", "p_tuning", "adapter"])
def test_accumulation_changes_nothing_but_memory(fine_tune, method):
    quick = replace(QUICK, learning_rate=1e-3)
    whole, _ = fine_tune(method, quick, dropout=0.0)
    parts, _ = fine_tune(method, replace(quick, accumulation_steps=4), dropout=0.0)
    np.testing.assert_allclose(parts.logits(SPLITS.test.texts), whole.logits(SPLITS.test.texts), atol=1e-4)


@pytest.mark.parametrize(("max_steps", "steps"), [(2, 2), (5, 5), (100, 9)])
def test_training_ends_at_the_limit_and_is_evaluated_there(fine_tune, tmp_path, max_steps, steps):
    _, result = fine_tune("head", max_steps=max_steps)
    history = (tmp_path / "runs" / "bert_sentiment" / "latest" / "metrics.jsonl").read_text().splitlines()
    evaluated = [line["step"] for line in map(json.loads, history) if "val_loss" in line]
    assert result.steps == evaluated[-1] == steps
    assert result.seconds_per_step > 0


ADDED = ("lora_", "ia3_", "adapter", "prompt_encoder")


@every_method
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "albert", "modernbert"])
def test_each_weight_learns_at_the_rate_of_its_place(tiny_model, architecture, method):
    plain = tiny_model(architecture, max_length=40)
    try:
        network = apply_method(plain, METHODS[method]).network
    except UserError:
        pytest.skip("a dead end, see test_method_errors.py")
    config = TrainerConfig(learning_rate=1e-3, layer_decay=0.5, head_factor=4, weight_decay=0.1)
    groups = parameter_groups(network, config)
    found = {id(weight): (group["lr"], group["weight_decay"]) for group in groups for weight in group["params"]}
    trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    assert found.keys() == {id(weight) for weight in trained.values()}
    # ALBERT has one set of weights for all layers, which is the top layer's.
    layers = {".1.": 1e-3, ".0.": 1e-3 if architecture == "albert" else 5e-4}
    for name, weight in trained.items():
        rate, decay = found[id(weight)]
        is_factor = "ia3_" in name
        assert decay == (0.1 if weight.ndim > 1 and not is_factor else 0), name
        if "prompt_encoder" in name:
            expected = 1e-3
        elif any(f"{part}." in name for part in ("layer", "layers", "albert_layer_groups")) and "mlp_head" not in name:
            expected = next(layer_rate for place, layer_rate in layers.items() if place in name.partition("layer")[2])
        elif "embeddings" in name:
            expected = 5e-4 if architecture == "albert" else 2.5e-4
        elif "pooler" in name or "final_norm" in name or "embedding_hidden_mapping" in name:
            expected = 1e-3
        else:
            assert any(part in ("classifier", "pre_classifier", "head") for part in name.split(".")), name
            expected = 4e-3
        assert rate == pytest.approx(expected), name


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_run_leaves_a_model_that_predict_reads(tmp_path, encoder_folder, monkeypatch, capsys, method):
    monkeypatch.chdir(tmp_path)
    small = ["--trainer.epochs", "1", "--evaluation.n_resamples", "20", "--evaluation.n_robustness", "5"]
    small += ["--data.max_examples", "60", "--preprocessing.max_length", "40", "--trainer.threads", "1"]
    model = ["--model.name", str(encoder_folder("bert")), "--method.name", method]
    assert main(["run", *model, *small]) == 0
    folder = tmp_path / "runs" / "bert_sentiment" / "latest"
    summary = json.loads((folder / "summary.json").read_text())
    assert 0 < summary["trained_share"] < 0.5
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    predictions = Predictor.find("latest", Path("runs")).predict([line["text"] for line in lines])
    assert [prediction.label for prediction in predictions] == [line["predicted"] for line in lines]
    assert [prediction.probability for prediction in predictions] == pytest.approx(
        [max(line["probabilities"].values()) for line in lines], abs=1e-3
    )
    by_folder = Predictor.find(str(folder / "model"), Path("runs"))
    assert by_folder.predict(["it was good"]) == Predictor.find(str(folder), Path("runs")).predict(["it was good"])
    if method == "lora":
        names = [
            name for name, _ in AutoModelForSequenceClassification.from_pretrained(folder / "model").named_modules()
        ]
        assert not any("lora" in name for name in names)
    else:
        assert sorted(path.name for path in (folder / "model").iterdir()) == ["method.json", "trained.safetensors"]
    capsys.readouterr()
    assert main(["predict", "it was good"]) == 0
    assert capsys.readouterr().out.strip()
