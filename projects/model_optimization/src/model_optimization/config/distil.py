"""`model-optimization distil`."""

from dataclasses import dataclass, field
from pathlib import Path

from model_optimization.config.data import DataConfig
from model_optimization.config.distillation import (
    ControlsConfig,
    DistillationConfig,
    MaskedLanguageConfig,
    StudentConfig,
)
from model_optimization.config.model import GivenModelConfig
from model_optimization.config.trainer import TrainerConfig


@dataclass(kw_only=True, frozen=True)
class DistilConfig:
    """`distil`: train a small student on the answers of the classifier of `--model.path`, and write it as a variant."""

    output: Path
    """Folder to write; a variant that is there already is replaced."""

    model: GivenModelConfig = field(default_factory=GivenModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    mlm: MaskedLanguageConfig = field(default_factory=MaskedLanguageConfig)
    controls: ControlsConfig = field(default_factory=ControlsConfig)

    unlabelled: Path | None = None
    """File with a text on each line, or a folder of .txt files: further texts, which the teacher labels. None: none."""

    seed: int = 1337
    """Seeds order, dropout and random weights; the controls' seeds start with it. At least 0."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"--seed {self.seed} is outside 0 … {2**31 - 1}")
