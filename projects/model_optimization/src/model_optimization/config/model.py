"""Which model is made small."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(kw_only=True, frozen=True)
class GivenModelConfig:
    """A trained classifier."""

    path: Path | None = None
    """Folder of a sequence classifier of transformers, or of a variant."""

    max_length: int = 128
    """Tokens of a text that a classifier of transformers sees, its special tokens included; a variant knows its own."""

    def __post_init__(self) -> None:
        if not 8 <= self.max_length <= 512:
            raise ValueError(f"--model.max_length {self.max_length} is outside 8 … 512")


@dataclass(kw_only=True, frozen=True)
class ModelConfig(GivenModelConfig):
    """The original, which every variant is compared with."""

    path: Path | None = None
    """Folder of a trained sequence classifier of transformers. None: one is fine-tuned first."""

    name: str = "minilm"
    """Encoder that is fine-tuned where no path is given: minilm (built in), a folder, or an id on the hub."""
