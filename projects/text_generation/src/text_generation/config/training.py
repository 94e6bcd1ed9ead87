"""How the built-in model is shaped and trained."""

from dataclasses import dataclass
from typing import Literal


@dataclass(kw_only=True, frozen=True)
class ModelConfig:
    """A GPT-2 of any size (Radford et al. 2019), trained on the corpus; or a model that is there already."""

    name: str | None = None
    """Folder or hub id of a causal language model, such as gpt2, to use as it is. None: train one of the size below."""

    n_layers: int = 4
    """Transformer blocks."""

    width: int = 256
    """Features of each token between the blocks."""

    n_heads: int = 4
    """Attention heads; width must be a multiple."""

    context: int = 256
    """Tokens that the model sees at once."""

    dropout: float = 0.0
    """Dropout of embeddings, attention and residual branches. More than one pass over a small corpus wants 0.1."""

    def __post_init__(self) -> None:
        if self.name == "":
            raise ValueError("--model.name is empty: give a folder or a hub id, or None to train a model")
        for name in ("n_layers", "width", "n_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"--model.{name} {getattr(self, name)} must be at least 1")
        if self.width % self.n_heads:
            raise ValueError(f"--model.width {self.width} is not a multiple of --model.n_heads {self.n_heads}")
        if self.context < 8:
            raise ValueError(f"--model.context {self.context} must be at least 8")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--model.dropout {self.dropout} must be at least 0 and below 1")


@dataclass(kw_only=True, frozen=True)
class TrainerConfig:
    """Next-token training: optimiser, schedule, precision."""

    steps: int = 600
    """Optimiser steps."""

    batch_size: int = 16
    """Windows of a full context an optimiser step, over all accumulation steps together."""

    packing: Literal["documents", "stream"] = "documents"
    """How documents become windows. documents: whole ones together, best fit, the rest is padding; stream: one after
    another without a gap, cut anywhere."""

    accumulation_steps: int = 1
    """Parts into which a step's batch is cut; saves memory."""

    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: PyTorch's Muon for the matrices inside the blocks (Jordan et al. 2024), AdamW for all other weights."""

    learning_rate: float = 3e-3
    """Peak learning rate. Muon's updates are scaled to the size of AdamW's (Liu et al. 2025, "Muon is scalable for LLM
    training"), so that one rate serves both."""

    embedding_share: float = 0.2
    """With muon, the share of the learning rate at which AdamW trains embeddings, gains and biases."""

    weight_decay: float = 0.1
    """Share of each weight matrix of the blocks removed per step and unit of learning rate."""

    warmup_steps: int = 30
    """Steps over which the learning rate rises to its peak."""

    decay_share: float = 0.6
    """Share of all steps, the last ones, over which the learning rate falls in a line to zero."""

    clip_norm: float = 1.0
    """Longest gradient, as the norm over all weights. 0: no limit."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: mixed precision, for a GPU."""

    compile: bool = False
    """Compile the model with torch.compile: minutes at the start, faster steps on a GPU."""

    evaluate_every: int = 200
    """Steps between two measurements of the validation loss."""

    checkpoint_every: int = 200
    """Steps between two checkpoints."""

    device: Literal["auto", "cpu"] = "auto"
    """auto: a GPU where there is one."""

    threads: int | None = None
    """CPU threads. None: PyTorch's own choice."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation_steps", "evaluate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 1")
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"--trainer.batch_size {self.batch_size} is not a multiple of "
                f"--trainer.accumulation_steps {self.accumulation_steps}"
            )
        for name in ("learning_rate", "embedding_share"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be above 0")
        for name in ("weight_decay", "clip_norm", "warmup_steps"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 0")
        if not 0 <= self.decay_share <= 1:
            raise ValueError(f"--trainer.decay_share {self.decay_share} must be between 0 and 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"--trainer.threads {self.threads} must be at least 1")
