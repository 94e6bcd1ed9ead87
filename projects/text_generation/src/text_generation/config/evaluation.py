"""How a model is measured."""

from dataclasses import dataclass


@dataclass(kw_only=True, frozen=True)
class EvaluationConfig:
    """What `run` measures, and on how much."""

    documents: int = 150
    """Held-out documents of each kind on which bits per byte are measured, at most."""

    stories: int = 60
    """Held-out headers whose story is generated, to see whether it does what was asked."""

    prompts: int = 6
    """Prompts on which decoding strategies are compared."""

    samples: int = 4
    """Answers to each prompt where chance has a part."""

    max_new_tokens: int = 64
    """Tokens of each answer in the comparison of strategies."""

    batch_size: int = 16
    """Windows or prompts a forward pass."""

    def __post_init__(self) -> None:
        for name in ("documents", "stories", "prompts", "samples"):
            if getattr(self, name) < 2:
                raise ValueError(f"--evaluation.{name} {getattr(self, name)} must be at least 2")
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--evaluation.{name} {getattr(self, name)} must be at least 1")
