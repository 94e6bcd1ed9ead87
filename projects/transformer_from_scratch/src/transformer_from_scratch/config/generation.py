"""How tokens are drawn and texts continued."""

import math
from dataclasses import dataclass


@dataclass(kw_only=True, frozen=True)
class SamplingConfig:
    """How the next token is drawn from the model's distribution."""

    temperature: float = 0.8
    """Divides the logits before the softmax: below 1 safer, above 1 wilder. 0 takes the most probable token."""

    top_k: int | None = None
    """Draw from this many most probable tokens only. None: no limit."""

    top_p: float | None = None
    """Draw from the fewest tokens that together have this probability, above 0 and up to 1. None: no limit."""

    min_p: float | None = None
    """Draw from tokens at least this share as probable as the most probable one, 0 to 1. None: no limit."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"--temperature {self.temperature} must be a finite number of at least 0")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"--top_k {self.top_k} must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"--top_p {self.top_p} must be above 0 and at most 1")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise ValueError(f"--min_p {self.min_p} must lie between 0 and 1")


@dataclass(kw_only=True, frozen=True)
class GenerateConfig(SamplingConfig):
    """`generate`: continue prompts with a trained language model."""

    checkpoint: str = "latest"
    """Model: a run folder, a checkpoint folder, or `latest` for the newest run."""

    gpt2: str | None = None
    """GPT-2 model instead: a Hugging Face folder, or a hub id such as openai-community/gpt2."""

    prompt: tuple[str, ...] = ("The ",)
    """Texts to continue, one after another."""

    length: int = 200
    """Tokens to add to each prompt at most."""

    beams: int = 1
    """Above 1: beam search for the most probable continuation, which draws nothing and ignores temperature."""

    length_penalty: float = 0.0
    """Beam search favours longer texts the more the higher this is (alpha of Wu et al. 2016); 0 compares plain
    probabilities."""

    stop: str | None = None
    """Text at which a continuation ends; it is left out. None: at the length, or at the model's end token."""

    seed: int = 1337
    """Seeds the draws; at least 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gpt2 is not None and self.checkpoint != "latest":
            raise ValueError("--checkpoint and --gpt2 exclude each other: give one of them")
        if not self.prompt or "" in self.prompt:
            raise ValueError("--prompt must be one or more texts, none of them empty")
        if self.stop == "":
            raise ValueError("--stop must not be an empty text; leave it out to go on to --length")
        for name in ("length", "beams"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} must be at least 1")
        if not 0 <= self.length_penalty < math.inf:
            raise ValueError(f"--length_penalty {self.length_penalty} must be a finite number of at least 0")
        filters = [f"--{name}" for name in ("top_k", "top_p", "min_p") if getattr(self, name) is not None]
        if self.beams > 1 and filters:
            raise ValueError(f"--beams {self.beams} draws nothing: leave out {' and '.join(filters)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed {self.seed} is outside 0 … {2**32 - 1}")
