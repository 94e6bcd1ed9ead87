"""A training whose files are refused by the kernel: one line, and it goes on from the checkpoint before."""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from os import geteuid
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bert_sentiment.config import PreprocessingConfig, SentimentConfig
from bert_sentiment.data.types import Example, SentimentDataset, Splits
from bert_sentiment.models.bert_classifier import build_classifier
from bert_sentiment.models.callbacks import StepClock
from bert_sentiment.models.checkpoints import newest_whole_checkpoint
from bert_sentiment.models.method_files import load_method
from bert_sentiment.models.trainer import train
from bert_sentiment.run import save_model, with_method
from roadmap_shared.cli import Command, run_cli
from roadmap_shared.runs import start_run

LABELS = ("negative", "positive")
TEXTS = tuple(
    Example(f"the film was {word} {sign}", index % 2) for index, word in enumerate(("bad", "good") * 8) for sign in ".!"
)
TRAINING = SentimentDataset(LABELS, TEXTS, "by hand")
SPLITS = Splits(TRAINING, TRAINING, TRAINING)
STEPS = 4  # an epoch

AND_RESUME = "and continue with --run.resume latest, or write elsewhere with --run.root FOLDER."
TOO_LARGE = f"File too large. Raise the limit for one file (ulimit -f) {AND_RESUME}"
TORCH = f"torch could not write a file to its end, as on a full disk. Free some space {AND_RESUME}"
FULL = f"No space left on device. Free some space {AND_RESUME}"

Start = Callable[..., int]
Limit = Callable[[int], None]
before_saving: list[Callable[[], None]] = []
undisturbed: dict[tuple[str, ...], dict[str, torch.Tensor]] = {}  # weights by arguments, trained once


def train_and_save(config: SentimentConfig) -> None:
    """What `bert-sentiment run` does, without evaluation."""
    with start_run(config, project="bert_sentiment", command="run") as run:
        model = build_classifier(config.model, PreprocessingConfig(), LABELS, run.seed)
        model = with_method(model, config.method, run.seed)
        train(model, SPLITS, config.trainer, run)
        for action in before_saving:
            action()
        save_model(model, run.folder / "model")


@pytest.fixture
def start(encoder_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A function that trains for three epochs by the command line; returns the exit code."""
    monkeypatch.setitem(sys.modules, "training_command", SimpleNamespace(train=train_and_save))  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    before_saving.clear()
    command = Command(
        name="run", summary="s", config_class=SentimentConfig, function="training_command:train", default_config=None
    )
    base = ["--model.name", str(encoder_folder("bert")), "--trainer.epochs", "3", "--trainer.batch_size", "8"]
    base += ["--trainer.device", "cpu", "--trainer.threads", "1", "--trainer.patience", "None"]
    return lambda *arguments: run_cli("bert-sentiment", "", [command], tmp_path, ["run", *base, *arguments])


@pytest.fixture
def limit() -> Iterator[Limit]:
    """A function that lets no file grow beyond a size: the kernel refuses the write, without a small disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def at_step(number: int, action: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something at the beginning of a training step."""

    class Acting(StepClock):
        def on_step_begin(self, args, state, control, **kwargs) -> None:  # type: ignore[no-untyped-def]
            super().on_step_begin(args, state, control, **kwargs)
            if state.global_step == number:
                action()

    monkeypatch.setattr("bert_sentiment.models.trainer.StepClock", Acting)


def trained_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_method(folder / "model").network.state_dict()


def check_resumed(start: Start, run: Path, *arguments: str) -> None:
    """The stopped run goes on, and ends with the weights of one that was not stopped."""
    assert start("--run.resume", "latest", *arguments) == 0
    if arguments not in undisturbed:
        assert start("--run.root", "undisturbed", *arguments) == 0
        undisturbed[arguments] = trained_weights(Path("undisturbed/bert_sentiment/latest"))
    resumed, expected = trained_weights(run), undisturbed[arguments]
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(resumed[name], expected[name]) for name in resumed)


@pytest.mark.parametrize(
    ("size", "line"),
    [(20_000, f"runs: {TOO_LARGE}"), (120_000, f"runs: {TORCH}")],
    ids=["weights", "optimizer"],
)
def test_a_checkpoint_that_does_not_fit(
    start: Start,
    limit: Limit,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    size: int,
    line: str,
) -> None:
    with monkeypatch.context() as patched:
        at_step(STEPS, lambda: limit(size), patched)
        assert start() == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"bert-sentiment run: {line}"
    run = Path("runs/bert_sentiment/latest")
    limit(resource.RLIM_INFINITY)
    assert (run / "checkpoints" / f"checkpoint-{2 * STEPS}").is_dir(), "there is a torn one"
    whole = newest_whole_checkpoint(run / "checkpoints")
    assert whole is not None
    assert whole.name == f"checkpoint-{STEPS}"
    check_resumed(start, run)


def test_weights_of_a_fine_tuning_method_that_do_not_fit(
    start: Start, limit: Limit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    method = ("--method.name", "lora")
    with monkeypatch.context() as patched:
        at_step(STEPS, lambda: limit(10_000), patched)
        assert start(*method) == 2
    run = Path("runs/bert_sentiment/latest")
    place = Path("runs/bert_sentiment", run.resolve().name, "checkpoints", "checkpoint-8", "trained.safetensors")
    assert capsys.readouterr().err.splitlines()[-1] == f"bert-sentiment run: {place}: {TOO_LARGE}"
    limit(resource.RLIM_INFINITY)
    check_resumed(start, run, *method)


def test_metrics_that_do_not_fit(
    start: Start, limit: Limit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path("runs/bert_sentiment/latest")
    with monkeypatch.context() as patched:
        at_step(STEPS, lambda: limit((run / "metrics.jsonl").stat().st_size + 20), patched)
        assert start() == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"bert-sentiment run: runs: {TOO_LARGE}"
    limit(resource.RLIM_INFINITY)
    check_resumed(start, run)


def test_a_final_model_that_does_not_fit(start: Start, limit: Limit, capsys: pytest.CaptureFixture[str]) -> None:
    before_saving.append(lambda: limit(20_000))
    assert start() == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"bert-sentiment run: runs: {TOO_LARGE}"
    limit(resource.RLIM_INFINITY)
    before_saving.clear()
    run = Path("runs/bert_sentiment/latest")
    assert not list(run.glob("*model*")), "nothing that passes for a model is left"
    check_resumed(start, run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory that holds a checkpoint and not all of them; skipped where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)]
    if geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(start: Start, small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ("--run.root", str(small_disk))
    assert start(*place) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line in (f"bert-sentiment run: {small_disk}: {reason}" for reason in (FULL, TORCH))
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    run = small_disk / "bert_sentiment" / "latest"
    assert newest_whole_checkpoint(run / "checkpoints") is not None
    assert start("--run.resume", "latest", *place) == 0
    assert (run / "model" / "model.safetensors").is_file()
