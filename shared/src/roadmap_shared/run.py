"""The run in progress: what a training loop logs to, and what it hands its results to."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from roadmap_shared.config import RunConfig, TrackingConfig, config_source, to_yaml
from roadmap_shared.config.settings import values_of
from roadmap_shared.files import atomic_write
from roadmap_shared.ranks import is_main_process
from roadmap_shared.run_folders import CONFIG_FILE, heading_of
from roadmap_shared.tracking import JsonlTracker, SafeTracker, read_history, start_backends
from roadmap_shared.tracking.jsonl import scalar, strict_json

_METRICS = "metrics.jsonl"
_CLOCK = "seconds.json"
_PNG = b"\x89PNG"


class RunnableConfig(Protocol):
    """A project's config: a dataclass with these two sections among its own."""

    @property
    def run(self) -> RunConfig:
        """Folder, seed and resumption."""
        ...

    @property
    def tracking(self) -> TrackingConfig:
        """Trackers."""
        ...


class Run:
    """A run in progress, as `start_run` hands it out. On ranks other than 0 it writes nothing."""

    def __init__(self, config: RunnableConfig, project: str, command: str, folder: Path | None, resumed: bool) -> None:
        self.config = config
        self.project = project
        self.command = command
        self.seed = config.run.seed
        self.resumed = resumed
        self.is_main = is_main_process()
        self._folder = folder
        self._backends = SafeTracker({})
        self._metrics: JsonlTracker | None = None
        self._start = time.monotonic()
        self._seconds_before = 0.0

    @property
    def folder(self) -> Path:
        """The run folder. On another rank than 0 it is known for a resumed run only.

        Raises:
            RuntimeError: this is another rank's new run: broadcast the path from rank 0 if it is needed.
        """
        if self._folder is None:
            raise RuntimeError("only rank 0 knows the folder of a new run: broadcast it from there")
        return self._folder

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints; `save_checkpoint` creates it."""
        return self.folder / "checkpoints"

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the start, those before a resumption included.

        The time since its start is lost for a process that was killed outright.
        """
        return self._seconds_before + time.monotonic() - self._start

    def log(self, step: int, **metrics: float) -> None:
        """Record metrics of a step in `metrics.jsonl` and in the trackers."""
        if self._metrics is not None:
            numbers = {name: scalar(value) for name, value in metrics.items()}
            self._metrics.log_metrics(step, numbers)
            self._backends.log_metrics(step, numbers)

    def log_figure(self, name: str, figure: Any) -> None:
        """Save a figure as `figures/<name>.png` or `.svg` and pass it to the trackers.

        Args:
            name: file name without its ending.
            figure: the bytes of a PNG or SVG file, or a matplotlib figure, which becomes a PNG.

        Raises:
            ValueError: the bytes are neither PNG nor SVG.
        """
        if self._metrics is None:
            return
        content = figure if isinstance(figure, bytes) else _drawn(figure)
        if not content.startswith((_PNG, b"<")):
            raise ValueError(f"figure '{name}' is neither PNG nor SVG: it begins with {content[:8]!r}")
        path = self.folder / "figures" / f"{name}.{'png' if content.startswith(_PNG) else 'svg'}"
        path.parent.mkdir(exist_ok=True)
        atomic_write(path, content)
        self._backends.log_figure(name, path)

    def rewind(self, step: int) -> None:
        """Forget the metrics after `step`, so that a resumed run's curve has each step once.

        `metrics.jsonl` is rewritten; a tracker's own record is not, and shows such steps twice.
        """
        if self._metrics is not None:
            self._metrics.rewind(step)

    def history(self) -> list[dict[str, Any]]:
        """Return the lines of `metrics.jsonl`, in order: [{"step": 0, "loss": 4.2}, …]."""
        return read_history(self.folder / _METRICS)

    def is_empty(self) -> bool:
        """Whether nothing has been logged, drawn or saved yet."""
        kept = (self.folder / "figures", self.checkpoints, self.folder / "summary.json")
        return not self.history() and not any(path.exists() for path in kept)

    def finish(self, summary: Mapping[str, Any], report_html: str | None) -> dict[str, Any]:
        """Write `summary.json` and `report.html`, and print the headline figure and where they are.

        Args:
            summary: final figures under flat keys, the headline first; `<key>_low` and `<key>_high` hold the
                ends of its interval.
            report_html: one self-contained page, or None.

        Returns:
            The summary with `project`, `command`, `config`, `seed`, `seconds` and `peak_memory_mb`.

        Raises:
            ValueError: the summary has one of these keys already.
        """
        about = {
            "project": self.project,
            "command": self.command,
            "config": config_source(self.config),
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            "peak_memory_mb": round(_peak_memory_mb(), 1),
        }
        if taken := about.keys() & summary.keys():
            raise ValueError(f"the run itself writes these keys of the summary: {sorted(taken)}")
        figures = {name: scalar(value) for name, value in summary.items()}
        complete = about | figures
        if self._metrics is not None:
            self._write_results(complete, report_html)
            print(_headline(figures))
            print(f"report: {self.folder / 'report.html'}" if report_html else f"run folder: {self.folder}")
        return complete

    def _write_results(self, summary: dict[str, Any], report_html: str | None) -> None:
        atomic_write(self.folder / "summary.json", strict_json(summary, indent=2) + "\n")
        self._backends.log_artifact("summary", self.folder / "summary.json")
        if report_html is not None:
            atomic_write(self.folder / "report.html", report_html)
            self._backends.log_artifact("report", self.folder / "report.html")

    def open(self) -> None:
        """Write the config, and start the metrics file and the trackers."""
        clock = self.folder / _CLOCK
        if clock.exists():
            self._seconds_before = json.loads(clock.read_text("utf-8"))["seconds"]
        source = config_source(self.config)
        heading = heading_of(self.project, self.command, source)
        # A config that is passed back repeats the run and resumes nothing.
        config: Any = self.config
        repeated = dataclasses.replace(config, run=dataclasses.replace(config.run, resume=None))
        atomic_write(self.folder / CONFIG_FILE, heading + to_yaml(repeated))
        self._backends = start_backends(self.config.tracking, self.folder, self.project)
        self._backends.log_config({name: _tracked(value) for name, value in values_of(self.config).items()})
        self._metrics = JsonlTracker(self.folder / _METRICS)

    def close(self) -> None:
        """Close the metrics file and the trackers, and keep the time spent for a resumption."""
        self._backends.close()
        if self._metrics is not None:
            self._metrics.close()
            # A full disk must not hide the exception that ends the run behind one about a stopwatch.
            with suppress(OSError):
                atomic_write(self.folder / _CLOCK, json.dumps({"seconds": self.seconds}))


def _peak_memory_mb() -> float:
    """Return the most memory that this process has had resident, in MB (10^6 bytes)."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return peak * unit / 1e6


def _headline(figures: Mapping[str, Any]) -> str:
    """Return the first figure with its interval: `accuracy 0.8123 [0.7901, 0.8345]`."""
    name = next(iter(figures), None)
    if name is None:
        return "done"
    ends = [figures[f"{name}_{end}"] for end in ("low", "high") if f"{name}_{end}" in figures]
    interval = f" [{', '.join(_short(end) for end in ends)}]" if ends else ""
    return f"{name} {_short(figures[name])}{interval}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _drawn(figure: Any) -> bytes:
    """Draw a matplotlib figure; signs that no installed font has become boxes, without a warning for each."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
    return buffer.getvalue()


def _tracked(value: Any) -> Any:
    """Return a setting as trackers store it: a path as text, a tuple as a list."""
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
