"""Who writes the answer, when it is refused, and what is done against instructions in retrieved text."""

from dataclasses import dataclass
from typing import Literal


@dataclass(kw_only=True, frozen=True)
class GenerationConfig:
    """The extractive generator, a local language model, or a server that speaks OpenAI's protocol."""

    kind: Literal["extractive", "hf", "openai"] = "extractive"
    """extractive: sentences of the documents, offline; hf: a causal language model in this process, through
    transformers; openai: a server (OpenAI, Azure, Ollama, vLLM, llama.cpp)."""

    model: str = ""
    """hf: a folder or a hub id; openai: the model's name at the server; unused by extractive."""

    max_sentences: int = 2
    """Most sentences of an extractive answer, 1 to 3."""

    refuse_below: float = 0.4
    """Probability that the passages hold the answer below which it is refused, 0 (never) to 1. The probability is that
    for a question which is as likely answerable as not: where three of five are answerable, 0.4 is even odds."""

    calibration: str = ""
    """JSON file of a calibration of refusal, as `calibrate` writes it. Empty: the index's own, where it was calibrated,
    else the one that comes with the package."""

    unsupported: Literal["strike", "mark"] = "strike"
    """What becomes of a model's sentence that no passage supports: left out, or kept and marked."""

    support: float = 0.5
    """Least similarity of a sentence and the span that is to support it, 0 to 1."""

    injection_defence: Literal["none", "delimit", "datamark", "filter", "layered"] = "layered"
    """What is done to passages before a language model reads them: random delimiters, a sign in place of every blank,
    instruction-like sentences taken out, or delimiters and the filter together with a check of the answer."""

    max_new_tokens: int = 300
    """Most tokens of a model's answer."""

    context_window: int = 8192
    """Tokens of prompt and answer together at a server; a local model knows its own."""

    temperature: float = 0.0
    """0 takes the likeliest token each time."""

    base_url: str = "http://localhost:11434/v1"
    """Address of the server, up to and with /v1. Ollama: http://localhost:11434/v1, vLLM: http://localhost:8000/v1."""

    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the server's key. A server on this machine usually needs none."""

    timeout: float = 60.0
    """Seconds that a server may take to connect, and then for each part of its answer."""

    retries: int = 2
    """Further attempts after a time-out, a lost connection, 429 or 5xx."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a local model runs. auto: a GPU where there is one."""

    def __post_init__(self) -> None:
        if self.kind != "extractive" and not self.model:
            raise ValueError(f"--generation.kind {self.kind} needs --generation.model")
        if not 1 <= self.max_sentences <= 3:
            raise ValueError(f"--generation.max_sentences {self.max_sentences} must be 1 to 3")
        for name in ("refuse_below", "support"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--generation.{name} {getattr(self, name)} must lie between 0 and 1")
        if self.max_new_tokens < 1:
            raise ValueError(f"--generation.max_new_tokens {self.max_new_tokens} must be at least 1")
        if self.context_window <= self.max_new_tokens:
            raise ValueError(
                f"--generation.context_window {self.context_window} must be above --generation.max_new_tokens "
                f"{self.max_new_tokens}"
            )
        if not 0 <= self.temperature <= 2:
            raise ValueError(f"--generation.temperature {self.temperature} must lie between 0 and 2")
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"--generation.base_url {self.base_url} must begin with http:// or https://")
        if not self.timeout > 0:
            raise ValueError(f"--generation.timeout {self.timeout} must be above 0 seconds")
        if self.retries < 0:
            raise ValueError(f"--generation.retries {self.retries} must be at least 0")
