"""How far the agent may go, and which model decides its steps."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from rag_qa.config.encoder import EncoderConfig
from rag_qa.config.retrieval import RetrievalConfig
from rag_qa.config.store import StoreConfig


@dataclass(kw_only=True, frozen=True)
class AgentConfig:
    """Bounds of the tool loop, and what is done with its texts."""

    max_steps: int = 8
    """Tool calls at most, failed ones included. Then the model must answer from what it has."""

    max_tokens: int = 30_000
    """Tokens of all requests and answers together; no further request is sent once they are used up."""

    max_answer_tokens: int = 600
    """Tokens of one reply of the model at most."""

    passages: int = 5
    """Passages that one search gives to the model."""

    max_page_characters: int = 4_000
    """Characters of a page that the model gets."""

    max_repeats: int = 2
    """Calls that were made before, after which the model must answer. They are not carried out again."""

    support: float = 0.5
    """Least similarity of a sentence of the answer and the span that is to support it, 0 to 1."""

    unsupported: Literal["strike", "mark"] = "strike"
    """What becomes of a sentence that no passage supports: left out, or kept and marked."""

    injection_defence: Literal["none", "delimit", "datamark", "filter", "layered"] = "layered"
    """What is done to passages before the model reads them, as in `ask`."""

    def __post_init__(self) -> None:
        at_least_one = (
            "max_steps",
            "max_tokens",
            "max_answer_tokens",
            "passages",
            "max_page_characters",
            "max_repeats",
        )
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"--agent.{name} {getattr(self, name)} must be at least 1")
        if self.max_tokens <= self.max_answer_tokens:
            raise ValueError(
                f"--agent.max_tokens {self.max_tokens} must be above --agent.max_answer_tokens {self.max_answer_tokens}"
            )
        if not 0 <= self.support <= 1:
            raise ValueError(f"--agent.support {self.support} must lie between 0 and 1")


@dataclass(kw_only=True, frozen=True)
class AgentCommandConfig:
    """`agent`: a language model searches, reads and calculates in steps, and answers with sources."""

    question: Positional[str]
    """The question, in quotes."""

    model: str = ""
    """The model's name at the server. It must be able to call tools."""

    base_url: str = "http://localhost:11434/v1"
    """Address of a server that speaks OpenAI's protocol, up to and with /v1. Ollama: http://localhost:11434/v1."""

    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the server's key. A server on this machine usually needs none."""

    timeout: float = 60.0
    """Seconds that the server may take for a reply."""

    retries: int = 2
    """Further attempts after a time-out, a lost connection, 429 or 5xx."""

    index: Path = Path("rag-index")
    """Folder of the index."""

    groups: tuple[str, ...] = ()
    """Groups of the one who asks, besides `public`."""

    json: bool = False
    """Print the answer and all steps as one JSON object."""

    agent: AgentConfig = field(default_factory=AgentConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)

    def __post_init__(self) -> None:
        if not any(character.isalnum() for character in self.question):
            raise ValueError('the question is empty: write it in quotes, as in: agent "Which guide is longer?"')
        if not self.model.strip():
            raise ValueError("--model: name a model of the server that can call tools")
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"--base_url {self.base_url} must begin with http:// or https://")
        if not self.timeout > 0:
            raise ValueError(f"--timeout {self.timeout} must be above 0 seconds")
        if self.retries < 0:
            raise ValueError(f"--retries {self.retries} must be at least 0")
