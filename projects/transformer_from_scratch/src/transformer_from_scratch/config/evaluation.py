"""What is measured and shown after training."""

import math
from dataclasses import dataclass


@dataclass(kw_only=True, frozen=True)
class LanguageModelEvaluation:
    """What is measured and shown after training a language model."""

    batch_size: int = 32
    """Validation windows a forward pass."""

    prompt: str | None = None
    """Start of every sample. None: the first words of the validation part."""

    sample_length: int = 400
    """Tokens a sample."""

    temperatures: tuple[float, ...] = (0.0, 0.5, 0.8, 1.0)
    """Sampling temperatures; 0 is greedy."""

    attention_text: str | None = None
    """Text whose attention maps the report shows. None: the beginning of the validation part."""

    n_seeds: int = 1
    """Trainings, each with the seed after the last one's. Above 1 the summary has mean and standard deviation of the
    validation loss over them; everything else is that of the first."""

    n_resamples: int = 2000
    """Bootstrap resamples of each interval."""

    def __post_init__(self) -> None:
        if self.n_seeds < 1:
            raise ValueError(f"--evaluation.n_seeds {self.n_seeds} must be at least 1")


@dataclass(kw_only=True, frozen=True)
class MaskedLMEvaluation:
    """What is measured and shown after training a masked language model."""

    batch_size: int = 32
    """Validation windows a forward pass."""

    n_examples: int = 4
    """Validation windows shown with their guesses."""

    n_resamples: int = 2000
    """Bootstrap resamples of each interval."""


@dataclass(kw_only=True, frozen=True)
class SequenceEvaluation:
    """How an encoder-decoder is measured after training."""

    batch_size: int = 128
    """Sources a forward pass, in validation and decoding."""

    beams: int = 1
    """Hypotheses that beam search keeps; 1 decodes greedily."""

    length_penalty: float = 0.6
    """Beam search favours longer outputs the more the higher this is (alpha of Wu et al. 2016)."""

    n_examples: int = 8
    """Examples in the report."""

    n_resamples: int = 2000
    """Bootstrap resamples of each interval."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "beams", "n_resamples"):
            if getattr(self, name) < 1:
                raise ValueError(f"--evaluation.{name} {getattr(self, name)} must be at least 1")
        if not 0 <= self.length_penalty < math.inf:
            raise ValueError(f"--evaluation.length_penalty {self.length_penalty} must be a finite number of at least 0")
        if self.n_examples < 0:
            raise ValueError(f"--evaluation.n_examples {self.n_examples} must be at least 0")
