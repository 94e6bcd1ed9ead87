"""Several seeds in one run: each training is the one that its seed alone gives, and none is done twice."""

import json
import signal
import statistics
from pathlib import Path

import pytest

from transformer_from_scratch import train_simple_lm
from transformer_from_scratch.cli import main

TINY = (
    "--model.n_layers 1 --model.n_heads 2 --model.d_model 16 --model.d_hidden 16 --model.context 16 "
    "--trainer.batch_size 4 --trainer.steps 6 --trainer.evaluate_every 6 --trainer.checkpoint_every 3 "
    "--trainer.threads 1 --trainer.device cpu --evaluation.sample_length 4 --evaluation.n_resamples 20"
).split()


@pytest.fixture
def train(tmp_path: Path):
    """Run the command on a small text and return its run folder."""
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{n} and {n + 1} make {2 * n + 1}.\n" for n in range(300)))

    def run(root: str, *settings: str, expected: int = 0) -> Path:
        folder = tmp_path / root
        assert main(["run", "--data.path", str(text), "--run.root", str(folder), *TINY, *settings]) == expected
        return (folder / "transformer_from_scratch" / "latest").resolve()

    return run


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_the_spread_is_that_of_single_runs(train):
    several = summary(train("several", "--run.seed", "5", "--evaluation.n_seeds", "3"))
    single = [summary(train(f"one-{seed}", "--run.seed", str(seed))) for seed in (5, 6, 7)]
    losses = [one["val_loss"] for one in single]
    assert several["val_loss_seeds"] == pytest.approx(losses, abs=1e-12)
    assert several["val_loss_seeds_mean"] == pytest.approx(statistics.mean(losses))
    assert several["val_loss_seeds_spread"] == pytest.approx(statistics.stdev(losses))
    assert several["val_loss"] == losses[0]
    assert "val_loss_seeds" not in single[0]


def test_the_report_shows_them(train):
    folder = train("several", "--evaluation.n_seeds", "2")
    found = summary(folder)
    page = (folder / "report.html").read_text()
    assert f"{found['val_loss_seeds_mean']:.4f} ± {found['val_loss_seeds_spread']:.4f}" in page
    assert "over 2 seeds" in page


def test_a_resumed_run_trains_what_is_missing(train, tmp_path, monkeypatch):
    whole = summary(train("whole", "--evaluation.n_seeds", "3"))
    trained: list[int] = []
    real = train_simple_lm.train

    def interrupted(model, task, config, run, processes):
        trained.append(run.seed)
        if run.seed == 1338 and len(trained) == 2:
            signal.raise_signal(signal.SIGINT)  # before the first step of the second seed
        return real(model, task, config, run, processes)

    monkeypatch.setattr(train_simple_lm, "train", interrupted)
    train("parts", "--evaluation.n_seeds", "3", expected=130)
    assert trained == [1337, 1338]
    resumed = summary(train("parts", "--evaluation.n_seeds", "3", "--run.resume", "latest"))
    assert trained == [1337, 1338, 1337, 1338, 1339]
    assert resumed["val_loss_seeds"] == whole["val_loss_seeds"]
    runs = list((tmp_path / "parts").glob("transformer_from_scratch/*/seeds/*/transformer_from_scratch/*-seed-*"))
    assert len({folder.resolve() for folder in runs}) == 2


@pytest.mark.parametrize("n_seeds", ["0", "-1"])
def test_no_seed_is_refused(train, capsys, n_seeds):
    train("none", "--evaluation.n_seeds", n_seeds, expected=2)
    assert capsys.readouterr().err.endswith(f"--evaluation.n_seeds {n_seeds} must be at least 1\n")


def test_several_processes_are_refused(train, capsys, monkeypatch):
    class Two:
        count, is_main = 2, True

    real = train_simple_lm.check_seeds
    monkeypatch.setattr(train_simple_lm, "check_seeds", lambda config, processes: real(config, Two()))
    train("two", "--evaluation.n_seeds", "2", expected=2)
    assert capsys.readouterr().err == (
        "transformer-from-scratch run: --evaluation.n_seeds 2 trains in one process: start it without torchrun\n"
    )
