"""What is measured after training."""

from dataclasses import dataclass


@dataclass(kw_only=True, frozen=True)
class EvaluationConfig:
    """Figures, intervals and examples of the report."""

    batch_size: int = 64
    """Texts a forward pass."""

    n_resamples: int = 2000
    """Bootstrap resamples of each interval."""

    calibration_bins: int = 10
    """Bins of the calibration error and the reliability figure."""

    n_mistakes: int = 12
    """Most confident mistakes shown."""

    n_robustness: int | None = 200
    """Test texts that the robustness test changes, drawn at random. None: all."""

    typo_rate: float = 0.1
    """Share of the words that get a typing error in the robustness test."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "n_resamples", "calibration_bins"):
            if getattr(self, name) < 1:
                raise ValueError(f"--evaluation.{name} {getattr(self, name)} must be at least 1")
        if self.n_mistakes < 0:
            raise ValueError(f"--evaluation.n_mistakes {self.n_mistakes} must be at least 0")
        if self.n_robustness is not None and self.n_robustness < 1:
            raise ValueError(f"--evaluation.n_robustness {self.n_robustness} must be at least 1")
        if not 0 <= self.typo_rate <= 1:
            raise ValueError(f"--evaluation.typo_rate {self.typo_rate} must lie between 0 and 1")
