"""Fine-tuning on a rule that a tiny encoder can learn: what is kept, when it stops, how it resumes."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bert_sentiment.config import ModelConfig, PreprocessingConfig, SentimentConfig, TrainerConfig
from bert_sentiment.data.types import Example, SentimentDataset, Splits
from bert_sentiment.models import callbacks
from bert_sentiment.models.batches import POOL, BucketSampler
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier
from bert_sentiment.models.checkpoints import SEAL, fault_of, newest_whole_checkpoint, seal
from bert_sentiment.models.learning_rates import parameter_groups
from bert_sentiment.models.trainer import TrainingResult, class_weights, classification_loss, train
from roadmap_shared.config import RunConfig
from roadmap_shared.errors import UserError
from roadmap_shared.runs import start_run

LABELS = ("negative", "positive")


def dataset(n: int, seed: int) -> SentimentDataset:
    """Texts whose label is that of the one opinion word in them."""
    draw = np.random.default_rng(seed)
    words = "the film was and it is a phone you we they plot".split()
    examples = []
    for index in range(n):
        label = index % 2
        text = list(draw.choice(words, size=draw.integers(2, 12)))
        text.insert(
            int(draw.integers(len(text) + 1)),
            draw.choice([["bad", "awful", "hated"], ["good", "great", "loved"]][label]),
        )
        examples.append(Example(" ".join(text), label))
    return SentimentDataset(LABELS, tuple(examples), "a rule")


SPLITS = Splits(dataset(96, 0), dataset(40, 1), dataset(40, 2))
QUICK = TrainerConfig(
    epochs=3,
    batch_size=16,
    learning_rate=2e-3,
    head_factor=1.0,
    warmup_share=0.0,
    patience=None,
    threads=1,
    device="cpu",
)


@dataclass
class Trained:
    model: SentimentModel
    result: TrainingResult
    history: list[dict] = field(default_factory=list)
    checkpoints: Path = Path()


@pytest.fixture
def fine_tune(tmp_path, encoder_folder):
    """Train on the rule, and return what came of it."""

    def run(trainer: TrainerConfig = QUICK, resume: str | None = None, architecture: str = "bert", **data) -> Trained:
        name = ModelConfig(name=str(encoder_folder(architecture)), dropout=data.pop("dropout", 0.1))
        config = SentimentConfig(run=RunConfig(root=tmp_path / "runs", resume=resume), trainer=trainer, model=name)
        with start_run(config, project="bert_sentiment", command="run") as run:
            model = build_classifier(config.model, PreprocessingConfig(), LABELS, run.seed)
            result = train(model, replace(SPLITS, **data), trainer, run)
            return Trained(model, result, run.history(), run.checkpoints)

    return run


def weights(model: SentimentModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- the whole training ---------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "albert", "modernbert"])
def test_the_rule_is_learned(fine_tune, architecture):
    trained = fine_tune(replace(QUICK, epochs=8, learning_rate=3e-3), architecture=architecture)
    predicted = trained.model.logits(SPLITS.test.texts).argmax(axis=1)
    assert (predicted == SPLITS.test.targets).mean() >= 0.9
    validated = [line["val_accuracy"] for line in trained.history if "val_accuracy" in line]
    assert len(validated) == 8
    losses = [line["loss"] for line in trained.history if "loss" in line]
    assert losses[-1] < losses[0]


def test_the_best_weights_are_kept_and_reported(fine_tune):
    # A rate that ruins the model after it has learned: the last evaluation is not the best.
    trained = fine_tune(replace(QUICK, epochs=6, learning_rate=2e-2, schedule="constant", metric="loss"))
    losses = {line["step"]: line["val_loss"] for line in trained.history if "val_loss" in line}
    best = min(losses, key=lambda step: losses[step])
    assert best != max(losses)
    assert (trained.result.best_step, trained.result.best_metric) == (best, pytest.approx(losses[best]))
    logits = torch.from_numpy(trained.model.logits(SPLITS.validation.texts))
    kept = F.cross_entropy(logits, torch.tensor(SPLITS.validation.targets)).item()
    assert kept == pytest.approx(losses[best], abs=1e-5)


def test_training_stops_when_it_no_longer_helps(fine_tune):
    trained = fine_tune(replace(QUICK, epochs=30, learning_rate=1e-8, patience=2))
    assert trained.result.epochs == pytest.approx(3)
    assert trained.result.best_step == 6


def test_a_missing_metric_is_an_error(fine_tune, monkeypatch):
    monkeypatch.setattr("bert_sentiment.models.trainer.compute_metrics", lambda prediction: {"accuracy": 0.5})
    with pytest.raises(RuntimeError, match=r"^the evaluation gave no 'macro_f1' to stop by, only \['"):
        fine_tune()


def test_a_diverging_loss_ends_in_one_line(fine_tune):
    with pytest.raises(UserError) as raised:
        fine_tune(replace(QUICK, learning_rate=1e30, clip_norm=0.0))
    assert "training diverged. Lower --trainer.learning_rate or --trainer.head_factor" in str(raised.value)


def test_the_same_seed_gives_the_same_weights(fine_tune):
    assert same(weights(fine_tune().model), weights(fine_tune().model))


def test_accumulation_changes_nothing_but_memory(fine_tune):
    whole = fine_tune(dropout=0.0)
    parts = fine_tune(replace(QUICK, accumulation_steps=4), dropout=0.0)
    assert whole.result.steps == parts.result.steps
    losses = [[line["val_loss"] for line in run.history if "val_loss" in line] for run in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_batch_that_cannot_be_shared_out(fine_tune, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr("bert_sentiment.models.trainer.agree_on_folders", lambda config, run: ("checkpoints", None))
    with pytest.raises(UserError) as raised:
        fine_tune()
    assert str(raised.value) == (
        "--trainer.batch_size 16 is not a multiple of 3 (3 processes × --trainer.accumulation_steps 1)"
    )


# --- interruption and resumption ------------------------------------------------------------------


class Interrupter(callbacks.RunLogger):
    """Presses Ctrl-C in the middle of the second epoch."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 8:
            signal.raise_signal(signal.SIGINT)


