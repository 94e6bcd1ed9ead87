"""Every setting of the project: one frozen dataclass a concern. Importing this is cheap: no torch."""

from model_optimization.config.model import ModelConfig
from model_optimization.config.trainer import TrainerConfig

__all__ = ["ModelConfig", "TrainerConfig"]
