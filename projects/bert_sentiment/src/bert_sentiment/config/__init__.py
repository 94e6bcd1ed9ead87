"""Every setting of the project: one frozen dataclass a concern. Importing this is cheap: no torch."""

from bert_sentiment.config.arena import ArenaConfig, ContestConfig, RatesConfig
from bert_sentiment.config.commands import SentimentConfig
from bert_sentiment.config.compare import CompareConfig, ScratchConfig
from bert_sentiment.config.data import DataConfig, PreprocessingConfig
from bert_sentiment.config.evaluation import EvaluationConfig
from bert_sentiment.config.inference import PredictConfig
from bert_sentiment.config.methods import METHOD_NAMES, MethodConfig, MethodName
from bert_sentiment.config.model import ModelConfig
from bert_sentiment.config.serve import ServeConfig
from bert_sentiment.config.trainer import TrainerConfig

__all__ = [
    "METHOD_NAMES",
    "ArenaConfig",
    "CompareConfig",
    "ContestConfig",
    "DataConfig",
    "EvaluationConfig",
    "MethodConfig",
    "MethodName",
    "ModelConfig",
    "PredictConfig",
    "PreprocessingConfig",
    "RatesConfig",
    "ScratchConfig",
    "SentimentConfig",
    "ServeConfig",
    "TrainerConfig",
]
