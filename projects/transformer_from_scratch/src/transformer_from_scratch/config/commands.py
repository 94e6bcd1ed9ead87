"""The config of each command that trains a model."""

from dataclasses import dataclass, field

from roadmap_shared.config import RunConfig, TrackingConfig
from transformer_from_scratch.config.data import CorpusConfig, DateDataConfig, MaskingConfig, ParallelTextConfig
from transformer_from_scratch.config.evaluation import LanguageModelEvaluation, MaskedLMEvaluation, SequenceEvaluation
from transformer_from_scratch.config.model import ModelConfig
from transformer_from_scratch.config.trainer import TrainerConfig


@dataclass(kw_only=True, frozen=True)
class TrainingRun:
    """What every command that trains a model has."""

    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass(kw_only=True, frozen=True)
class LanguageModelConfig(TrainingRun):
    """`run`: a decoder-only language model."""

    data: CorpusConfig = field(default_factory=CorpusConfig)
    evaluation: LanguageModelEvaluation = field(default_factory=LanguageModelEvaluation)


@dataclass(kw_only=True, frozen=True)
class MaskedLMConfig(TrainingRun):
    """`mlm`: a bidirectional encoder that guesses hidden tokens."""

    data: CorpusConfig = field(default_factory=CorpusConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    evaluation: MaskedLMEvaluation = field(default_factory=MaskedLMEvaluation)

    def __post_init__(self) -> None:
        check_without_ngrams(self.model)  # an n-gram would give its hidden token away


@dataclass(kw_only=True, frozen=True)
class DatesConfig(TrainingRun):
    """`dates`: an encoder-decoder that rewrites dates as ISO 8601."""

    data: DateDataConfig = field(default_factory=DateDataConfig)
    evaluation: SequenceEvaluation = field(default_factory=SequenceEvaluation)

    def __post_init__(self) -> None:
        check_sequence_shape(self.data.batch_tokens, self.trainer, self.model)


@dataclass(kw_only=True, frozen=True)
class TranslationConfig(TrainingRun):
    """`translate`: an encoder-decoder that translates sentences."""

    data: ParallelTextConfig = field(default_factory=ParallelTextConfig)
    evaluation: SequenceEvaluation = field(default_factory=SequenceEvaluation)

    def __post_init__(self) -> None:
        check_sequence_shape(self.data.batch_tokens, self.trainer, self.model)


def check_sequence_shape(batch_tokens: int, trainer: TrainerConfig, model: ModelConfig) -> None:
    """Raise ValueError for settings that an encoder-decoder or its batches cannot have."""
    needed = trainer.batch_size * model.context
    if batch_tokens < needed:
        raise ValueError(
            f"--data.batch_tokens {batch_tokens} is too small for --trainer.batch_size {trainer.batch_size} "
            f"sequences of --model.context {model.context} tokens: give at least {needed}"
        )
    check_without_ngrams(model)


def check_without_ngrams(model: ModelConfig) -> None:
    """Raise ValueError for n-gram embeddings in a model that sees, or writes, more than one text."""
    if model.ngram_orders:
        raise ValueError(f"--model.ngram_orders {model.ngram_orders} are for decoder-only models: leave them out")
