"""Every setting of the project: one frozen dataclass a concern. Importing this is cheap: no torch."""

from transformer_from_scratch.config.commands import DatesConfig, LanguageModelConfig, MaskedLMConfig, TranslationConfig
from transformer_from_scratch.config.data import (
    CorpusConfig,
    DateDataConfig,
    MaskingConfig,
    ParallelTextConfig,
    TokenizerName,
)
from transformer_from_scratch.config.doctor import DoctorConfig
from transformer_from_scratch.config.evaluation import LanguageModelEvaluation, MaskedLMEvaluation, SequenceEvaluation
from transformer_from_scratch.config.generation import GenerateConfig, SamplingConfig
from transformer_from_scratch.config.model import ActivationName, ModelConfig, NormName, NormPosition, PositionName
from transformer_from_scratch.config.trainer import TrainerConfig

__all__ = [
    "ActivationName",
    "CorpusConfig",
    "DateDataConfig",
    "DatesConfig",
    "DoctorConfig",
    "GenerateConfig",
    "LanguageModelConfig",
    "LanguageModelEvaluation",
    "MaskedLMConfig",
    "MaskedLMEvaluation",
    "MaskingConfig",
    "ModelConfig",
    "NormName",
    "NormPosition",
    "ParallelTextConfig",
    "PositionName",
    "SamplingConfig",
    "SequenceEvaluation",
    "TokenizerName",
    "TrainerConfig",
    "TranslationConfig",
]
