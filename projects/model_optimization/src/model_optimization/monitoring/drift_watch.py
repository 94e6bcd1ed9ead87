"""Drift in a log that grows: each full window is compared once, as its budget of false alarms wants it."""

from collections import deque
from pathlib import Path
from typing import Any

from model_optimization.config.monitoring import DashboardConfig
from model_optimization.monitoring.drift_monitor import DriftMonitor, WindowScore
from model_optimization.monitoring.log_database import LogTable, Selection, read_log
from model_optimization.monitoring.observed import Observed, observed_in
from model_optimization.monitoring.reference import read_reference
from roadmap_shared.errors import UserError

_SHOWN = 60
_MOST_RECORDS = 6_000
"""Records taken in at once: after a restart, older ones are left out."""


class DriftWatch:
    """Reads what is new in the log and scores it. Not safe for several threads at once."""

    def __init__(self, log: Path, config: DashboardConfig) -> None:
        """
        Raises:
            UserError: the reference cannot be read.
        """
        self._log, self._config = log, config
        self._reference = None if config.reference is None else read_reference(config.reference)
        self._monitor: DriftMonitor | None = None
        self._taken_until = 0
        self._collected = 0
        self._seen = 0
        self._windows: deque[tuple[float, WindowScore]] = deque(maxlen=_SHOWN)

    @property
    def newest(self) -> WindowScore | None:
        """The last window that was full."""
        return self._windows[-1][1] if self._windows else None

    def update(self) -> None:
        """Take in what was logged since the last time.

        Raises:
            UserError: the reference is shorter than three windows, or has nothing in common with the log.
        """
        if self._reference is None:
            self._collect()
        if self._reference is None:
            return
        table = read_log(self._log, Selection(after=self._taken_until, newest=_MOST_RECORDS, answered=True))
        size = self._config.monitor.window
        for start in range(0, len(table) - size + 1, size):
            self._score(self._reference, table.rows(slice(start, start + size)))

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        config = self._config.monitor
        return {
            "collected": self._collected,
            "wanted": self._config.reference_size if self._reference is None else 0,
            "window": config.window,
            "horizon": config.horizon,
            "false_alarms": config.false_alarms,
            "threshold": None if self._monitor is None else self._monitor.threshold,
            "windows": [
                {
                    "time": time,
                    "score": score.scores[score.largest],
                    "largest": score.largest,
                    "drift": score.drift,
                    "scores": dict(score.scores),
                }
                for time, score in self._windows
            ],
        }

    def _collect(self) -> None:
        """Take the beginning of the log as the reference, once it is long enough."""
        size = self._config.reference_size
        table = read_log(self._log, Selection(oldest=size, answered=True))
        self._collected = len(table)
        if len(table) == size:
            self._reference = observed_in(table)
            self._taken_until = int(table.id.max())

    def _score(self, reference: Observed, table: LogTable) -> None:
        self._taken_until = int(table.id[-1])
        self._seen += len(table)
        seen = observed_in(table)
        if self._monitor is None:
            names = reference.names & seen.names
            if not names:
                raise UserError("--dashboard.reference has nothing that the log has too: give texts or another log")
            self._monitor = DriftMonitor.fit(reference.only(names), self._config.monitor)
        if self._monitor.columns <= seen.names:
            self._windows.append((float(table.time[-1]), self._monitor.score(seen, self._seen)))
