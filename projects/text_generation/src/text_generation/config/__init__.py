"""Every setting of the project: one frozen dataclass a concern. Importing this is cheap: no torch."""

from text_generation.config.backend import BackendConfig
from text_generation.config.coding import CodeConfig, PassAtKConfig, ProblemsConfig, SandboxConfig
from text_generation.config.commands import GenerationConfig
from text_generation.config.data import CorpusConfig, TokenizerConfig
from text_generation.config.decoding import DecodingConfig
from text_generation.config.evaluation import EvaluationConfig
from text_generation.config.finetuning import AlignConfig, FinetuneConfig
from text_generation.config.generating import GenerateConfig
from text_generation.config.measuring import EvaluateConfig, MicroscopeConfig, TextsConfig
from text_generation.config.prompting import ABConfig, InjectConfig, PromptsConfig
from text_generation.config.rating import RateConfig, VotesConfig
from text_generation.config.serving import ServingConfig
from text_generation.config.training import ModelConfig, TrainerConfig
from text_generation.config.writing import ChatConfig, WriteConfig

__all__ = [
    "ABConfig",
    "AlignConfig",
    "BackendConfig",
    "ChatConfig",
    "CodeConfig",
    "CorpusConfig",
    "DecodingConfig",
    "EvaluateConfig",
    "EvaluationConfig",
    "FinetuneConfig",
    "GenerateConfig",
    "GenerationConfig",
    "InjectConfig",
    "MicroscopeConfig",
    "ModelConfig",
    "PassAtKConfig",
    "ProblemsConfig",
    "PromptsConfig",
    "RateConfig",
    "SandboxConfig",
    "ServingConfig",
    "TextsConfig",
    "TokenizerConfig",
    "TrainerConfig",
    "VotesConfig",
    "WriteConfig",
]
