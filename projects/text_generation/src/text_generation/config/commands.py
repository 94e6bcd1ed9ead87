"""The config of each command that trains or measures models."""

from dataclasses import dataclass, field

from roadmap_shared.config import RunConfig, TrackingConfig
from text_generation.config.data import CorpusConfig, TokenizerConfig
from text_generation.config.evaluation import EvaluationConfig
from text_generation.config.training import ModelConfig, TrainerConfig


@dataclass(kw_only=True, frozen=True)
class GenerationConfig:
    """`run`: train a language model or take one that is there, compare what it can do, report."""

    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: CorpusConfig = field(default_factory=CorpusConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
