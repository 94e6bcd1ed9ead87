"""Experiment trackers: where metrics, figures and reports go besides the run folder.

`metrics.jsonl` is always written (`JsonlTracker`). Weights & Biases, MLflow and TensorBoard are chosen with
`--tracking.backends` and receive a copy. A backend that cannot start is an error before the training; one
that fails later is reported once and switched off, and the training goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from roadmap_shared.config.common import TrackingConfig
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.tracking.backends import MlflowTracker, TensorboardTracker, WandbTracker
from roadmap_shared.tracking.jsonl import JsonlTracker, read_history

__all__ = [
    "JsonlTracker",
    "MlflowTracker",
    "SafeTracker",
    "TensorboardTracker",
    "Tracker",
    "WandbTracker",
    "read_history",
    "start_backends",
]


class Tracker(Protocol):
    """What a run tells its trackers."""

    def log_config(self, values: dict[str, Any]) -> None:
        """Record the settings, by dotted name."""
        ...

    def log_metrics(self, step: int, metrics: dict[str, Any]) -> None:
        """Record the metrics of one step."""
        ...

    def log_figure(self, name: str, path: Path) -> None:
        """Record a figure that was saved at `path`."""
        ...

    def log_artifact(self, name: str, path: Path) -> None:
        """Record a file of the run, such as its report."""
        ...

    def close(self) -> None:
        """End the record."""
        ...


_BACKENDS: dict[str, Callable[[Path, str], Tracker]] = {
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
    "tensorboard": TensorboardTracker,
}


class SafeTracker:
    """Passes everything on to several trackers; one that raises is reported on stderr and left out."""

    def __init__(self, trackers: dict[str, Tracker]) -> None:
        self._trackers = dict(trackers)

    def log_config(self, values: dict[str, Any]) -> None:
        """Record the settings, by dotted name."""
        self._tell(lambda tracker: tracker.log_config(values))

    def log_metrics(self, step: int, metrics: dict[str, Any]) -> None:
        """Record the metrics of one step."""
        self._tell(lambda tracker: tracker.log_metrics(step, metrics))

    def log_figure(self, name: str, path: Path) -> None:
        """Record a figure that was saved at `path`."""
        self._tell(lambda tracker: tracker.log_figure(name, path))

    def log_artifact(self, name: str, path: Path) -> None:
        """Record a file of the run."""
        self._tell(lambda tracker: tracker.log_artifact(name, path))

    def close(self) -> None:
        """End every record."""
        self._tell(lambda tracker: tracker.close())

    def _tell(self, message: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                message(tracker)
            except Exception as error:
                del self._trackers[name]
                print(f"{name} is switched off, the run goes on: {_reason(error)}", file=sys.stderr)


def start_backends(config: TrackingConfig, folder: Path, project: str) -> SafeTracker:
    """Start the trackers that the config names, for the run in `folder`.

    Raises:
        UserError: a package is missing, or a backend does not start. Those that had started are closed.
    """
    experiment = config.experiment or project
    started: dict[str, Tracker] = {}
    for name in config.backends:
        try:
            started[name] = _BACKENDS[name](folder, experiment)
        except Exception as error:
            SafeTracker(started).close()
            if isinstance(error, UserError):
                raise
            raise UserError(f"--tracking.backends {name}: does not start: {_reason(error)}") from error
    return SafeTracker(started)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
