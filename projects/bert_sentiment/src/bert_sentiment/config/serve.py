"""How a trained classifier is served."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_MOST_CHARACTERS = 1_000_000  # what `Predictor` reads of a text


@dataclass(kw_only=True, frozen=True)
class ServeConfig:
    """`serve`: a web page to try the model, and an API for programs."""

    model: str = "latest"
    """A run folder or its name, a model folder, or `latest` for the newest run that has a model."""

    compare: str | None = None
    """A second model, to begin the comparison with. None: the newest other run that has a model."""

    root: Path = Path("runs")
    """Folder that holds the runs. A relative one is looked for here, in the folders above, and in the checkout that
    this package runs from."""

    host: str = "127.0.0.1"
    """Address to listen at. 127.0.0.1 answers this machine alone, 0.0.0.0 the whole network: there is no password."""

    port: int = 7860
    """TCP port to listen at; 0 takes a free one."""

    unsure_below: float = 0.0
    """Probability of the best label below which the answer is `unsure`; 0 always decides."""

    batch_size: int = 32
    """Texts a forward pass."""

    device: Literal["auto", "cpu"] = "auto"
    """auto: a GPU where there is one."""

    max_texts: int = 64
    """Most texts in one request, and most lines on the page. Files may be longer."""

    max_characters: int = 10_000
    """Most characters of one text in a request or on the page, at most 1,000,000."""

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("--host is empty: give an address, such as 127.0.0.1")
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"--port {self.port} is outside 0 … 65535")
        if not 0 <= self.unsure_below <= 1:
            raise ValueError(f"--unsure_below {self.unsure_below} must lie between 0 and 1")
        for name in ("batch_size", "max_texts", "max_characters"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} must be at least 1")
        if self.max_characters > _MOST_CHARACTERS:
            raise ValueError(f"--max_characters {self.max_characters} must be at most {_MOST_CHARACTERS:,}")
