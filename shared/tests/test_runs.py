"""Runs: the folder and its files, resumption, ranks, and what happens when the disk says no."""

from __future__ import annotations

import json
import math
import os
import random
import re
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roadmap_shared.config import RunConfig, TrackingConfig, load_config, parse_config
from roadmap_shared.errors import UserError
from roadmap_shared.runs import Run, latest_run, start_run


@dataclass(kw_only=True, frozen=True)
class TrainerConfig:
    learning_rate: float = 0.001
    max_steps: int = 10


@dataclass(kw_only=True, frozen=True)
class ToyConfig:
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@pytest.fixture
def config(tmp_path: Path) -> ToyConfig:
    return ToyConfig(run=RunConfig(root=tmp_path / "runs"))


@pytest.fixture(autouse=True)
def no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)


def start(config: ToyConfig, **kwargs: Any) -> Any:
    return start_run(config, project="toy", command="run", **kwargs)


def resuming(config: ToyConfig, resume: str, **trainer: Any) -> ToyConfig:
    return replace(config, run=replace(config.run, resume=resume), trainer=replace(config.trainer, **trainer))


def test_a_whole_run(config, tmp_path, capsys):
    (tmp_path / "full.yaml").write_text("trainer: {max_steps: 2}")
    arguments = ["--config", "full", "--run.root", str(config.run.root), "--run.name", "first"]
    config = parse_config(ToyConfig, arguments, prog="", description="", configs=tmp_path, default=None)
    with start(config) as run:
        for step in range(2):
            run.log(step, loss=torch.tensor(1.0) / (step + 1), count=np.int64(step))
        run.log_figure("curve", b"<svg/>")
        scores = {"val_loss": np.float64(1.62), "val_loss_low": 1.5, "val_loss_high": 1.75, "bad": math.nan}
        summary = run.finish(scores, "<html>")
    assert re.fullmatch(r"\d{8}-\d{6}-first", run.folder.name)
    assert (run.folder / "config.yaml").read_text().startswith("# toy run, from config 'full'\n")
    assert run.folder.parent == config.run.root / "toy"
    assert not run.resumed
    assert run.checkpoints == run.folder / "checkpoints"
    assert run.history() == [{"step": 0, "loss": 1.0, "count": 0}, {"step": 1, "loss": 0.5, "count": 1}]
    assert (run.folder / "figures" / "curve.svg").read_text() == "<svg/>"
    assert (run.folder / "report.html").read_text() == "<html>"
    written = json.loads((run.folder / "summary.json").read_text())
    assert list(written)[:6] == ["project", "command", "config", "seed", "seconds", "peak_memory_mb"]
    assert written == summary | {"bad": "NaN"}
    assert {name: summary[name] for name in ("project", "command", "config", "seed", "val_loss")} == {
        "project": "toy",
        "command": "run",
        "config": "full",
        "seed": 1337,
        "val_loss": 1.62,
    }
    resident_now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    assert resident_now * 0.9 < summary["peak_memory_mb"] < 100_000
    report = run.folder / "report.html"
    assert capsys.readouterr().out == f"val_loss 1.62 [1.5, 1.75]\nreport: {report}\n"


def test_the_written_config_repeats_the_run(config):
    with start(config) as run:
        pass
    text = (run.folder / "config.yaml").read_text()
    assert text.startswith("# toy run\ntrainer:\n")
    assert load_config(ToyConfig, run.folder / "config.yaml") == config


def test_a_run_without_report_or_figures(config, capsys):
    with start(config) as run:
        run.finish({}, None)
    assert capsys.readouterr().out == f"done\nrun folder: {run.folder}\n"
    assert not (run.folder / "report.html").exists()


def test_the_summary_may_not_hold_the_runs_own_keys(config):
    with (
        start(config) as run,
        pytest.raises(ValueError, match=r"writes these keys of the summary: \['seed'\]"),
    ):
        run.finish({"seed": 1}, None)


