"""Trackers: the JSONL record, the real backends, and a backend that fails in the middle."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roadmap_shared.config import TrackingConfig
from roadmap_shared.errors import UserError
from roadmap_shared.tracking import JsonlTracker, SafeTracker, read_history, start_backends


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder, at its usual depth below the root."""
    path = tmp_path / "runs" / "toy" / "20240101-000000-run"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def png(tmp_path: Path) -> Path:
    """A white image, 2 wide and 1 high."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 0, 0, 0, 0))
    path = tmp_path / "dots.png"
    data = chunk(b"IDAT", zlib.compress(b"\x00\xff\xff"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))
    return path


@pytest.fixture
def svg(tmp_path: Path) -> Path:
    path = tmp_path / "curve.svg"
    path.write_text("<svg/>")
    return path


def start(name: Any, folder: Path, experiment: str | None = None) -> SafeTracker:
    return start_backends(TrackingConfig(backends=(name,), experiment=experiment), folder, "toy")


def test_jsonl_is_strict_and_comes_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tracker = JsonlTracker(path)
    tracker.log_metrics(0, {"loss": math.nan, "low": -math.inf, "high": math.inf, "note": "é"})
    tracker.log_metrics(1, {"loss": np.float32(0.5), "count": np.int64(3)})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text("utf-8").splitlines()]
    assert lines == [
        {"step": 0, "loss": "NaN", "low": "-Infinity", "high": "Infinity", "note": "é"},
        {"step": 1, "loss": 0.5, "count": 3},
    ]
    back = read_history(path)
    assert math.isnan(back[0].pop("loss"))
    assert back == [{"step": 0, "low": -math.inf, "high": math.inf, "note": "é"}, lines[1]]
    tracker.close()


@pytest.mark.parametrize("torn", [b'{"step": 1, "lo', b'{"step": 1, "note": "\xc3'])
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n' + torn)
    assert read_history(path) == [{"step": 0}]
    tracker = JsonlTracker(path)
    tracker.log_metrics(1, {})
    tracker.close()
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n'


def test_a_last_line_that_lacks_its_end_only_is_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}')
    JsonlTracker(path).close()
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n'


def test_damage_in_the_middle_is_not_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0\n{"step": 1}\n')
    with pytest.raises(json.JSONDecodeError):
        read_history(path)


def test_rewind_drops_later_steps_and_goes_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tracker = JsonlTracker(path)
    for step in range(4):
        tracker.log_metrics(step, {"loss": math.nan})
    tracker.rewind(1)
    tracker.log_metrics(2, {"loss": 0.5})
    tracker.close()
    assert [line["step"] for line in read_history(path)] == [0, 1, 2]
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_tensorboard_events_read_back(folder, png, svg):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = start("tensorboard", folder)
    tracker.log_config({"trainer.lr": 0.1})
    for step in range(3):
        tracker.log_metrics(step, {"loss": 1 / (step + 1)})
    tracker.log_figure("dots", png)
    tracker.log_figure("curve", svg)
    tracker.log_artifact("report", svg)
    tracker.close()
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    scalars = [(event.step, event.value) for event in events.Scalars("loss")]
    assert scalars == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3, rel=1e-6))]
    (image,) = events.Images("dots")
    assert (image.width, image.height, image.encoded_image_string) == (2, 1, png.read_bytes())
    assert events.Tags()["images"] == ["dots"]


def test_wandb_offline_writes_a_run_below_the_run_folder(folder, png, svg, monkeypatch, capfd):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DISABLE_WEAVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder.parent))
    # What makes wandb advise Weave; transformers imports it.
    monkeypatch.setitem(sys.modules, "huggingface_hub.inference", types.ModuleType("inference"))
    import wandb

    tracker = start("wandb", folder, experiment="group-of-runs")
    tracker.log_config({"trainer.lr": 0.125})
    tracker.log_metrics(0, {"val_loss": 1.5})
    tracker.log_figure("dots", png)
    tracker.log_figure("curve", svg)
    tracker.log_metrics(1, {"val_loss": 0.75})
    tracker.close()
    wandb.teardown()  # waits until its own process has written everything
    (run,) = folder.glob("wandb/offline-run-*")
    (record,) = run.glob("*.wandb")
    content = record.read_bytes()
    for text in (b"group-of-runs", folder.name.encode(), b"trainer.lr", b"0.125", b"val_loss", b"0.75"):
        assert text in content
    assert [path.read_bytes() for path in run.glob("files/media/images/*.png")] == [png.read_bytes()]
    assert (run / "files" / "curve.svg").read_text() == "<svg/>"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, "offline"),
        ({"WANDB_API_KEY": "key"}, "online"),
        ({"WANDB_API_KEY": "key", "WANDB_MODE": "x"}, None),
    ],
)
def test_wandb_mode(folder, monkeypatch, environment, mode):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    seen: dict[str, Any] = {}
    fake = types.SimpleNamespace(Settings=lambda **kwargs: kwargs, init=lambda **kwargs: seen.update(kwargs))
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    start("wandb", folder)
    assert (seen["mode"], seen["project"], seen["dir"]) == (mode, "toy", str(folder))


class FakeMlflow(types.ModuleType):
    """Records the calls, with the signatures of mlflow 3.17."""

    def __init__(self, known: bool) -> None:
        super().__init__("mlflow")
        self.calls: list[tuple[Any, ...]] = []
        self._known = known

    def set_tracking_uri(self, uri: str | Path) -> None:
        self.calls.append(("set_tracking_uri", uri))

    def get_experiment_by_name(self, name: str) -> Any:
        return types.SimpleNamespace(experiment_id="7") if self._known else None

    def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: dict[str, Any] | None = None,
        trace_location: Any = None,
    ) -> str:
        self.calls.append(("create_experiment", name, artifact_location))
        return "1"

    def start_run(
        self,
        run_id: str | None = None,
        experiment_id: str | None = None,
        run_name: str | None = None,
        nested: bool = False,
    ) -> None:
        self.calls.append(("start_run", experiment_id, run_name))

    def log_params(self, params: dict[str, Any], synchronous: bool | None = None) -> None:
        self.calls.append(("log_params", params))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.calls.append(("log_metrics", metrics, step))

    def log_artifact(self, local_path: str, artifact_path: str | None = None) -> None:
        self.calls.append(("log_artifact", local_path, artifact_path))

    def end_run(self, status: str = "FINISHED") -> None:
        self.calls.append(("end_run", status))


def test_mlflow_calls(folder, svg, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    fake = FakeMlflow(known=False)
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    tracker = start("mlflow", folder)
    tracker.log_config({f"setting.{number}": None for number in range(101)})
    tracker.log_metrics(3, {"loss": 0.5})
    tracker.log_figure("curve", svg)
    tracker.log_artifact("report", svg)
    tracker.close()
    root = folder.parent.parent
    assert fake.calls == [
        ("set_tracking_uri", f"sqlite:///{root}/mlflow.db"),
        ("create_experiment", "toy", f"file://{root}/mlflow-artifacts/toy"),
        ("start_run", "1", folder.name),
        ("log_params", {f"setting.{number}": "None" for number in range(100)}),
        ("log_params", {"setting.100": "None"}),
        ("log_metrics", {"loss": 0.5}, 3),
        ("log_artifact", str(svg), "figures"),
        ("log_artifact", str(svg), None),
        ("end_run", "FINISHED"),
    ]


def test_mlflow_leaves_a_server_and_a_known_experiment_alone(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example")
    fake = FakeMlflow(known=True)
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    start("mlflow", folder)
    assert fake.calls == [("start_run", "7", folder.name)]


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard"])
def test_a_missing_package_is_an_error_before_the_training(folder, monkeypatch, name):
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [_Hiding(name), *sys.meta_path])
    with pytest.raises(UserError) as caught:
        start(name, folder)
    expected = f"--tracking.backends {name}: is not installed. pip install 'roadmap-shared[{name}]'"
    assert str(caught.value) == expected


class _Hiding:
    """An import finder that says a package is not there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, module: str, path: object = None, target: object = None) -> None:
        if module.split(".")[0] == self._name:
            raise ModuleNotFoundError(f"No module named {module!r}", name=self._name)


