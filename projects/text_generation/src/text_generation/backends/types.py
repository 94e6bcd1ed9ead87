"""What every back end takes and gives. Importing this is cheap: no torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from text_generation.config.decoding import DecodingConfig

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "error"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Prompt = str | Sequence[Message]
"""A text to go on with, or a conversation to answer. A back end turns a conversation into its model's own format."""


@dataclass(frozen=True)
class Generation:
    """What a model answered to one prompt."""

    text: str
    """The new text alone, without the prompt and without the stop sequence that ended it."""

    finish_reason: FinishReason
    """stop: the model ended it or a stop sequence came; length: the limit of new tokens was reached; error: the server
    gave no answer, and `text` says why."""

    prompt_tokens: int
    new_tokens: int

    logprob: float | None = None
    """Sum of ln p(token) over the new tokens under the model itself, before temperature and truncation. None where a
    server does not say."""

    tokens: tuple[str, ...] = ()
    """The new tokens as text, where they are known."""


@dataclass(frozen=True)
class Likelihood:
    """How probable a model finds a continuation."""

    nats: float
    """-ln p(continuation | prompt), summed over its tokens."""

    n_tokens: int
    n_bytes: int
    """UTF-8 length of the continuation: nats / ln 2 / n_bytes compares models with different tokenizers."""


class Backend(Protocol):
    """A language model, wherever it runs."""

    @property
    def name(self) -> str:
        """What a report calls it."""
        ...

    @property
    def context_window(self) -> int:
        """Tokens of prompt and answer together."""
        ...

    @property
    def counts_exactly(self) -> bool:
        """Whether `count_tokens` is the model's own count. A server's tokenizer is not known: what it takes is
        estimated."""
        ...

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens that the prompt takes, the marks of a conversation's turns included."""
        ...

    def generate(self, prompts: Sequence[Prompt], decoding: DecodingConfig, seed: int = 0) -> list[Generation]:
        """One answer for each prompt, in their order.

        The same prompts, settings and seed give the same answers; which prompts share a batch changes a greedy answer
        by nothing but rounding.

        Raises:
            UserError: a prompt is empty, or leaves no room in the context for `decoding.max_new_tokens`, or, where that
                is None, for a single token; or the back end cannot keep to the form of answer that `decoding` asks for.
            BackendError: the model's server did not answer.
        """
        ...

    def stream(self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0) -> Iterator[str]:
        """The answer in pieces, as they come; joined they are the text that `generate` gives."""
        ...

    def likelihood(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
        """How probable each continuation is after its prompt.

        Raises:
            UserError: the back end cannot tell, as most servers cannot.
        """
        ...


class BackendError(Exception):
    """A server failed in a way that another attempt may mend: a time-out, a 429 or 5xx, no connection."""
