"""How the next token is chosen."""

from dataclasses import dataclass
from typing import Literal

LEAST_DIVISOR = 1e-4
"""Of logits: division by less, or multiplication by more than its inverse, overflows."""


@dataclass(kw_only=True, frozen=True)
class DecodingConfig:
    """Search or sampling, and where a text ends."""

    strategy: Literal["greedy", "beam_search", "sampling"] = "sampling"
    """greedy: the most probable token each time; beam_search: the most probable text among num_beams that are kept;
    sampling: tokens drawn by their probability, after temperature, top_k, top_p, min_p and typical_p."""

    max_new_tokens: int | None = 64
    """Tokens of an answer at most; an error where the context has no room for as many. None: as many as there is room
    for, default_new_tokens at most."""

    default_new_tokens: int = 64
    """Tokens of an answer at most where max_new_tokens is None."""

    temperature: float = 1.0
    """Divides the logits before sampling: below 1 sharper, above 1 flatter."""

    top_k: int | None = None
    """Sampling draws among this many most probable tokens. None: all (Fan et al. 2018)."""

    top_p: float = 1.0
    """Sampling draws among the fewest tokens that hold this probability: nucleus sampling (Holtzman et al. 2020)."""

    min_p: float = 0.0
    """Sampling draws among tokens with at least this share of the most probable one's probability (Nguyen et al.
    2024)."""

    typical_p: float = 1.0
    """Sampling draws among the tokens whose information is nearest to the expected one and that hold this probability
    (Meister et al. 2023)."""

    num_beams: int = 5
    """Texts that beam search keeps at every step."""

    early_stopping: bool = True
    """Beam search ends as soon as num_beams texts are complete."""

    length_penalty: float = 1.0
    """Beam search divides a text's log-probability by its length to this power."""

    repetition_penalty: float = 1.0
    """Divides the positive logits of tokens that have occurred, multiplies negative ones: above 1 they come less often
    (Keskar et al. 2019)."""

    no_repeat_ngram_size: int = 0
    """No n-gram of this size occurs twice in prompt and answer together. 0: any may."""

    stop: tuple[str, ...] = ()
    """Texts that end an answer; they are not part of it."""

    json_schema: str | None = None
    """JSON Schema, itself as JSON, that every answer fits. For a local model, or a server with structured outputs."""

    regex: str | None = None
    """Regular expression that every answer matches as a whole. For a local model."""

    def __post_init__(self) -> None:
        for name in ("default_new_tokens", "num_beams"):
            if getattr(self, name) < 1:
                raise ValueError(f"--decoding.{name} {getattr(self, name)} must be at least 1")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ValueError(f"--decoding.max_new_tokens {self.max_new_tokens} must be at least 1")
        for name in ("temperature", "repetition_penalty"):
            if not LEAST_DIVISOR <= (value := getattr(self, name)) <= 1 / LEAST_DIVISOR:
                limits = f"{LEAST_DIVISOR:g} and {1 / LEAST_DIVISOR:g}"
                raise ValueError(f"--decoding.{name} {value} must be between {limits}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"--decoding.top_k {self.top_k} must be at least 1, or None for all tokens")
        for name in ("top_p", "typical_p"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"--decoding.{name} {getattr(self, name)} must be above 0 and at most 1")
        if not 0 <= self.min_p < 1:
            raise ValueError(f"--decoding.min_p {self.min_p} must be at least 0 and below 1")
        if self.no_repeat_ngram_size < 0:
            raise ValueError(f"--decoding.no_repeat_ngram_size {self.no_repeat_ngram_size} must be at least 0")
        if "" in self.stop:
            raise ValueError("--decoding.stop holds an empty text, which would end every answer at once")
        self._check_constraint()

    def _check_constraint(self) -> None:
        if not self.is_constrained:
            return
        if self.json_schema is not None and self.regex is not None:
            raise ValueError("--decoding.json_schema and --decoding.regex cannot both be given: leave one out")
        name = "regex" if self.json_schema is None else "json_schema"
        if self.strategy == "beam_search":
            raise ValueError(f"--decoding.{name} goes with --decoding.strategy greedy or sampling, not beam_search")
        if self.no_repeat_ngram_size:
            raise ValueError(
                f"--decoding.{name} goes without --decoding.no_repeat_ngram_size, which may forbid what it asks for"
            )

    @property
    def is_constrained(self) -> bool:
        """Whether an answer has to be of a given form."""
        return self.json_schema is not None or self.regex is not None

    @property
    def most_new_tokens(self) -> int:
        """Tokens of an answer at most, in a context that has room for them."""
        return self.default_new_tokens if self.max_new_tokens is None else self.max_new_tokens


GREEDY = DecodingConfig(strategy="greedy")
BEAM_SEARCH = DecodingConfig(strategy="beam_search", num_beams=5, early_stopping=True)
SAMPLING = DecodingConfig(strategy="sampling", temperature=0.7, top_k=50)
NUCLEUS = DecodingConfig(strategy="sampling", top_p=0.9)
