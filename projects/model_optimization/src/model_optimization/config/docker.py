"""What `docker` writes: an image, its companions and its manifests."""

import re
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._/:-]*[a-z0-9]:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(kw_only=True, frozen=True)
class DockerConfig:
    """Files that bring a variant into containers. No secret is among them."""

    variant: Path | None = None
    """Folder of the variant that the image serves; an ONNX variant needs no torch in the image."""

    output: Path = Path("deployment")
    """Folder that is written. One that this command wrote is replaced."""

    name: str = "model-server"
    """Name of the service in compose and Kubernetes: lower-case letters, digits and hyphens."""

    image: str | None = None
    """Name and tag of the image. None: the service's name, tagged by the variant's digest, so that another variant
    never hides behind the same tag."""

    port: int = 8005
    """TCP port of the server, inside and outside."""

    threads: int = 2
    """Processor threads of one computation, and the processors that a container may use."""

    memory_mb: int = 1536
    """Megabytes that a container may use."""

    least_replicas: int = 2
    """Containers that Kubernetes always keeps."""

    most_replicas: int = 6
    """Containers that the autoscaler may start."""

    cpu_percent: int = 70
    """Use of the processors, in percent, that the autoscaler aims at."""

    slow_seconds: float = 0.5
    """Alert when the slowest twentieth of the answers takes longer, in seconds."""

    error_percent: float = 1.0
    """Alert when a larger share of the requests ends in a server's error, in percent."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"--name {self.name!r} must be lower-case letters, digits and hyphens, 40 at most")
        if self.image is not None and not _IMAGE.fullmatch(self.image):
            raise ValueError(f"--image {self.image!r} must be a name and a tag, such as example.org/model-server:1.0")
        if self.image is not None and self.image.endswith(":latest"):
            raise ValueError("--image: the tag latest names another image tomorrow: use a version")
        if not 1024 <= self.port <= 65_535:
            raise ValueError(f"--port {self.port} is outside 1024 … 65535: the server is not root")
        if not 1 <= self.threads <= 64:
            raise ValueError(f"--threads {self.threads} is outside 1 … 64")
        if self.memory_mb < 256:
            raise ValueError(f"--memory_mb {self.memory_mb} is too little: the server alone takes 256")
        if not 1 <= self.least_replicas <= self.most_replicas:
            raise ValueError(
                f"--least_replicas {self.least_replicas} must be between 1 and --most_replicas {self.most_replicas}"
            )
        if not 10 <= self.cpu_percent <= 95:
            raise ValueError(f"--cpu_percent {self.cpu_percent} is outside 10 … 95")
        if not self.slow_seconds > 0:
            raise ValueError(f"--slow_seconds {self.slow_seconds} must be above 0")
        if not 0 < self.error_percent < 100:
            raise ValueError(f"--error_percent {self.error_percent} must be above 0 and below 100")
