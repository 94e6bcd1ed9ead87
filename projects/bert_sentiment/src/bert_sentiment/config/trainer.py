"""How a classifier is fine-tuned."""

from dataclasses import dataclass
from typing import Literal


@dataclass(kw_only=True, frozen=True)
class TrainerConfig:
    """Fine-tuning: optimiser, schedule, stopping, precision."""

    epochs: int = 4
    """Passes over the training texts at most; early stopping may end before."""

    batch_size: int = 16
    """Texts an optimiser step, over all processes and accumulation steps together."""

    accumulation_steps: int = 1
    """Parts into which a step's batch is cut; saves memory."""

    learning_rate: float = 5e-5
    """Peak learning rate of AdamW for the top layer of the encoder."""

    head_factor: float = 10.0
    """Learning rate of the new classification layer, as a multiple of learning_rate."""

    layer_decay: float = 1.0
    """Each layer of the encoder learns this much slower than the one above it; 1: all alike (Howard & Ruder 2018)."""

    weight_decay: float = 0.01
    """Share of each weight matrix removed per step and unit of learning rate; biases and norms keep theirs."""

    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Learning rate after the warm-up: to zero in a line or a half cosine, or constant."""

    warmup_share: float = 0.1
    """Share of all steps over which the learning rate rises to its peak."""

    label_smoothing: float = 0.0
    """Share of the target probability spread over all labels."""

    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each label weighs inversely to its frequency in the training texts."""

    metric: Literal["accuracy", "macro_f1", "loss"] = "macro_f1"
    """Validation figure that picks the best checkpoint and stops early."""

    patience: int | None = 2
    """Evaluations without a better metric after which training stops. None: never before the last epoch."""

    evaluations_per_epoch: int = 1
    """How often an epoch the validation texts are evaluated and a checkpoint is kept."""

    bucket: bool = True
    """Put texts of similar length into one batch, which then has little padding. False: any texts."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """bf16, fp16: mixed precision. bf16 works on a CPU too, and is faster there only where the CPU has instructions for
    it; fp16 needs a GPU."""

    device: Literal["auto", "cpu"] = "auto"
    """auto: a GPU where there is one."""

    threads: int | None = None
    """CPU threads. None: PyTorch's own choice."""

    clip_norm: float = 1.0
    """Longest gradient, as the norm over all weights. 0: no limit."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation_steps", "evaluations_per_epoch"):
            if getattr(self, name) < 1:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 1")
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"--trainer.batch_size {self.batch_size} is not a multiple of "
                f"--trainer.accumulation_steps {self.accumulation_steps}"
            )
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("--trainer.precision fp16 needs a GPU; with --trainer.device cpu use bf16 or fp32")
        for name in ("learning_rate", "head_factor"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be above 0")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"--trainer.layer_decay {self.layer_decay} must be above 0 and at most 1")
        for name in ("weight_decay", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 0")
        for name in ("warmup_share", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 0 and below 1")
        for name in ("patience", "threads"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 1")
