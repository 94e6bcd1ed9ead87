"""How networks are trained."""

from dataclasses import dataclass


@dataclass(kw_only=True, frozen=True)
class TrainerConfig:
    """Fine-tuning by AdamW with a linear schedule."""

    epochs: int = 3
    """Passes over the training texts."""

    batch_size: int = 16
    """Texts an optimiser step."""

    learning_rate: float = 1e-4
    """Peak learning rate of the encoder."""

    head_factor: float = 10.0
    """Learning rate of the classification layer, as a multiple of learning_rate."""

    weight_decay: float = 0.01
    """Share of each weight matrix removed per step and unit of learning rate; biases and norms keep theirs."""

    warmup_share: float = 0.1
    """Share of all steps over which the learning rate rises to its peak; then it falls to 0 in a line."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 1")
        for name in ("learning_rate", "head_factor"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be above 0")
        if not 0 <= self.warmup_share < 1:
            raise ValueError(f"--trainer.warmup_share {self.warmup_share} must be at least 0 and below 1")
        if self.weight_decay < 0:
            raise ValueError(f"--trainer.weight_decay {self.weight_decay} must not be negative")
