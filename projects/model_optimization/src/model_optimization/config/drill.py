"""The drift drill: known drift is put into a stream of texts, and the detectors are scored."""

from dataclasses import dataclass, field
from pathlib import Path

from model_optimization.config.monitoring import MonitorConfig


@dataclass(kw_only=True, frozen=True)
class DrillConfig:
    """`drill`: false alarms over streams without drift, delay over streams with it."""

    encoder: str = "hashed"
    """What turns texts into vectors: hashed (character n-grams, no network), minilm, or a torch variant's folder."""

    worlds: int = 12
    """Times that the texts are divided anew into a reference and a stream."""

    quiet_streams: int = 20
    """Streams without drift a world, each of `monitor.horizon` requests."""

    drift_streams: int = 3
    """Streams a world and kind of drift."""

    reference: int = 700
    """Texts of the reference."""

    within: int = 500
    """Requests after its beginning within which a strong drift must be found."""

    injected_texts: int = 300
    """Different texts that a drift is made of."""

    seed: int = 0
    """Of what is drawn."""

    json: Path | None = None
    """Write the table here as JSON."""

    monitor: MonitorConfig = field(default_factory=MonitorConfig)

    def __post_init__(self) -> None:
        for name in ("worlds", "quiet_streams", "drift_streams", "injected_texts"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} must be at least 1")
        if self.reference < 3 * self.monitor.window:
            raise ValueError(f"--reference {self.reference} must be at least three windows ({3 * self.monitor.window})")
        if self.within < self.monitor.window:
            raise ValueError(f"--within {self.within} must be at least --monitor.window ({self.monitor.window})")
