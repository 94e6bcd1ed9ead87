"""How a variant is served by Ray Serve."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(kw_only=True, frozen=True)
class RayServeConfig:
    """A variant as a Ray Serve application: replicas in processes of their own, started and ended by their load."""

    variant: Path | None = None
    """Folder of the variant to serve."""

    host: str = "127.0.0.1"
    """Address to listen at. 127.0.0.1 answers this machine alone. There are no API keys: put a proxy in front."""

    port: int = 8006
    """TCP port to listen at; 0 takes a free one."""

    replicas: int = 1
    """Replicas that always run."""

    most_replicas: int = 2
    """Replicas that the load may start."""

    threads: int = 1
    """Processor threads of a replica, which Ray reserves for it."""

    max_batch: int = 16
    """Texts computed together at most."""

    max_wait_ms: float = 5.0
    """Milliseconds that a text waits at most for others to share its batch."""

    max_queue: int = 256
    """Requests that wait at most for a replica; more are refused (503)."""

    object_store_mb: int = 100
    """Megabytes of memory for what processes share; texts and labels need little."""

    max_texts: int = 64
    """Texts of one request at most."""

    max_characters: int = 20_000
    """Characters of one text at most."""

    def __post_init__(self) -> None:
        for name in ("replicas", "threads", "max_queue", "max_texts", "max_characters"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} must be at least 1")
        if self.most_replicas < self.replicas:
            raise ValueError(f"--most_replicas {self.most_replicas} is less than --replicas {self.replicas}")
        if not 1 <= self.max_batch <= 1024:
            raise ValueError(f"--max_batch {self.max_batch} is outside 1 … 1024")
        if not 0 <= self.max_wait_ms <= 1000:
            raise ValueError(f"--max_wait_ms {self.max_wait_ms} is outside 0 … 1000")
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"--port {self.port} is outside 0 … 65535")
        if self.object_store_mb < 80:
            raise ValueError(f"--object_store_mb {self.object_store_mb} is less than 80, which Ray asks for")
