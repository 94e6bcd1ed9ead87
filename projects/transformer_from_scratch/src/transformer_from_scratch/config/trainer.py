"""How a model is trained: optimiser, schedule, precision, processes, checkpoints."""

from dataclasses import dataclass
from typing import Literal


@dataclass(kw_only=True, frozen=True)
class TrainerConfig:
    """How a model is trained."""

    steps: int = 1000
    """Optimiser steps."""

    batch_size: int = 16
    """Sequences a step, over all processes and accumulation steps together. Where --data.batch_tokens bounds a step's
    batch, the number of its sequences is a multiple of this."""

    accumulation_steps: int = 1
    """Parts into which a step's batch is cut, one forward and backward pass each; saves memory."""

    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: Muon for hidden matrices, AdamW for the rest. adamw: AdamW for everything."""

    learning_rate: float = 3e-3
    """Peak learning rate of AdamW."""

    muon_learning_rate: float = 0.02
    """Peak learning rate of Muon."""

    muon_iteration: Literal["newton_schulz", "polar_express"] = "polar_express"
    """How Muon orthogonalises: five steps of one polynomial, or three of the best one for each step."""

    beta1: float = 0.9
    """Decay of AdamW's mean of gradients, a step."""

    beta2: float = 0.99
    """Decay of AdamW's mean of squared gradients, a step."""

    weight_decay: float = 0.0
    """Share of each matrix removed per step and unit of learning rate."""

    schedule: Literal["cosine", "wsd", "constant"] = "cosine"
    """Learning rate after the warm-up: cosine, or stable then a linear decay (wsd), or constant."""

    warmup_steps: int = 20
    """Steps over which the learning rate rises linearly to its peak."""

    decay_share: float = 0.5
    """Last share of all steps over which wsd decays."""

    final_lr_share: float = 0.0
    """Share of the peak learning rate that is left at the end."""

    clip_norm: float = 1.0
    """Longest gradient, as the norm over all parameters; longer ones are scaled down. 0: no limit."""

    label_smoothing: float = 0.0
    """Share of the target probability spread over all tokens (Szegedy et al. 2016), in training only."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast forward and backward to bfloat16; weights stay fp32."""

    compile: bool = False
    """Compile the model with torch.compile (needs a C++ compiler on CPU; the first step takes a minute)."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""

    threads: int | None = None
    """CPU threads. None: PyTorch's own choice."""

    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: copies of the model (ddp), or the model cut into shards (fsdp, needs adamw)."""

    evaluate_every: int = 250
    """Steps between evaluations on the whole validation part. Evaluation never changes training."""

    checkpoint_every: int = 250
    """Steps between checkpoints; the last step always leaves one."""

    keep_checkpoints: int = 2
    """Checkpoints kept, newest first."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation_steps", "evaluate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 1")
        if self.keep_checkpoints < 1:
            raise ValueError(f"--trainer.keep_checkpoints {self.keep_checkpoints} must be at least 1")
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"--trainer.batch_size {self.batch_size} is not a multiple of "
                f"--trainer.accumulation_steps {self.accumulation_steps}"
            )
        for name in ("learning_rate", "muon_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be above 0")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 0 and below 1")
        for name in ("warmup_steps", "clip_norm", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 0")
        if not 0 < self.decay_share <= 1:
            raise ValueError(f"--trainer.decay_share {self.decay_share} must be above 0 and at most 1")
        if not 0 <= self.final_lr_share <= 1:
            raise ValueError(f"--trainer.final_lr_share {self.final_lr_share} must be between 0 and 1")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"--trainer.label_smoothing {self.label_smoothing} must be at least 0 and below 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"--trainer.threads {self.threads} must be at least 1")
