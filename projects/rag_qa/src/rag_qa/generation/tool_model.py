"""Language models that call tools: what the agent asks of one, and one at a server that speaks OpenAI's protocol."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import openai

from rag_qa.generation.memory import estimated_tokens
from roadmap_shared.errors import UserError, one_line

Message = Mapping[str, Any]
"""Of a chat, in OpenAI's format."""

_LONGEST_QUOTE = 300


@dataclass(frozen=True)
class ToolCall:
    """What a model wants to be done."""

    id: str
    name: str
    arguments: str
    """JSON as the model wrote it, which may be broken."""


@dataclass(frozen=True)
class ToolReply:
    """One reply of a model: calls, or the answer's text, or text that goes with calls."""

    text: str
    calls: tuple[ToolCall, ...]
    tokens: int
    """Of request and reply, as the server counts them; 0 where it does not."""


class ToolModel(Protocol):
    """A model that can be given tools."""

    name: str

    def reply(self, messages: Sequence[Message], tools: Sequence[Message], max_tokens: int) -> ToolReply:
        """The next reply. Without tools it must be text.

        Args:
            messages: the chat so far.
            tools: JSON schemas in OpenAI's format.
            max_tokens: of the reply.

        Raises:
            UserError: the model cannot be reached or refuses.
        """
        ...


class OpenAIToolModel:
    """`ToolModel` over `/chat/completions` with `tools`: OpenAI, Azure, Ollama, vLLM, llama.cpp."""

    def __init__(
        self, model: str, base_url: str, api_key_env: str = "OPENAI_API_KEY", timeout: float = 60.0, retries: int = 2
    ) -> None:
        """Args:
        model: its name at the server.
        base_url: up to and with /v1.
        api_key_env: environment variable of the key.
        timeout: seconds for a reply.
        retries: further attempts after a time-out, a lost connection, 429 or 5xx.
        """
        self.name = f"openai:{model}"
        self._model, self._variable, self._timeout = model, api_key_env, timeout
        parts = urlsplit(base_url)
        self._server = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._key = os.environ.get(api_key_env, "")
        # The client wants a key; a server that needs none ignores it.
        self._client = openai.OpenAI(
            api_key=self._key or "none", base_url=base_url, timeout=timeout, max_retries=retries
        )

    def reply(self, messages: Sequence[Message], tools: Sequence[Message], max_tokens: int) -> ToolReply:
        sent: dict[str, Any] = {"model": self._model, "messages": list(messages), "temperature": 0.0}
        sent["max_tokens"] = max_tokens
        if tools:
            sent["tools"] = list(tools)
        response = self._send(sent)
        choices = getattr(response, "choices", None)
        if not choices:
            raise UserError(f"{self._server} answered, but not with a completion. Does --base_url end in /v1?")
        message = choices[0].message
        calls = tuple(
            ToolCall(call.id or f"call-{n}", call.function.name or "", call.function.arguments or "")
            for n, call in enumerate(message.tool_calls or ())
            if call.type == "function"
        )
        usage = getattr(response, "usage", None)
        return ToolReply(message.content or "", calls, int(getattr(usage, "total_tokens", 0) or 0))

    def _send(self, sent: dict[str, Any]) -> Any:
        try:
            return self._client.chat.completions.create(**sent)
        except openai.APITimeoutError:
            problem = f"{self._server} did not answer within {self._timeout:g} seconds"
        except openai.APIConnectionError as error:
            problem = f"{self._server} cannot be reached: {self._quoted(error.__cause__ or error)}"
        except openai.APIStatusError as error:
            problem = self._status_problem(error)
        except (openai.APIError, ValueError) as error:
            problem = f"{self._server} sent what is no completion: {self._quoted(error)}"
        raise UserError(problem)

    def _status_problem(self, error: openai.APIStatusError) -> str:
        body = error.body if isinstance(error.body, dict) else {}
        said = self._quoted(body.get("message") or error.message)
        if error.status_code in (401, 403):
            return (
                f"{self._server} refused the key ({error.status_code}): {said}. Put a valid one into the environment "
                f"variable {self._variable}."
            )
        if error.status_code == 404:
            return f"{self._server} knows no model '{self._model}' at this address (404): {said}"
        return f"{self._server} refused the request ({error.status_code}): {said}"

    def _quoted(self, text: object) -> str:
        """A foreign message on one line, without the key."""
        line = one_line(text) or "no reason given"
        line = line.replace(self._key, "[key]") if self._key else line
        return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "…"


def estimated_size(messages: Sequence[Message], tools: Sequence[Message]) -> int:
    """Tokens of a request, on the safe side: no server's tokenizer is known."""
    return sum(4 + estimated_tokens(str(message)) for message in [*messages, *tools])
