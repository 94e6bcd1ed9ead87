"""Which encoder is fine-tuned."""

from dataclasses import dataclass
from typing import Literal


@dataclass(kw_only=True, frozen=True)
class ModelConfig:
    """The pretrained encoder under the classifier."""

    name: str = "minilm"
    """minilm for the built-in encoder, a folder written by save_pretrained, or a hub id such as bert-base-uncased."""

    pooler: Literal["auto", "checkpoint", "identity"] = "auto"
    """How the layer starts that BERT puts between the first token's state and the classification layer. checkpoint: as
    in the checkpoint; identity: handing the state on, for encoders that were trained without it, as sentence encoders
    are; auto: identity for minilm, checkpoint for others."""

    dropout: float | None = None
    """Dropout before the classification layer and inside the encoder. None: as the checkpoint has it."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("--model.name is empty: give minilm, a folder or a hub id")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"--model.dropout {self.dropout} must be at least 0 and below 1")
