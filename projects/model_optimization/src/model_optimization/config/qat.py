"""Quantisation-aware training, and low-rank adapters on 4-bit weights."""

from dataclasses import dataclass
from typing import Literal

from model_optimization.config.trainer import TrainerConfig


@dataclass(kw_only=True, frozen=True)
class QatConfig:
    """Fine-tuning of a trained classifier with the rounding errors of int8 in its forward pass."""

    engine: Literal["by_hand", "torchao", "pt2e"] = "by_hand"
    """What fakes the quantisation: by_hand (this package's modules), torchao (its modules, one activation range per
    token; needs the extra torchao), or pt2e (the exported program with torchao's quantiser for x86)."""

    activations: Literal["tensor", "token"] = "tensor"
    """What shares one range of activations (by_hand): all of a batch, as in ONNX Runtime, or each token."""

    epochs: int = 1
    """Passes over the training texts."""

    batch_size: int = 16
    """Texts an optimiser step."""

    learning_rate: float = 2e-5
    """Peak learning rate; the network is trained already, and needs small steps."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--qat.{name} {getattr(self, name)} must be at least 1")
        if not self.learning_rate > 0:
            raise ValueError(f"--qat.learning_rate {self.learning_rate} must be above 0")
        if self.activations == "token" and self.engine != "by_hand":
            raise ValueError(
                f"--qat.activations token is for --qat.engine by_hand; {self.engine} has ranges of its own"
            )

    @property
    def trainer(self) -> TrainerConfig:
        """The settings of the training loop; the classification layer is trained already, and learns as the rest."""
        return TrainerConfig(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate, head_factor=1.0
        )


@dataclass(kw_only=True, frozen=True)
class QloraConfig:
    """Low-rank adapters that are trained on a network whose own weights are held in 4 bits."""

    rank: int = 8
    """Rank of each adapter: it has rank * (inputs + outputs) weights."""

    alpha: float = 16.0
    """The adapters' output is multiplied by alpha / rank."""

    targets: tuple[str, ...] = ("query", "value")
    """Ends of the names of the linear layers that get an adapter."""

    epochs: int = 1
    """Passes over the training texts."""

    batch_size: int = 16
    """Texts an optimiser step."""

    learning_rate: float = 5e-4
    """Peak learning rate of the adapters."""

    def __post_init__(self) -> None:
        for name in ("rank", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--qlora.{name} {getattr(self, name)} must be at least 1")
        for name in ("alpha", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--qlora.{name} {getattr(self, name)} must be above 0")
        if not self.targets:
            raise ValueError("--qlora.targets needs at least one name, such as query")

    @property
    def trainer(self) -> TrainerConfig:
        """The settings of the training loop."""
        return TrainerConfig(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate, head_factor=1.0
        )
