"""Weights & Biases, MLflow and TensorBoard as trackers. Each package is imported when its tracker starts."""

from __future__ import annotations

import os
import shutil
import struct
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError

_MLFLOW_PARAMETERS_AT_ONCE = 100


class WandbTracker:
    """Weights & Biases. Offline unless WANDB_API_KEY is set or WANDB_MODE says otherwise; files in
    `folder/wandb`.

    An offline run is sent later with `wandb sync <folder>/wandb/offline-run-*`.
    """

    def __init__(self, folder: Path, experiment: str) -> None:
        self._wandb = _import("wandb", extra="wandb")
        mode = None if "WANDB_MODE" in os.environ else "online" if os.environ.get("WANDB_API_KEY") else "offline"
        settings = self._wandb.Settings(console="off", silent=True)
        if "weave" not in sys.modules:
            # `silent` does not cover the advice to install Weave, which comes wherever transformers is imported.
            os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")
        self._run = self._wandb.init(
            project=experiment, name=folder.name, dir=str(folder), mode=mode, settings=settings
        )

    def log_config(self, values: dict[str, Any]) -> None:
        """Store the settings by dotted name."""
        self._run.config.update(values, allow_val_change=True)

    def log_metrics(self, step: int, metrics: dict[str, Any]) -> None:
        """Log the metrics of one step."""
        self._run.log(metrics, step=step)

    def log_figure(self, name: str, path: Path) -> None:
        """Log a PNG as an image; another format is stored as a file."""
        if path.suffix == ".png":
            # Without a commit the figure joins the current step; with one the step would move on.
            self._run.log({name: self._wandb.Image(str(path))}, commit=False)
        else:
            self.log_artifact(name, path)

    def log_artifact(self, name: str, path: Path) -> None:
        """Store a file with the run: what lies in the run's own folder is uploaded when it ends."""
        shutil.copy(path, self._run.dir)

    def close(self) -> None:
        """End the run. Its own process, which this one waits for at exit, writes what is left."""
        self._run.finish()


class MlflowTracker:
    """MLflow. In `<run root>/mlflow.db` and `<run root>/mlflow-artifacts` unless MLFLOW_TRACKING_URI names a
    server.

    Look at them with `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db`.
    """

    def __init__(self, folder: Path, experiment: str) -> None:
        self._mlflow = _import("mlflow", extra="mlflow")
        root = folder.resolve().parent.parent
        location = None
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            self._mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
            # MLflow's own default is a folder `mlruns` wherever the process happens to stand.
            location = (root / "mlflow-artifacts" / experiment).as_uri()
        known = self._mlflow.get_experiment_by_name(experiment)
        identity = known.experiment_id if known else self._mlflow.create_experiment(experiment, location)
        self._mlflow.start_run(experiment_id=identity, run_name=folder.name)

    def log_config(self, values: dict[str, Any]) -> None:
        """Store the settings by dotted name, as text."""
        items = [(name, str(value)) for name, value in values.items()]
        for start in range(0, len(items), _MLFLOW_PARAMETERS_AT_ONCE):
            self._mlflow.log_params(dict(items[start : start + _MLFLOW_PARAMETERS_AT_ONCE]))

    def log_metrics(self, step: int, metrics: dict[str, Any]) -> None:
        """Log the metrics of one step."""
        self._mlflow.log_metrics(metrics, step=step)

    def log_figure(self, name: str, path: Path) -> None:
        """Store a figure among the run's artifacts."""
        self._mlflow.log_artifact(str(path), "figures")

    def log_artifact(self, name: str, path: Path) -> None:
        """Store a file among the run's artifacts."""
        self._mlflow.log_artifact(str(path))

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


class TensorboardTracker:
    """TensorBoard event files in `folder/tensorboard`, written without TensorFlow or torch.

    Look at them with `tensorboard --logdir runs`.
    """

    def __init__(self, folder: Path, experiment: str) -> None:
        writers = _import("tensorboard.summary.writer.event_file_writer", extra="tensorboard")
        self._event = import_module("tensorboard.compat.proto.event_pb2").Event
        self._summary = import_module("tensorboard.compat.proto.summary_pb2").Summary
        self._writer = writers.EventFileWriter(str(folder / "tensorboard"))

    def log_config(self, values: dict[str, Any]) -> None:
        """TensorBoard has no place for settings; `config.yaml` lies beside its files."""

    def log_metrics(self, step: int, metrics: dict[str, Any]) -> None:
        """Log each metric as a scalar."""
        self._write([self._summary.Value(tag=name, simple_value=value) for name, value in metrics.items()], step=step)

    def log_figure(self, name: str, path: Path) -> None:
        """Log a PNG as an image; TensorBoard shows no other format."""
        if path.suffix != ".png":
            return
        png = path.read_bytes()
        width, height = struct.unpack(">II", png[16:24])  # the header's first two fields
        image = self._summary.Image(width=width, height=height, encoded_image_string=png)
        self._write([self._summary.Value(tag=name, image=image)], step=0)

    def log_artifact(self, name: str, path: Path) -> None:
        """TensorBoard keeps no files."""

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()

    def _write(self, values: list[Any], step: int) -> None:
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))


def _import(module: str, extra: str) -> Any:
    """Import a tracker's package, or say how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise UserError(
            f"--tracking.backends {extra}: is not installed. pip install 'roadmap-shared[{extra}]'"
        ) from error
