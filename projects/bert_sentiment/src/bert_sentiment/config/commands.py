"""The config of each command that trains or measures models."""

from dataclasses import dataclass, field

from bert_sentiment.config.data import DataConfig, PreprocessingConfig
from bert_sentiment.config.evaluation import EvaluationConfig
from bert_sentiment.config.methods import MethodConfig
from bert_sentiment.config.model import ModelConfig
from bert_sentiment.config.trainer import TrainerConfig
from roadmap_shared.config import RunConfig, TrackingConfig


@dataclass(kw_only=True, frozen=True)
class SentimentConfig:
    """`run`: fine-tune a classifier, evaluate it and report."""

    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
