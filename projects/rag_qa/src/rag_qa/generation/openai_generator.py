"""Answers by a server that speaks OpenAI's protocol: OpenAI, Azure, Ollama, vLLM, llama.cpp."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai

from rag_qa.config.generation import GenerationConfig
from rag_qa.generation.memory import estimated_tokens
from rag_qa.generation.prompted import Message, PromptedGenerator
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import Encoder
from roadmap_shared.errors import UserError, one_line

_TEMPORARY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_TOKENS_PER_MESSAGE = 4
_LONGEST_QUOTE = 300
_LONGEST_WAIT = 20.0
_OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com", ".services.ai.azure.com")
Result = TypeVar("Result")


class _Temporary(Exception):
    """One attempt failed in a way that another one may not."""


class OpenAIGenerator(PromptedGenerator):
    """`PromptedGenerator` over `/chat/completions`. Once an answer has begun to come, it is not asked for again."""

    def __init__(
        self,
        config: GenerationConfig,
        encoder: Encoder,
        statistics: TermStatistics | None = None,
        calibrator: Calibrator | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Args are those of `PromptedGenerator`, and `sleep`, which waits between attempts."""
        super().__init__(config, encoder, statistics, calibrator)
        self.name = f"openai:{config.model}"
        parts = urlsplit(config.base_url)
        self.server = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._key = os.environ.get(config.api_key_env, "")
        self._sleep = sleep
        host = parts.hostname or ""
        self._limit_name = "max_completion_tokens" if host.endswith(_OPENAI_HOSTS) else "max_tokens"
        # The client wants a key; a server that needs none ignores it.
        self._client = openai.OpenAI(
            api_key=self._key or "none", base_url=config.base_url, timeout=config.timeout, max_retries=0
        )

    @property
    def context_window(self) -> int:
        return self.config.context_window

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """An estimate on the safe side: the server's tokenizer is not known."""
        return sum(_TOKENS_PER_MESSAGE + estimated_tokens(message["content"]) for message in messages)

    def complete(self, messages: Sequence[Message]) -> Iterator[str]:
        """The answer in pieces, as they come.

        Raises:
            UserError: the server cannot be reached, refuses the request, or breaks off; the message says how often it
                was tried.
        """
        events = self._tried(lambda: self._translated(lambda: self._send(messages)))
        try:
            while True:
                event = self._translated(lambda: next(events, None))
                if event is None:
                    return
                choices = getattr(event, "choices", None)
                if choices is None:
                    raise _Temporary(
                        f"{self.server} answered, but not with a completion. Does --generation.base_url end in /v1?"
                    )
                if choices and (piece := choices[0].delta.content):
                    yield piece
        except _Temporary as error:
            raise UserError(f"{error} (tried once)") from error
        finally:
            events.close()

    def _send(self, messages: Sequence[Message]) -> Any:
        sent: Any = list(messages)
        limit: Any = {self._limit_name: self.config.max_new_tokens}
        return self._client.chat.completions.create(
            model=self.config.model, messages=sent, temperature=self.config.temperature, stream=True, **limit
        )

    def _tried(self, attempt: Callable[[], Result]) -> Result:
        """The first successful attempt, with waits of 0.5, 1, 2 … seconds between them."""
        for n_tried in range(1, self.config.retries + 2):
            try:
                return attempt()
            except _Temporary as error:
                if n_tried > self.config.retries:
                    times = "once" if n_tried == 1 else f"{n_tried} times"
                    raise UserError(f"{error} (tried {times})") from error
                self._sleep(min(_LONGEST_WAIT, 0.5 * 2 ** (n_tried - 1)))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _translated(self, request: Callable[[], Result]) -> Result:
        """The client's exceptions as messages for people."""
        try:
            return request()
        except openai.APITimeoutError as error:
            raise _Temporary(f"{self.server} did not answer within {self.config.timeout:g} seconds") from error
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise _Temporary(f"{self.server} cannot be reached: {self._quoted(cause)}") from error
        except openai.APIStatusError as error:
            raise self._status_error(error) from error
        except (openai.APIError, ValueError) as error:
            raise _Temporary(f"{self.server} broke off: {self._quoted(error)}") from error

    def _status_error(self, error: openai.APIStatusError) -> Exception:
        body = error.body if isinstance(error.body, dict) else {}
        said = self._quoted(body.get("message") or error.message)
        status = error.status_code
        # A spent quota is a 429 as well, but no wait mends it.
        if status in _TEMPORARY and error.code != "insufficient_quota":
            return _Temporary(f"{self.server} answered {status}: {said}")
        if status in (401, 403):
            return UserError(
                f"{self.server} refused the key ({status}): {said}. Put a valid one into the environment variable "
                f"{self.config.api_key_env}."
            )
        if status == 404:
            return UserError(f"{self.server} knows no model '{self.config.model}' at this address (404): {said}")
        return UserError(f"{self.server} refused the request ({status}): {said}")

    def _quoted(self, text: object) -> str:
        """A foreign message on one line, without the key."""
        line = one_line(text) or "no reason given"
        if self._key:
            line = line.replace(self._key, "[key]")
        return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "…"
