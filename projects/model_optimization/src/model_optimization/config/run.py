"""The main job: which variants are made of a model, and how they are measured."""

from dataclasses import dataclass, field
from typing import Literal

from model_optimization.config.benchmark import BenchmarkConfig
from model_optimization.config.data import DataConfig
from model_optimization.config.distillation import DistillationConfig, StudentConfig
from model_optimization.config.export import ExportConfig
from model_optimization.config.model import ModelConfig
from model_optimization.config.pruning import MagnitudeConfig, PruningConfig
from model_optimization.config.qat import QatConfig
from model_optimization.config.quantization import DynamicConfig, StaticConfig, WeightOnlyConfig
from model_optimization.config.sensitivity import MixedPrecisionConfig
from model_optimization.config.trainer import TrainerConfig
from roadmap_shared.config import RunConfig, TrackingConfig

VariantName = Literal[
    "onnx",
    "int8",
    "int8_mixed",
    "int8_static",
    "int8_qat",
    "weights_8bit",
    "weights_4bit",
    "half_zeros",
    "half_ffn",
    "student",
    "student_labels_only",
    "student_random_start",
    "smallest",
]
ALL_VARIANTS: tuple[VariantName, ...] = VariantName.__args__  # type: ignore[attr-defined]


@dataclass(kw_only=True, frozen=True)
class ChoiceConfig:
    """Which variant is served: the fastest that keeps to both limits; the original where none does."""

    max_flips: float = 0.02
    """Largest share of test texts that get another label than from the original."""

    max_accuracy_loss: float = 0.01
    """Largest share of test texts by which accuracy may be lower than the original's."""

    def __post_init__(self) -> None:
        for name in ("max_flips", "max_accuracy_loss"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--choice.{name} {getattr(self, name)} is outside 0 … 1")


@dataclass(kw_only=True, frozen=True)
class OptimizationConfig:
    """`run`: make variants of a model, measure all of them, report."""

    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    variants: tuple[VariantName, ...] = ALL_VARIANTS
    """Variants to make; the original is always among them."""

    export: ExportConfig = field(default_factory=ExportConfig)
    dynamic: DynamicConfig = field(default_factory=lambda: DynamicConfig(embeddings="int8"))
    mixed: MixedPrecisionConfig = field(default_factory=MixedPrecisionConfig)
    static: StaticConfig = field(default_factory=lambda: StaticConfig(embeddings="int8"))
    weight_only: WeightOnlyConfig = field(default_factory=WeightOnlyConfig)
    qat: QatConfig = field(default_factory=QatConfig)
    pruning: PruningConfig = field(default_factory=lambda: PruningConfig(ffn_keep=0.5))
    magnitude: MagnitudeConfig = field(default_factory=lambda: MagnitudeConfig(sparsity=0.5))

    repair: TrainerConfig = field(default_factory=lambda: TrainerConfig(epochs=1, learning_rate=5e-5, head_factor=1.0))
    """Training after pruning."""

    student: StudentConfig = field(default_factory=StudentConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    student_trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Training of the student and of its controls."""

    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    choice: ChoiceConfig = field(default_factory=ChoiceConfig)

    test_batch: int = 16
    """Texts a batch when accuracy and flips are measured; the ranges of dynamic int8 depend on it."""

    keep_trained: bool = True
    """Whether trained networks are kept in the user's cache folder, and taken from there by later runs with the same
    settings and texts."""

    def __post_init__(self) -> None:
        if len(set(self.variants)) != len(self.variants):
            raise ValueError(f"--variants {' '.join(self.variants)}: name each variant once")
        if self.test_batch < 1:
            raise ValueError(f"--test_batch {self.test_batch} must be at least 1")
        if not self.pruning.cuts:
            raise ValueError("--pruning.ffn_keep, --pruning.heads_keep or --pruning.layers_keep must cut something")
        if not self.magnitude.sparsity:
            raise ValueError("--magnitude.sparsity must be above 0; leave half_zeros out of --variants instead")
