"""The training loop through the real command: exact resumption, evaluation without side effects, several processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from transformer_from_scratch.cli import main

TINY = {
    "model.n_layers": 2,
    "model.n_heads": 2,
    "model.d_model": 32,
    "model.d_hidden": 64,
    "model.context": 32,
    "model.ngram_orders": (2, 3),
    "model.ngram_rows": 100,
    "model.ngram_width": 4,
    "model.dropout": 0.1,
    "trainer.batch_size": 8,
    "trainer.steps": 12,
    "trainer.evaluate_every": 6,
    "trainer.checkpoint_every": 5,
    "trainer.threads": 1,
    "trainer.device": "cpu",
    "evaluation.sample_length": 10,
    "evaluation.attention_text": "3 times 3",
    "evaluation.n_resamples": 50,
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{n} times {n} is {n * n}.\n" for n in range(700)))
    return path


def arguments(text: Path, root: Path, **settings: object) -> list[str]:
    flags = TINY | {"data.path": text, "run.root": root} | {k.replace("__", "."): v for k, v in settings.items()}
    return ["run", *(part for name, value in flags.items() for part in (f"--{name}", *words(value)))]


def words(value: object) -> list[str]:
    return [str(part) for part in value] if isinstance(value, tuple) else [str(value)]


def train(text: Path, root: Path, **settings: object) -> Path:
    """Run the command in this process; returns the run folder."""
    assert main(arguments(text, root, **settings)) == 0
    return newest_run(root)


def newest_run(root: Path) -> Path:
    return (root / "transformer_from_scratch" / "latest").resolve()


def history(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path, step: int = 12) -> dict[str, torch.Tensor]:
    stored = load_file(folder / "checkpoints" / f"step-{step:08d}" / "model.safetensors")
    return {name: tensor.clone() for name, tensor in stored.items()}  # not a view of the file, which may change


def assert_identical(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_run_learns_and_leaves_everything(text: Path, tmp_path: Path) -> None:
    folder = train(text, tmp_path / "runs", trainer__steps=60, trainer__evaluate_every=30)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["project"] == "transformer_from_scratch"
    assert summary["val_loss_low"] < summary["val_loss"]
    assert summary["val_loss"] < summary["val_loss_high"]
    assert summary["val_loss"] < summary["baseline_unigram"], "60 steps must beat counting characters"
    lines = history(folder)
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert [line["step"] for line in lines if "val_loss" in line] == [30, 60]
    assert lines[-1]["val_loss"] == pytest.approx(summary["val_loss"], rel=1e-6)
    assert sorted(path.stem for path in (folder / "figures").iterdir()) == ["attention", "loss", "positions"]
    page = (folder / "report.html").read_text()
    assert "What it learned" in page
    assert "temperature 0 (greedy)" in page
    # The resolved config repeats the run.
    repeated = tmp_path / "again"
    assert main(["run", "--config", str(folder / "config.yaml"), "--run.root", str(repeated)]) == 0
    assert_identical(weights(newest_run(repeated), 60), weights(folder, 60))


def test_another_seed_gives_another_model(text: Path, tmp_path: Path) -> None:
    a, b = (weights(train(text, tmp_path / str(seed), run__seed=seed)) for seed in (1, 2))
    assert not torch.equal(a["tokens.embedding.weight"], b["tokens.embedding.weight"])


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_resumed_run_is_bit_identical(text: Path, tmp_path: Path, optimizer: str) -> None:
    whole = train(text, tmp_path / "whole", trainer__optimizer=optimizer)
    cut = train(text, tmp_path / "cut", trainer__optimizer=optimizer, trainer__keep_checkpoints=9)
    remove_step(cut, 12)
    remove_step(cut, 10)
    assert main(arguments(text, tmp_path / "cut", trainer__optimizer=optimizer, trainer__keep_checkpoints=9,
                          run__resume="latest")) == 0  # fmt: skip
    assert_identical(weights(cut), weights(whole))
    same = ("step", "loss", "lr", "grad_norm", "val_loss")
    strip = [[{key: line.get(key) for key in same} for line in history(folder)] for folder in (whole, cut)]
    assert strip[0] == strip[1]


def remove_step(folder: Path, step: int) -> None:
    checkpoint = folder / "checkpoints" / f"step-{step:08d}"
    for file in checkpoint.iterdir():
        file.unlink()
    checkpoint.rmdir()


def start_in_background(text: Path, root: Path, **settings: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "transformer_from_scratch", *arguments(text, root, **settings)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_checkpoint(root: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not list(root.glob("transformer_from_scratch/*/checkpoints/step-*")):
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline, "no checkpoint within two minutes"
        time.sleep(0.02)


def test_killed_run_resumes_to_the_same_weights(text: Path, tmp_path: Path) -> None:
    settings = {"trainer__steps": 300, "trainer__checkpoint_every": 5, "trainer__evaluate_every": 100}
    process = start_in_background(text, tmp_path / "cut", **settings)
    wait_for_checkpoint(tmp_path / "cut", process)
    process.kill()
    process.communicate()
    killed = newest_run(tmp_path / "cut")
    assert not (killed / "summary.json").exists(), "the run ended before it was killed"
    assert train(text, tmp_path / "cut", run__resume="latest", **settings) == killed
    whole = train(text, tmp_path / "whole", **settings)
    assert_identical(weights(killed, 300), weights(whole, 300))
    assert [line["loss"] for line in history(killed)] == [line["loss"] for line in history(whole)]


def test_ctrl_c_saves_and_exits_130(text: Path, tmp_path: Path) -> None:
    process = start_in_background(text, tmp_path, trainer__steps=100_000, trainer__checkpoint_every=10)
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert errors.decode().strip().splitlines()[-1].startswith("transformer-from-scratch run: interrupted")
    folder = newest_run(tmp_path)
    done = history(folder)[-1]["step"]
    assert (folder / "checkpoints" / f"step-{done:08d}" / "manifest.json").exists()


def test_damaged_checkpoint_is_named_and_skipped(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(text, tmp_path)
    before = weights(folder)
    damaged = folder / "checkpoints" / "step-00000012" / "model.safetensors"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(bytes(data))
    capsys.readouterr()
    assert main(arguments(text, tmp_path, run__resume="latest")) == 0
    assert str(damaged) in capsys.readouterr().err
    assert_identical(weights(folder), before)


def test_evaluating_more_often_changes_nothing(text: Path, tmp_path: Path) -> None:
    rarely = train(text, tmp_path / "rarely", trainer__evaluate_every=12)
    often = train(text, tmp_path / "often", trainer__evaluate_every=1)
    assert_identical(weights(rarely), weights(often))


def test_accumulated_gradients_are_those_of_the_whole_batch(text: Path, tmp_path: Path) -> None:
    # One large step each, so that a wrong weight of the parts cannot hide; no dropout, which differs by part.
    settings = {"model__dropout": 0, "trainer__optimizer": "adamw", "model__n_experts": 1}
    whole = train(text, tmp_path / "whole", **settings)
    parts = train(text, tmp_path / "parts", trainer__accumulation_steps=4, **settings)
    for a, b in zip(history(whole), history(parts), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_give_the_single_process_curve(text: Path, tmp_path: Path, parallel: str) -> None:
    settings = {"model__dropout": 0, "trainer__optimizer": "muon" if parallel == "ddp" else "adamw"}
    single = train(text, tmp_path / "single", **settings)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "transformer_from_scratch"]
    flags = arguments(text, tmp_path / "double", trainer__parallel=parallel, **settings)
    done = subprocess.run([*launcher, *program, *flags], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report:") == 1, "one process reports"
    double = newest_run(tmp_path / "double")
    assert len(history(double)) == 12
    for a, b in zip(history(single), history(double), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], abs=1e-5)
    for name, weight in weights(single).items():
        torch.testing.assert_close(weights(double)[name], weight, rtol=1e-3, atol=1e-4)


def test_bf16_trains_the_same_model_roughly(text: Path, tmp_path: Path) -> None:
    plain = train(text, tmp_path / "plain", model__dropout=0)
    bf16 = train(text, tmp_path / "bf16", model__dropout=0, trainer__precision="bf16")
    losses = [[line["loss"] for line in history(folder)] for folder in (plain, bf16)]
    assert losses[0] != losses[1], "bf16 must make a difference"
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_model_trains_alike(text: Path, tmp_path: Path) -> None:
    settings = {"model__dropout": 0, "model__positions": "learned", "trainer__steps": 4}
    plain = train(text, tmp_path / "plain", **settings)
    process = start_in_background(text, tmp_path / "compiled", trainer__compile=True, **settings)
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors.decode()
    losses = [[line["loss"] for line in history(folder)] for folder in (plain, newest_run(tmp_path / "compiled"))]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.parametrize("settings", [
    {"model__n_experts": 3, "trainer__precision": "bf16"},
    {"model__positions": "alibi", "model__n_kv_heads": 2, "model__norm": "rms", "model__activation": "swiglu"},
    {"model__positions": "learned", "model__norm_position": "post", "model__bias": True, "data__tokenizer": "bpe",
     "data__vocabulary": 300},
    {"data__tokenizer": "wordpiece", "data__vocabulary": 400, "model__positions": "sinusoidal"},
])  # fmt: skip
def test_other_shapes_train_through_the_same_command(text: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    folder = train(text, tmp_path, **settings, trainer__steps=20, trainer__evaluate_every=20)
    losses = [line["loss"] for line in history(folder)]
    assert losses[-1] < losses[0]


def test_diverged_training_says_so(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(arguments(text, tmp_path, trainer__optimizer="adamw", trainer__learning_rate=1e30,
                          trainer__warmup_steps=0, trainer__clip_norm=0))  # fmt: skip
    assert code == 2
    assert "training diverged. Lower --trainer.learning_rate" in capsys.readouterr().err


def test_batch_that_does_not_divide_is_refused(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(arguments(text, tmp_path, trainer__batch_size=6, trainer__accumulation_steps=4)) == 2
    assert "--trainer.batch_size 6 is not a multiple of --trainer.accumulation_steps 4" in capsys.readouterr().err


def test_resuming_with_another_model_is_refused(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(text, tmp_path)
    assert main(arguments(text, tmp_path, run__resume="latest", model__n_layers=3)) == 2
    assert "model.n_layers: 2 → 3" in capsys.readouterr().err


def test_unknown_device_is_refused(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(text, tmp_path, trainer__device="cuda:77")) == 2
    assert "--trainer.device cuda:77: not available here" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_run_folder_is_refused(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert main(arguments(text, tmp_path)) == 2
    assert "--run.root" in capsys.readouterr().err
