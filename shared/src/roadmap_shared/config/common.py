"""The two sections that every project's config has: `run` and `tracking`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(kw_only=True, frozen=True)
class RunConfig:
    """Where a run writes, what seeds it, and which earlier run it continues."""

    name: str = "run"
    """Ends the run folder's name: <root>/<project>/<UTC time>-<name>."""

    root: Path = Path("runs")
    """Folder that holds the runs of all projects."""

    seed: int = 1337
    """Seeds Python, NumPy and PyTorch; at least 0."""

    resume: str | None = None
    """Run to continue: `latest`, or a run folder. None starts a new run."""

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith(".") or any(mark in self.name for mark in "/\\\0\n\r"):
            raise ValueError(f"--run.name {self.name!r} is part of a folder's name: no slash, no leading dot")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--run.seed {self.seed} is outside 0 … {2**32 - 1}")


@dataclass(kw_only=True, frozen=True)
class TrackingConfig:
    """Where metrics go besides `metrics.jsonl`, which is always written."""

    backends: tuple[Literal["wandb", "mlflow", "tensorboard"], ...] = ()
    """Experiment trackers that receive a copy of every metric, figure and report."""

    experiment: str | None = None
    """Name that groups runs in the tracker. None takes the project's name."""