def test_a_matplotlib_figure_becomes_a_png(config, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    from matplotlib.figure import Figure

    with start(config) as run:
        run.log_figure("empty", Figure())
    assert (run.folder / "figures" / "empty.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_signs_that_no_font_has_give_no_warning(config, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    from matplotlib.figure import Figure

    figure = Figure()
    figure.suptitle("\u4e2d\U0001fae0")
    with start(config) as run:
        run.log_figure("signs", figure)  # a warning would be an error here
    assert (run.folder / "figures" / "signs.png").exists()


def test_a_figure_of_another_kind_is_refused(config):
    with start(config) as run, pytest.raises(ValueError, match="figure 'photo' is neither PNG nor SVG"):
        run.log_figure("photo", b"\xff\xd8\xff\xe0")
    assert not (run.folder / "figures").exists()


def test_a_full_disk_at_the_end_does_not_hide_what_ended_the_run(config, monkeypatch):
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    def interrupted() -> None:
        with start(config):
            monkeypatch.setattr("roadmap_shared.run.atomic_write", fail)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_runs_of_the_same_second_get_folders_of_their_own(config, monkeypatch):
    folders = []
    for _ in range(3):
        with start(config) as run:
            folders.append(run.folder.name)
        assert latest_run("toy", config.run.root) == run.folder
    assert len(set(folders)) == 3
    assert os.readlink(config.run.root / "toy" / "latest") == folders[-1]
    assert sorted(os.listdir(config.run.root / "toy")) == sorted([*folders, "latest"])


def test_everything_is_seeded(config):
    def draw(seed: int) -> tuple[float, float, float]:
        with start(replace(config, run=replace(config.run, seed=seed))) as run:
            assert run.seed == seed
            return random.random(), float(np.random.rand()), float(torch.rand(()))

    first, again, other = draw(1), draw(1), draw(2)
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_latest_can_be_resumed_after_a_kill(config):
    with suppress(KeyboardInterrupt), start(config) as run:
        run.log(0, loss=1.0)
        run.log(1, loss=0.9)
        run.log(2, loss=0.8)
        raise KeyboardInterrupt
    with start(resuming(config, "latest")) as again:
        assert (again.folder, again.resumed) == (run.folder, True)
        again.rewind(1)
        again.log(2, loss=0.7)
    assert again.history() == [{"step": step, "loss": loss} for step, loss in enumerate((1.0, 0.9, 0.7))]
    assert load_config(ToyConfig, run.folder / "config.yaml").run.resume is None


@pytest.mark.parametrize("named_by", ["path", "name"])
def test_an_older_run_is_resumed_by_path_or_name(config, named_by):
    with start(config) as old:
        pass
    with start(config):
        pass
    with start(resuming(config, str(old.folder) if named_by == "path" else old.folder.name)) as again:
        pass
    assert again.folder == old.folder
    assert latest_run("toy", config.run.root) == old.folder


def test_latest_is_the_newest_run_of_the_same_command(config):
    with start_run(config, project="toy", command="score"):
        pass
    place = config.run.root / "toy"
    assert message_of(resuming(config, "latest")) == (
        f"{place}: holds no run of `run` yet, only of others, such as `score`. Start one without --run.resume, or name "
        "its place with --run.root"
    )
    with start(config) as run:
        pass
    with start_run(config, project="toy", command="score") as other:
        pass
    with start(resuming(config, "latest")) as again:
        assert again.folder == run.folder
    assert message_of(resuming(config, other.folder.name)) == (
        f"--run.resume {other.folder.name}: is a run of `score`, which `run` cannot continue"
    )


def test_seconds_go_on_after_a_resumption(config, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("roadmap_shared.run.time.monotonic", lambda: clock[0])
    with start(config) as run:
        clock[0] += 5
    clock[0] += 1000
    with start(resuming(config, "latest")) as run:
        clock[0] += 2
        assert run.seconds == 7
        assert run.finish({}, None)["seconds"] == 7


def test_a_dangling_latest_falls_back_to_the_newest_folder(config):
    with start(config) as run:
        pass
    link = config.run.root / "toy" / "latest"
    link.unlink()
    link.symlink_to("gone")
    assert latest_run("toy", config.run.root) == run.folder


def message_of(config: ToyConfig, **kwargs: Any) -> str:
    with pytest.raises(UserError) as caught, start(config, **kwargs):
        pass
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_to_resume(config):
    place = config.run.root / "toy"
    assert message_of(resuming(config, "latest")) == (
        f"{place}: holds no run yet. Start one without --run.resume, or name its place with --run.root"
    )
    assert message_of(resuming(config, "other")) == (
        f"--run.resume other: is not a run folder (no config.yaml in it). There is no run in {place}."
    )
    with start(config) as run:
        pass
    assert message_of(resuming(config, "other")).endswith(f"in it). Runs in {place}: {run.folder.name}.")


def test_a_resumed_run_keeps_its_settings(config):
    with start(config) as run:
        pass
    stored = run.folder / "config.yaml"
    changed = resuming(config, "latest", learning_rate=0.002, max_steps=20)
    assert message_of(changed) == (
        f"--run.resume {run.folder}: that run had other settings: trainer.learning_rate: 0.001 → 0.002; "
        f"trainer.max_steps: 10 → 20. Resume with --config {stored}, or start a new run."
    )
    assert "max_steps" not in message_of(changed, resumable_changes=("trainer.max_steps",))
    longer = resuming(config, "latest", max_steps=20)
    longer = replace(longer, run=replace(longer.run, name="x"), tracking=TrackingConfig(experiment="x"))
    with start(longer, resumable_changes=("trainer.max_steps",)):
        pass
    assert load_config(ToyConfig, stored).trainer.max_steps == 20
    # What a step draws depends on the seed: another one would not continue the run.
    assert "run.seed: 1337 → 5" in message_of(replace(longer, run=replace(longer.run, seed=5)))


def test_another_rank_writes_nothing(config, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    with start(config) as run:
        assert not run.is_main
        run.log(0, loss=1.0)
        run.rewind(0)
        run.log_figure("curve", b"<svg/>")
        assert run.finish({"val_loss": 1.0}, "<html>")["val_loss"] == 1.0
        with pytest.raises(RuntimeError, match="only rank 0 knows the folder of a new run"):
            _ = run.folder
    assert not config.run.root.exists()
    assert capsys.readouterr() == ("", "")


def test_another_rank_finds_the_run_to_resume(config, monkeypatch):
    with start(config) as run:
        run.log(0, loss=1.0)
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    monkeypatch.setenv("RANK", "1")
    with start(resuming(config, "latest")) as other:
        other.log(1, loss=1.0)
        assert other.checkpoints == run.checkpoints
        assert other.history() == [{"step": 0, "loss": 1.0}]
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


REMEDY = "Free some space or change the permissions, or write elsewhere with --run.root FOLDER"


def test_a_root_that_cannot_hold_folders(config, tmp_path):
    (tmp_path / "runs").write_text("a file")
    place = config.run.root / "toy"
    assert message_of(config) == f"{place}: the run folder cannot be written (Not a directory). {REMEDY}"


def test_a_full_disk_at_the_start_leaves_no_folder(config, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        message = message_of(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.endswith(f": the run folder cannot be written (File too large). {REMEDY}")
    assert os.listdir(config.run.root / "toy") == []


def test_a_tracker_that_does_not_start_leaves_no_folder(config, monkeypatch):
    def refuse(folder: Path, experiment: str) -> Any:
        raise ConnectionError("no server")

    monkeypatch.setattr("roadmap_shared.tracking._BACKENDS", {"wandb": refuse})
    with start(config) as run:
        pass
    message = message_of(replace(config, tracking=TrackingConfig(backends=("wandb",))))
    assert message == "--tracking.backends wandb: does not start: ConnectionError: no server"
    assert sorted(os.listdir(config.run.root / "toy")) == [run.folder.name, "latest"]


def fail_after(config: ToyConfig, *deeds: Callable[[Run], object]) -> None:
    with start(config) as run:
        for deed in deeds:
            deed(run)
        raise UserError("train.txt: is empty")


def test_a_users_mistake_before_the_first_step_leaves_no_folder_and_the_old_latest(config):
    with pytest.raises(UserError, match=r"^train\.txt: is empty$"):
        fail_after(config)
    assert os.listdir(config.run.root / "toy") == []
    with start(config) as run:
        pass
    with pytest.raises(UserError, match=r"^train\.txt: is empty$"):
        fail_after(config)
    assert sorted(os.listdir(config.run.root / "toy")) == [run.folder.name, "latest"]
    assert latest_run("toy", config.run.root) == run.folder


@pytest.mark.parametrize(
    "deed",
    [lambda run: run.log(1, loss=2.0), lambda run: run.checkpoints.mkdir(), lambda run: run.log_figure("a", b"<svg/>")],
    ids=["logged", "saved", "drawn"],
)
def test_a_users_mistake_later_loses_nothing(config, deed):
    with pytest.raises(UserError, match=r"^train\.txt: is empty$"):
        fail_after(config, deed)
    assert (latest_run("toy", config.run.root) / "config.yaml").exists()


def test_a_resumed_run_is_never_removed(config):
    with start(config) as run:
        pass
    resumed = replace(config, run=replace(config.run, resume="latest"))
    with pytest.raises(UserError, match=r"^train\.txt: is empty$"):
        fail_after(resumed)
    assert latest_run("toy", config.run.root) == run.folder


def test_latest_is_left_alone_when_a_later_run_has_taken_it(config):
    def another(_: Run) -> None:
        with start(config) as run:
            later.append(run.folder)

    later: list[Path] = []
    with pytest.raises(UserError, match=r"^train\.txt: is empty$"):
        fail_after(config, another)
    assert latest_run("toy", config.run.root) == later[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_trackers_are_closed_and_the_exception_goes_on(config, monkeypatch, error):
    heard: list[str] = []

    class Listener:
        def __init__(self, folder: Path, experiment: str) -> None:
            heard.append(f"start {experiment} {folder.parent.name}")

        def __getattr__(self, message: str) -> Any:
            return lambda *arguments: heard.append(f"{message} {arguments}")

    monkeypatch.setattr("roadmap_shared.tracking._BACKENDS", {"wandb": Listener})
    tracked = replace(config, tracking=TrackingConfig(backends=("wandb",), experiment="group"))
    runs: list[Run] = []

    def fail_in_the_middle() -> None:
        with start(tracked) as run:
            runs.append(run)
            run.log(4, loss=torch.tensor(0.5))
            raise error

    with pytest.raises(error):
        fail_in_the_middle()
    assert heard[0] == "start group toy"
    assert "'trainer.learning_rate': 0.001" in heard[1]
    assert "'tracking.backends': ['wandb']" in heard[1]
    assert heard[2:] == ["log_metrics (4, {'loss': 0.5})", "close ()"]
    with pytest.raises(ValueError, match="closed file"):
        runs[0].log(5, loss=0.0)
