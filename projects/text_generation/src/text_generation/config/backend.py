"""Which language model answers."""

from dataclasses import dataclass
from typing import Literal


@dataclass(kw_only=True, frozen=True)
class BackendConfig:
    """A local model, a server that speaks OpenAI's protocol, or a script."""

    kind: Literal["hf", "openai", "scripted"] = "hf"
    """hf: a model in this process, through transformers; openai: a server (OpenAI, Azure, Ollama, vLLM, llama.cpp);
    scripted: the lines of a text file, one after another."""

    model: str = "latest"
    """hf: latest for the one that `run` trained or used last, a folder, or a hub id such as gpt2;
    openai: the model's name at the server; scripted: the text file."""

    base_url: str = "https://api.openai.com/v1"
    """Address of the server, up to and with /v1. Ollama: http://localhost:11434/v1, vLLM: http://localhost:8000/v1."""

    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the server's key. A server on this machine usually needs none."""

    texts_as: Literal["chat", "completions"] = "chat"
    """Where a server gets a prompt that is no conversation: chat sends it as a turn of the user; completions lets a
    base model go on with it."""

    context_window: int = 8192
    """Tokens of prompt and answer together at a server, which does not say. A local model knows its own."""

    timeout: float = 60.0
    """Seconds that a server may take to connect, and then to send the next part of its answer."""

    total_timeout: float | None = None
    """Seconds for a whole answer, or a batch of them: then no further attempt begins, and an answer that comes in
    pieces ends. None: no limit."""

    retries: int = 4
    """Further attempts after a time-out, a lost connection, 429 or 5xx."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a local model runs. auto: a GPU where there is one."""

    batch_size: int = 16
    """Prompts that a local model answers together, or requests that a server gets at a time."""

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("--backend.model is empty: give a folder, a hub id or the server's name for the model")
        if self.kind == "openai" and not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"--backend.base_url {self.base_url} must begin with http:// or https://")
        for name in ("context_window", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--backend.{name} {getattr(self, name)} must be at least 1")
        if not self.timeout > 0:
            raise ValueError(f"--backend.timeout {self.timeout} must be above 0 seconds")
        if self.total_timeout is not None and not self.total_timeout > 0:
            raise ValueError(
                f"--backend.total_timeout {self.total_timeout} must be above 0 seconds, or None for no limit"
            )
        if self.retries < 0:
            raise ValueError(f"--backend.retries {self.retries} must be at least 0")
