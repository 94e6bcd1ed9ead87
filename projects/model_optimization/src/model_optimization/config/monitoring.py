"""Watching a served model: what is kept of its predictions, and when a change of its inputs is an alarm."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(kw_only=True, frozen=True)
class LogConfig:
    """What is kept of the predictions."""

    path: Path | None = None
    """SQLite file of the predictions; it is made where there is none. None keeps nothing."""

    share: float = 1.0
    """Share of the requests that is kept, 0 … 1, chosen by the request's id: all workers choose alike."""

    keep_text: bool = True
    """Keep the texts. Without them, drift is looked for in labels, confidence and length in tokens alone."""

    redact: bool = True
    """Replace e-mail addresses, phone, identity and card numbers, IP addresses and secrets in URLs by their kind."""

    max_text: int = 2000
    """Characters of a text that are kept; the rest is cut off."""

    queue: int = 10_000
    """Records that wait for the disk; more are dropped and counted, never waited for."""

    days: float = 30.0
    """Records older than so many days are deleted."""

    max_mb: float = 512.0
    """Megabytes of the file; above, the oldest records are deleted."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"--log.share {self.share} must be above 0 and at most 1")
        for name in ("max_text", "queue"):
            if getattr(self, name) < 1:
                raise ValueError(f"--log.{name} {getattr(self, name)} must be at least 1")
        if not self.days > 0:
            raise ValueError(f"--log.days {self.days} must be above 0")
        if not self.max_mb >= 1:
            raise ValueError(f"--log.max_mb {self.max_mb} must be at least 1")


@dataclass(kw_only=True, frozen=True)
class MonitorConfig:
    """Drift in a stream of requests, with a budget of false alarms."""

    window: int = 100
    """Requests that are compared with the reference at once; windows do not overlap."""

    horizon: int = 1000
    """Requests that the budget of false alarms is for."""

    false_alarms: float = 0.05
    """Largest chance, 0 … 1, of an alarm within `horizon` requests that are like the reference."""

    calibration: int = 600
    """Windows drawn of the reference to find the threshold; at least n_windows / false_alarms of them are needed."""

    max_reference: int = 1000
    """Texts of the reference that are used; of more, so many are drawn."""

    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        if self.window < 20:
            raise ValueError(f"--monitor.window {self.window} must be at least 20")
        if self.horizon < self.window:
            raise ValueError(f"--monitor.horizon {self.horizon} must be at least --monitor.window ({self.window})")
        if not 0 < self.false_alarms < 1:
            raise ValueError(f"--monitor.false_alarms {self.false_alarms} must be above 0 and below 1")
        if self.max_reference < 3 * self.window:
            raise ValueError(
                f"--monitor.max_reference {self.max_reference} must be at least three windows ({3 * self.window})"
            )
        needed = self.least_calibration
        if self.calibration < needed:
            raise ValueError(
                f"--monitor.calibration {self.calibration} is too few for {self.n_windows} windows at a budget of "
                f"{self.false_alarms:g}: give at least {needed}"
            )

    @property
    def n_windows(self) -> int:
        """Windows within the horizon: chances of a false alarm."""
        return self.horizon // self.window

    @property
    def least_calibration(self) -> int:
        """Windows below which the largest of them is still not rare enough."""
        return int(self.n_windows / self.false_alarms)


@dataclass(kw_only=True, frozen=True)
class DriftCommandConfig:
    """`drift`: compare what was logged with a reference."""

    log: Path = Path("predictions.sqlite")
    """SQLite file of the predictions."""

    reference: Path | None = None
    """What requests should be like: another log (.sqlite), or texts (.jsonl with `text` and, where known, `label` and
    `confidence`, or .txt with one text a line). None: the oldest `reference_size` records of the log itself."""

    reference_size: int = 500
    """Records at the log's beginning that are the reference where none is given."""

    model: Path | None = None
    """Folder of a torch variant, or `minilm`, whose embeddings of the texts are compared too."""

    version: str | None = None
    """Compare the predictions of this version alone."""

    alpha: float = 0.05
    """Level of the tests of the whole log, after Holm's correction."""

    rules: Path | None = None
    """Alert rules (.yaml or .json) to go through with the log's figures."""

    json: Path | None = None
    """Write the report here as JSON."""

    html: Path | None = None
    """Write the report here as a page."""

    evidently: Path | None = None
    """Write Evidently's report of labels, confidence and lengths here (needs the extra `evidently`)."""

    monitor: MonitorConfig = field(default_factory=MonitorConfig)

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"--alpha {self.alpha} must be above 0 and below 1")
        if self.reference_size < 3 * self.monitor.window:
            raise ValueError(
                f"--reference_size {self.reference_size} must be at least three windows ({3 * self.monitor.window})"
            )


@dataclass(kw_only=True, frozen=True)
class DashboardConfig:
    """The page that shows how a served model does."""

    refresh_seconds: float = 5.0
    """Seconds between two looks at the log."""

    price_per_core_hour: float = 0.04
    """What a processor core costs in an hour, in any currency: the cost of 1,000 requests is shown in it."""

    rules: Path | None = None
    """Alert rules (.yaml or .json). None: slow answers, errors, drift and lost records, with usual limits."""

    reference: Path | None = None
    """What requests should be like, as for `drift`. None: the log's oldest `reference_size` records."""

    reference_size: int = 500
    """Records of the log that are the reference where none is given."""

    monitor: MonitorConfig = field(default_factory=MonitorConfig)

    def __post_init__(self) -> None:
        for name in ("refresh_seconds", "price_per_core_hour"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--dashboard.{name} {getattr(self, name)} must be above 0")
        if self.reference_size < 3 * self.monitor.window:
            raise ValueError(
                f"--dashboard.reference_size {self.reference_size} must be at least three windows "
                f"({3 * self.monitor.window})"
            )
