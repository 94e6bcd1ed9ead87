"""How models are served, kept in a registry, and asked from the command line."""

from dataclasses import dataclass, field
from pathlib import Path

from model_optimization.config.monitoring import DashboardConfig, LogConfig


@dataclass(kw_only=True, frozen=True)
class BatchingConfig:
    """How waiting texts become batches."""

    max_batch: int = 32
    """Texts computed together at most. 1 computes one at a time."""

    max_wait_ms: float = 5.0
    """Milliseconds that a text waits at most for others to share its batch; 0 waits for none."""

    max_queue: int = 512
    """Texts that wait at most. A request beyond them is refused (429)."""

    max_shadow: int = 64
    """Copied texts that wait at most; more are left out of the comparison."""

    deadline_seconds: float = 10.0
    """Seconds after which a request without an answer is given up (503)."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_batch <= 1024:
            raise ValueError(f"--serve.batching.max_batch {self.max_batch} is outside 1 … 1024")
        if not 0 <= self.max_wait_ms <= 1000:
            raise ValueError(f"--serve.batching.max_wait_ms {self.max_wait_ms} is outside 0 … 1000")
        for name in ("max_queue", "max_shadow"):
            if getattr(self, name) < 1:
                raise ValueError(f"--serve.batching.{name} {getattr(self, name)} must be at least 1")
        if not 0 < self.deadline_seconds <= 3600:
            raise ValueError(f"--serve.batching.deadline_seconds {self.deadline_seconds} is outside 0 … 3600")


@dataclass(kw_only=True, frozen=True)
class LimitsConfig:
    """How much a client may ask for."""

    max_texts: int = 64
    """Texts of one request at most."""

    max_characters: int = 20_000
    """Characters of one text at most. The model sees the first ones alone: as many tokens as it was made for."""

    requests_per_minute: int = 0
    """Requests of one API key, or of one address where there are no keys, in a minute; 0 sets no limit."""

    burst: int = 60
    """Requests that may come at once before requests_per_minute counts."""

    header_seconds: float = 10.0
    """Seconds that a request's headers may take to arrive; the connection is closed then."""

    stall_seconds: float = 20.0
    """Seconds that a request's body may take to arrive, and a response to be taken."""

    max_connections: int = 1000
    """Connections at a time; uvicorn refuses more with 503."""

    def __post_init__(self) -> None:
        for name in ("max_texts", "max_characters", "burst", "max_connections"):
            if getattr(self, name) < 1:
                raise ValueError(f"--serve.limits.{name} {getattr(self, name)} must be at least 1")
        for name in ("header_seconds", "stall_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--serve.limits.{name} {getattr(self, name)} must be above 0")
        if self.requests_per_minute < 0:
            raise ValueError(
                f"--serve.limits.requests_per_minute {self.requests_per_minute} must not be negative; 0 sets no limit"
            )

    @property
    def max_body_bytes(self) -> int:
        """Bytes of a body at most: texts as UTF-8 with some to spare, and of JSON escapes a part."""
        return min(self.max_texts * self.max_characters * 4, 2_000_000) + 4096


@dataclass(kw_only=True, frozen=True)
class TrafficConfig:
    """What the challenger of the registry is asked, beside the champion."""

    share: float = 0.0
    """Share of the requests that the challenger answers, 0 to 1; equal keys of requests always go the same way."""

    shadow: bool = True
    """Whether the challenger also computes the requests that the champion answered, to be compared, not shown."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"--serve.traffic.share {self.share} is outside 0 … 1")


@dataclass(kw_only=True, frozen=True)
class ServeConfig:
    """A server of one model."""

    variant: Path | None = None
    """Folder of the variant to serve. It is watched: another variant in its place is loaded while serving. None: the
    registry's, or, without one, the variant that the latest run chose."""

    registry: str | None = None
    """Registry whose champion is served: a folder, or MLflow's store as sqlite:///FILE."""

    host: str = "127.0.0.1"
    """Address to listen at. 127.0.0.1 answers this machine alone, 0.0.0.0 the whole network."""

    port: int = 8005
    """TCP port to listen at; 0 takes a free one."""

    keys: Path | None = None
    """File of API keys, a line each: KEY, or NAME: KEY. More come from MODEL_OPTIMIZATION_API_KEYS, with commas between
    them. Without any, everybody may ask."""

    admin_key: Path | None = None
    """File that holds the key of the admin routes. None: MODEL_OPTIMIZATION_ADMIN_KEY. Without one, they are shut."""

    threads: int | None = None
    """Processor threads of one computation. None: OMP_NUM_THREADS, or all cores."""

    poll_seconds: float = 2.0
    """Seconds between two looks at the registry or the variant's folder; 0 never looks again."""

    drain_seconds: float = 1.0
    """Seconds between SIGTERM and the closing of the port: a load balancer sees /readyz fail in them."""

    grace_seconds: int = 30
    """Seconds that accepted requests have to end after the port is closed."""

    batching: BatchingConfig = field(default_factory=BatchingConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    traffic: TrafficConfig = field(default_factory=TrafficConfig)

    def __post_init__(self) -> None:
        if self.variant is not None and self.registry is not None:
            raise ValueError("--serve.variant and --serve.registry: give one of them, not both")
        if not self.host:
            raise ValueError("--serve.host is empty: give an address, such as 127.0.0.1")
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"--serve.port {self.port} is outside 0 … 65535")
        for name in ("poll_seconds", "drain_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"--serve.{name} {getattr(self, name)} must not be negative")
        if self.grace_seconds < 1:
            raise ValueError(f"--serve.grace_seconds {self.grace_seconds} must be at least 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"--serve.threads {self.threads} must be at least 1")


@dataclass(kw_only=True, frozen=True)
class ServeCommandConfig:
    """`serve`: answer requests over HTTP."""

    serve: ServeConfig = field(default_factory=ServeConfig)
    log: LogConfig = field(default_factory=LogConfig)
    dashboard: DashboardConfig = field(default_factory=DashboardConfig)


@dataclass(kw_only=True, frozen=True)
class RegistryConfig:
    """`registry`: list versions, register a variant, promote one, or go back."""

    path: str = "runs/model_optimization/registry"
    """The registry: a folder, or MLflow's store as sqlite:///FILE."""

    register: Path | None = None
    """Folder of a variant to copy into the registry as its next version."""

    challenger: int | None = None
    """Version that is compared with the champion; 0 for none."""

    promote: int | None = None
    """Version that becomes the champion; 0 takes the challenger."""

    rollback: bool = False
    """Make the champion before the present one the champion again."""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("--path is empty: give a folder, or sqlite:///FILE")
        if self.promote is not None and self.rollback:
            raise ValueError("--promote and --rollback: give one of them, not both")
        for name in ("challenger", "promote"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"--{name} {getattr(self, name)} is no version: they are numbered from 1")


@dataclass(kw_only=True, frozen=True)
class PredictConfig:
    """`predict`: label texts, or the lines of a file, as JSON lines."""

    variant: Path
    """Folder of the variant that labels them."""

    texts: tuple[str, ...] = ()
    """Texts to label."""

    input: Path | None = None
    """File to label: a text a line, or .jsonl with the field `text`."""

    output: Path | None = None
    """File of the labels. None prints them."""

    batch_size: int = 32
    """Texts computed together."""

    def __post_init__(self) -> None:
        if bool(self.texts) == (self.input is not None):
            raise ValueError("--texts or --input: give one of them")
        if not 1 <= self.batch_size <= 1024:
            raise ValueError(f"--batch_size {self.batch_size} is outside 1 … 1024")
