"""What is cut out of a network, and how it is trained afterwards."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model_optimization.config.data import DataConfig
from model_optimization.config.model import GivenModelConfig
from model_optimization.config.trainer import TrainerConfig


@dataclass(kw_only=True, frozen=True)
class PruningConfig:
    """Structured pruning: whole layers, attention heads and feed-forward neurons leave, and the matrices shrink."""

    layers_keep: int | None = None
    """Layers that stay, chosen by the validation loss without each of them. None: all."""

    heads_keep: float = 1.0
    """Share of the attention heads that stay, above 0 and at most 1; below 1 for BERT only."""

    ffn_keep: float = 1.0
    """Share of the feed-forward neurons that stay, above 0 and at most 1."""

    budget: Literal["uniform", "per_layer"] = "uniform"
    """Whether each layer keeps the same share, or the most important units of all layers stay, which gives each layer
    a size of its own (BERT only)."""

    ffn_multiple: int = 16
    """The neurons of a layer are a multiple of this (matrix kernels work in blocks)."""

    calibration_texts: int = 256
    """Training texts on which importance is measured, and validation texts on which layers are chosen."""

    def __post_init__(self) -> None:
        for name in ("heads_keep", "ffn_keep"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"--pruning.{name} {getattr(self, name)} must be above 0 and at most 1")
        for name in ("ffn_multiple", "calibration_texts"):
            if getattr(self, name) < 1:
                raise ValueError(f"--pruning.{name} {getattr(self, name)} must be at least 1")
        if self.layers_keep is not None and self.layers_keep < 1:
            raise ValueError(f"--pruning.layers_keep {self.layers_keep} must be at least 1")

    @property
    def cuts(self) -> bool:
        """Whether anything is to be cut."""
        return self.layers_keep is not None or self.heads_keep < 1 or self.ffn_keep < 1


@dataclass(kw_only=True, frozen=True)
class MagnitudeConfig:
    """Magnitude pruning: the smallest weights become 0. Neither the matrices nor the files shrink by it."""

    sparsity: float = 0.0
    """Share of the encoder's weights that become 0, at least 0 and below 1."""

    pattern: Literal["global", "per_layer", "2:4"] = "global"
    """The smallest of all matrices together, of each matrix by itself, or two of every four neighbours in a row (which
    is half of them, and what sparse tensor cores can use)."""

    start_share: float = 0.0
    """Share of the training steps after which pruning starts."""

    end_share: float = 0.7
    """Share of the training steps after which the full sparsity is reached; the rest repairs."""

    every: int = 10
    """Training steps from one choice of weights to the next."""

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"--magnitude.sparsity {self.sparsity} must be at least 0 and below 1")
        if self.pattern == "2:4" and self.sparsity not in (0, 0.5):
            raise ValueError(f"--magnitude.sparsity {self.sparsity} must be 0.5 with --magnitude.pattern 2:4")
        if not 0 <= self.start_share <= self.end_share <= 1:
            raise ValueError(
                f"--magnitude.start_share {self.start_share} and --magnitude.end_share {self.end_share} must lie in "
                "this order between 0 and 1"
            )
        if self.every < 1:
            raise ValueError(f"--magnitude.every {self.every} must be at least 1")


@dataclass(kw_only=True, frozen=True)
class PruneConfig:
    """`prune`: cut a classifier, train what is left, and write it as a variant."""

    output: Path
    """Folder to write; a variant that is there already is replaced."""

    model: GivenModelConfig = field(default_factory=GivenModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    pruning: PruningConfig = field(default_factory=PruningConfig)
    magnitude: MagnitudeConfig = field(default_factory=MagnitudeConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    fine_tune: bool = True
    """Whether what is left is trained afterwards, as --trainer says."""

    study: bool = False
    """Whether figures are drawn into the folder: importance, and accuracy against the share that is cut."""

    seed: int = 1337
    """Seeds the choice of calibration texts and the training; at least 0."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed {self.seed} is outside 0 … {2**32 - 1}")
        if not self.pruning.cuts and not self.magnitude.sparsity:
            raise ValueError(
                "nothing is to be cut: set --pruning.ffn_keep, --pruning.heads_keep, --pruning.layers_keep or "
                "--magnitude.sparsity"
            )
        if self.magnitude.sparsity and not self.fine_tune:
            raise ValueError("--magnitude.sparsity is reached during training: leave out --fine_tune False")
