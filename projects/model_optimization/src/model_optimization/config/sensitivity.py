"""Which matrices suffer from quantisation, and which of them stay in fp32."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model_optimization.config.data import DataConfig
from model_optimization.config.model import GivenModelConfig

By = Literal["matrix", "layer", "part"]
Change = Literal["alone", "all_but", "pruned"]


@dataclass(kw_only=True, frozen=True)
class SensitivityConfig:
    """The sensitivity map: one thing changed at a time, and how far the logits move."""

    by: By = "matrix"
    """What is changed at a time: each weight matrix, all matrices of a layer, or the same matrix of all layers."""

    change: Change = "alone"
    """alone: it is the only one in int8. all_but: it is the only one in fp32. pruned: its smallest weights are 0."""

    sparsity: float = 0.5
    """Share of a matrix's weights that become 0 with change pruned."""

    texts: int = 200
    """Texts that are compared, from the first of the validation part. No labels are needed."""

    batch_size: int = 16
    """Texts a batch, as they will be served: dynamic ranges depend on it."""

    def __post_init__(self) -> None:
        for name in ("texts", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--sensitivity.{name} {getattr(self, name)} must be at least 1")
        if not 0 < self.sparsity < 1:
            raise ValueError(f"--sensitivity.sparsity {self.sparsity} must be above 0 and below 1")


@dataclass(kw_only=True, frozen=True)
class MixedPrecisionConfig:
    """Which matrices stay in fp32 so that int8 keeps to a goal on the validation texts."""

    max_flips: float = 0.02
    """Largest share of texts whose label may be another than the fp32 model's."""

    max_accuracy_loss: float = 0.01
    """Largest share of texts by which accuracy may be lower than the fp32 model's."""

    max_trials: int = 6
    """Quantised models that are tried, the one with every matrix in int8 included."""

    ranking_texts: int = 32
    """Texts by which matrices are ranked, one alone in int8 at a time."""

    batch_size: int = 16
    """Texts a batch, as they will be served: dynamic ranges depend on it."""

    def __post_init__(self) -> None:
        for name in ("max_flips", "max_accuracy_loss"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--mixed.{name} {getattr(self, name)} must be at least 0 and below 1")
        for name in ("max_trials", "ranking_texts", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--mixed.{name} {getattr(self, name)} must be at least 1")


@dataclass(kw_only=True, frozen=True)
class SensitivityCommandConfig:
    """`sensitivity`: map what quantisation or pruning does to each part of a trained classifier."""

    model: GivenModelConfig = field(default_factory=GivenModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    sensitivity: SensitivityConfig = field(default_factory=SensitivityConfig)
    mixed: MixedPrecisionConfig = field(default_factory=MixedPrecisionConfig)

    choose: bool = False
    """Also choose the matrices that stay in fp32, and write the variant with the others in int8."""

    output: Path = Path("sensitivity")
    """Folder for sensitivity.json, sensitivity.png and, with --choose, the variant int8-mixed."""