def test_a_run_interrupted_and_resumed_equals_one_that_was_not(fine_tune, monkeypatch):
    uninterrupted = fine_tune()
    with monkeypatch.context() as patched:
        patched.setattr("bert_sentiment.models.trainer.RunLogger", Interrupter)
        with pytest.raises(KeyboardInterrupt):
            fine_tune()
    resumed = fine_tune(resume="latest")
    assert same(weights(resumed.model), weights(uninterrupted.model))
    assert resumed.result == uninterrupted.result
    curves = [
        [(line["step"], line["val_loss"]) for line in run.history if "val_loss" in line]
        for run in (resumed, uninterrupted)
    ]
    assert curves[0] == curves[1]


def test_a_damaged_checkpoint_is_named_and_skipped(fine_tune, capsys):
    first = fine_tune()
    newest = first.checkpoints / "checkpoint-18"
    (newest / "optimizer.pt").write_bytes(b"damaged")
    resumed = fine_tune(resume="latest")
    assert f"checkpoint skipped: {newest}: optimizer.pt is damaged" in capsys.readouterr().err
    assert same(weights(resumed.model), weights(first.model))


def test_only_whole_checkpoints_count(tmp_path):
    for step in (5, 10, 15, 20):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        seal(folder)
    (tmp_path / "checkpoint-20" / SEAL).unlink()
    (tmp_path / "checkpoint-15" / "model.safetensors").unlink()
    (tmp_path / "checkpoint-10" / SEAL).write_text("[", encoding="utf-8")
    assert fault_of(tmp_path / "checkpoint-20") == "was not finished"
    assert fault_of(tmp_path / "checkpoint-15") == "model.safetensors is missing"
    assert fault_of(tmp_path / "checkpoint-10") == f"{SEAL} cannot be read"
    assert newest_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]
    assert newest_whole_checkpoint(tmp_path / "none") is None


# --- several processes ----------------------------------------------------------------------------


LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    # --multi_gpu: it starts several processes, by what is torchrun too. With --cpu it starts one, whatever is asked.
    "accelerate launch": "accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port 0".split(),
}
"""The modules behind the commands: those of the interpreter that runs the tests."""


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_give_the_metrics_of_one(launcher, fine_tune, encoder_folder, tmp_path):
    single = fine_tune(dropout=0.0)
    script = tmp_path / "two.py"
    script.write_text(
        f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import importlib.util
spec = importlib.util.spec_from_file_location("rule", {__file__!r})
rule = importlib.util.module_from_spec(spec)
sys.modules["rule"] = rule
spec.loader.exec_module(rule)
config = rule.SentimentConfig(
    run=rule.RunConfig(root=Path({str(tmp_path / "two")!r})),
    trainer=rule.QUICK,
    model=rule.ModelConfig(name={str(encoder_folder("bert"))!r}, dropout=0.0),
)
with rule.start_run(config, project="bert_sentiment", command="run") as run:
    model = rule.build_classifier(config.model, rule.PreprocessingConfig(), rule.LABELS, run.seed)
    result = rule.train(model, rule.SPLITS, config.trainer, run)
    if run.is_main:
        n_processes = rule.torch.distributed.get_world_size()
        found = [n_processes, result.steps, run.history()]
        Path({str(tmp_path / "result.json")!r}).write_text(json.dumps(found))
""",
        encoding="utf-8",
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    # A configuration that `accelerate config` left in the user's home is none of the test's.
    environment["HF_HOME"] = str(tmp_path / "home")
    command = [sys.executable, "-m", *LAUNCHERS[launcher], str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    n_processes, steps, history = json.loads((tmp_path / "result.json").read_text())
    assert (n_processes, steps) == (2, single.result.steps)
    for name in ("val_loss", "val_accuracy", "val_macro_f1", "loss"):
        expected = [line[name] for line in single.history if name in line]
        assert expected, name
        assert [line[name] for line in history if name in line] == pytest.approx(expected, abs=1e-4), name


# --- batches, rates, weights ----------------------------------------------------------------------


def test_buckets_hold_every_text_once_and_little_padding():
    lengths = np.random.default_rng(0).integers(3, 100, size=1003).tolist()
    sampler = BucketSampler(lengths, 16, seed=1)
    order = list(sampler)
    assert sorted(order) == list(range(1003))
    assert list(sampler) == order
    sampler.set_epoch(1)
    assert list(sampler) != order

    def padded(order: list[int]) -> int:
        batches = [order[start : start + 16] for start in range(0, len(order), 16)]
        return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)

    shuffled = list(BucketSampler(lengths, 16, seed=1, bucket=False))
    assert sorted(shuffled) == list(range(1003))
    assert padded(order) < 1.1 * sum(lengths) < 1.5 * sum(lengths) < padded(shuffled)


def test_a_pool_larger_than_the_texts_still_mixes_their_batches():
    lengths = list(range(64))
    order = list(BucketSampler(lengths, 4, seed=3))
    assert len(lengths) < POOL * 4
    firsts = [min(order[start : start + 4]) for start in range(0, 64, 4)]
    assert firsts != sorted(firsts)


def test_learning_rates_fall_with_depth(tiny_model, architecture):
    network = tiny_model(architecture).network
    config = TrainerConfig(learning_rate=1e-3, layer_decay=0.5, head_factor=4, weight_decay=0.1)
    groups = parameter_groups(network, config)
    settings = {
        id(parameter): (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]
    }
    assert len(settings) == sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    rates = {}
    for name, parameter in network.named_parameters():
        rate, decay = settings[id(parameter)]
        assert decay == (0.1 if parameter.ndim >= 2 else 0.0)
        rates.setdefault(rate, []).append(name)
    # ALBERT shares one layer's weights among all.
    depths = {"albert": [4e-3, 1e-3, 5e-4]}.get(architecture, [4e-3, 1e-3, 5e-4, 2.5e-4])
    assert sorted(rates, reverse=True) == pytest.approx(depths)
    assert any("classifier" in name for name in rates[max(rates)])
    assert all("embeddings" in name for name in rates[min(rates)])


def test_balanced_weights_make_labels_count_alike():
    targets = [0] * 6 + [1] * 3 + [2]
    weight = class_weights(targets, 3)
    assert [n * weight[label].item() for label, n in enumerate([6, 3, 1])] == pytest.approx([10 / 3] * 3)
    assert weight[torch.tensor(targets)].mean().item() == pytest.approx(1)


def test_the_loss_is_torchs_own_and_adds_up_over_parts():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(12, 3, generator=generator), torch.randint(3, (12,), generator=generator)
    weight = torch.tensor([0.5, 1.0, 2.5])
    torch.testing.assert_close(classification_loss(logits, labels), F.cross_entropy(logits, labels))
    smoothed = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(classification_loss(logits, labels, label_smoothing=0.1), smoothed)
    by_hand = sum(-weight[label] * row.log_softmax(0)[label] for row, label in zip(logits, labels, strict=True)) / 12
    torch.testing.assert_close(classification_loss(logits, labels, weight), by_hand)
    parts = [classification_loss(logits[part], labels[part], weight) for part in (slice(0, 4), slice(4, 12))]
    torch.testing.assert_close((4 * parts[0] + 8 * parts[1]) / 12, by_hand)