class Recorder:
    """A tracker that notes what it hears, and fails from the `fails_at`-th message on."""

    def __init__(self, fails_at: int = 10**9) -> None:
        self.heard: list[str] = []
        self._fails_at = fails_at

    def _hear(self, message: str) -> None:
        self.heard.append(message)
        if len(self.heard) >= self._fails_at:
            raise ConnectionError("server\nhas gone")

    def log_config(self, values: dict[str, Any]) -> None:
        self._hear("config")

    def log_metrics(self, step: int, metrics: dict[str, Any]) -> None:
        self._hear(f"step {step}")

    def log_figure(self, name: str, path: Path) -> None:
        self._hear(f"figure {name}")

    def log_artifact(self, name: str, path: Path) -> None:
        self._hear(f"artifact {name}")

    def close(self) -> None:
        self._hear("close")


def test_a_backend_that_fails_is_named_once_and_switched_off(capsys, svg):
    good, bad = Recorder(), Recorder(fails_at=3)
    tracker = SafeTracker({"bad": bad, "good": good})
    tracker.log_config({})
    for step in range(3):
        tracker.log_metrics(step, {})
    tracker.log_figure("curve", svg)
    tracker.log_artifact("report", svg)
    tracker.close()
    assert good.heard == ["config", "step 0", "step 1", "step 2", "figure curve", "artifact report", "close"]
    assert bad.heard == ["config", "step 0", "step 1"]
    message = "bad is switched off, the run goes on: ConnectionError: server has gone\n"
    assert capsys.readouterr().err == message


def test_a_backend_that_does_not_start_closes_the_others(folder, monkeypatch):
    first = Recorder()

    def refuse(folder: Path, experiment: str) -> Any:
        raise ConnectionError("no\nserver")

    monkeypatch.setattr(
        "roadmap_shared.tracking._BACKENDS", {"wandb": lambda folder, experiment: first, "mlflow": refuse}
    )
    with pytest.raises(UserError) as caught:
        start_backends(TrackingConfig(backends=("wandb", "mlflow")), folder, "toy")
    assert str(caught.value) == "--tracking.backends mlflow: does not start: ConnectionError: no server"
    assert first.heard == ["close"]
