"""Which fine-tuning methods meet in the arena, on which learning rates, for how long."""

from dataclasses import dataclass, field, fields

from bert_sentiment.config.data import DataConfig, PreprocessingConfig
from bert_sentiment.config.evaluation import EvaluationConfig
from bert_sentiment.config.methods import METHOD_NAMES, MethodConfig, MethodName
from bert_sentiment.config.model import ModelConfig
from bert_sentiment.config.trainer import TrainerConfig
from roadmap_shared.config import RunConfig, TrackingConfig


@dataclass(kw_only=True, frozen=True)
class RatesConfig:
    """Learning rates that each method tries, each above 0. The classification layer learns at trainer.learning_rate ×
    trainer.head_factor beside all of them; with `head`, that rate is what is tried."""

    full: tuple[float, ...] = (5e-5, 2e-4, 5e-4)
    """Rates of the whole encoder."""

    head: tuple[float, ...] = (1e-3, 1e-2, 3e-2)
    """Rates of the classification layer alone."""

    bitfit: tuple[float, ...] = (1e-3, 5e-3, 1.5e-2)
    """Rates of the biases."""

    lora: tuple[float, ...] = (2e-4, 5e-4, 2e-3)
    """Rates of the low-rank updates."""

    dora: tuple[float, ...] = (2e-4, 5e-4, 2e-3)
    """Rates of the low-rank updates and the rows' lengths."""

    ia3: tuple[float, ...] = (5e-3, 2e-2, 5e-2)
    """Rates of the factors."""

    prefix: tuple[float, ...] = (5e-3, 2e-2, 5e-2)
    """Rates of the virtual keys and values."""

    p_tuning: tuple[float, ...] = (2e-4, 5e-4, 2e-3)
    """Rates of the network that makes the virtual tokens."""

    prompt: tuple[float, ...] = (2e-3, 5e-3, 5e-2)
    """Rates of the virtual tokens."""

    adapter: tuple[float, ...] = (5e-4, 2e-3, 5e-3)
    """Rates of the adapters."""

    def __post_init__(self) -> None:
        for item in fields(self):
            rates = getattr(self, item.name)
            if not rates or not all(rate > 0 for rate in rates) or len(set(rates)) < len(rates):
                given = " ".join(f"{rate:g}" for rate in rates) or "is empty"
                raise ValueError(f"--rates.{item.name} {given}: give different numbers above 0")

    def of(self, method: MethodName) -> tuple[float, ...]:
        """The method's rates in ascending order."""
        return tuple(sorted(getattr(self, method)))


@dataclass(kw_only=True, frozen=True)
class ContestConfig:
    """Who takes part, and on what terms: equal for all."""

    methods: tuple[MethodName, ...] = METHOD_NAMES
    """Methods that are compared. One more in a resumed arena costs its own trainings only."""

    max_steps: int = 168
    """Optimiser steps of each training, at most trainer.epochs passes over the texts."""

    n_seeds: int = 3
    """Trainings of each method at its best rate, at least 2. Another seed tunes the rate."""

    n_forgetting: int = 300
    """Paragraphs of general English on which forgetting is measured, at least 20."""

    isolate: bool = True
    """Train each method in a process of its own, whose peak memory is then measured. False: all in one, which saves
    some seconds a method; memory is then measured on a GPU only."""

    def __post_init__(self) -> None:
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise ValueError(f"--arena.methods {' '.join(self.methods) or 'is empty'}: give each method once")
        for name, least in (("max_steps", 1), ("n_seeds", 2), ("n_forgetting", 20)):
            if getattr(self, name) < least:
                raise ValueError(f"--arena.{name} {getattr(self, name)} must be at least {least}")


def _without_stopping() -> TrainerConfig:
    return TrainerConfig(patience=None)


@dataclass(kw_only=True, frozen=True)
class ArenaConfig:
    """`arena`: fine-tuning methods against each other on equal terms."""

    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    arena: ContestConfig = field(default_factory=ContestConfig)
    rates: RatesConfig = field(default_factory=RatesConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    trainer: TrainerConfig = field(default_factory=_without_stopping)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        if self.method.name != "full":
            raise ValueError(f"--method.name {self.method.name}: the arena takes a list, --arena.methods")
        if self.method.target_modules is not None:
            raise ValueError("--method.target_modules would serve one method: the arena takes what fits the encoder")
        if self.trainer.patience is not None:
            raise ValueError("--trainer.patience must be None in the arena: every method gets the same number of steps")
