"""A model behind a server that speaks OpenAI's protocol: OpenAI, Azure, Ollama, vLLM, llama.cpp, or `serve` of this
package."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import openai

from roadmap_shared.errors import UserError
from text_generation.backends.openai_errors import not_understood, shown_address, translated
from text_generation.backends.prompts import as_messages, check_prompts
from text_generation.backends.retrying import GaveUpError, RetryPolicy
from text_generation.backends.types import FinishReason, Generation, Likelihood, Message, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.prompting.structured import parsed_schema

_OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com", ".services.ai.azure.com")
_BYTES_PER_TOKEN = 3
_TOKENS_PER_TURN = 4
Result = TypeVar("Result")


class OpenAIBackend:
    """Implements `Backend` with requests to a server.

    A conversation goes to `/chat/completions`. So does a text, as one turn of the user, unless `texts_as` sends it to
    `/completions` to be gone on with. Nothing but `RetryPolicy` repeats a request; once a stream has begun, it is not
    repeated.

    The server's tokenizer is not known: `count_tokens` is an estimate on the safe side for most languages, one token
    for every three bytes, and `Generation` holds what the server counted.
    """

    counts_exactly = False

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str = "",
        texts_as: Literal["chat", "completions"] = "chat",
        context_window: int = 8192,
        timeout: float = 60.0,
        parallel: int = 16,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Args:
        model: its name at the server.
        base_url: up to and with `/v1`.
        api_key: empty for a server that needs none.
        texts_as: where a prompt goes that is no conversation.
        context_window: tokens of prompt and answer together.
        timeout: seconds to connect, and then for each part of the answer.
        parallel: requests at a time.
        retry: None takes the defaults.
        """
        self.name = model
        self.context_window = context_window
        self.server = shown_address(base_url)
        self._texts_as, self._timeout, self._parallel = texts_as, timeout, parallel
        self._key = api_key
        self._retry = retry or RetryPolicy()
        host = urlsplit(base_url).hostname or ""
        self._limit_name = "max_completion_tokens" if host.endswith(_OPENAI_HOSTS) else "max_tokens"
        # The client wants a key; a server that needs none ignores it.
        self._client = openai.OpenAI(api_key=api_key or "none", base_url=base_url, timeout=timeout, max_retries=0)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def count_tokens(self, prompt: Prompt) -> int:
        """An estimate: one token for every three bytes of UTF-8, and four for each turn."""
        turns = as_messages(prompt)
        return sum(_TOKENS_PER_TURN + math.ceil(len(turn.content.encode()) / _BYTES_PER_TOKEN) for turn in turns)

    def generate(self, prompts: Sequence[Prompt], decoding: DecodingConfig, seed: int = 0) -> list[Generation]:
        """One answer for each prompt, in their order. The prompt with index i is sent with `seed` + i.

        Where the server fails for some prompts only, their answers have `finish_reason` error and say why.

        Raises:
            UserError: a prompt is empty, or the server refuses the request or the key.
            BackendError: the server failed for every prompt; the message says how often it was tried.
        """
        check_prompts(prompts)
        options = [self._options(decoding, prompt) for prompt in prompts]

        def answer(index: int) -> Generation | GaveUpError:
            try:
                return self._retry.call(lambda: self._ask(prompts[index], options[index], seed + index))
            except GaveUpError as error:
                return error

        with ThreadPoolExecutor(max_workers=max(1, min(self._parallel, len(prompts)))) as pool:
            answers = list(pool.map(answer, range(len(prompts))))
        failures = [item for item in answers if isinstance(item, GaveUpError)]
        if failures and len(failures) == len(answers):
            raise failures[0]
        return [
            item if isinstance(item, Generation) else Generation(str(item), "error", self.count_tokens(prompt), 0)
            for prompt, item in zip(prompts, answers, strict=True)
        ]

    def stream(self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0) -> Iterator[str]:
        """The answer in pieces, as they come.

        Raises:
            UserError, BackendError: as for `generate`; a BackendError also where the stream breaks off.
        """
        check_prompts([prompt])
        options = self._options(decoding, prompt)
        events = self._retry.call(lambda: self._translating(lambda: self._send(prompt, options, seed, stream=True)))
        try:
            while True:
                event = self._translating(lambda: next(events, None))
                if event is None:
                    return
                if piece := self._piece(event):
                    yield piece
        finally:
            events.close()

    def likelihood(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
        """Raises:
        UserError: always; the protocol has no request for it.
        """
        raise UserError(
            f"{self.server} cannot tell how probable a given text is: OpenAI's protocol has no request for it. "
            "Use a local model, --backend.kind hf."
        )

    def _options(self, decoding: DecodingConfig, prompt: Prompt) -> dict[str, Any]:
        """The request's settings. Those that OpenAI's own protocol lacks are sent only when they are set."""
        if decoding.strategy == "beam_search":
            raise UserError(f"{self.server} offers no beam search. Use --decoding.strategy greedy or sampling.")
        if decoding.no_repeat_ngram_size:
            raise UserError(f"{self.server} offers no --decoding.no_repeat_ngram_size. Use repetition_penalty instead.")
        sampling = decoding.strategy == "sampling"
        options: dict[str, Any] = {
            self._limit_name: self._limit(decoding, prompt),
            "temperature": decoding.temperature if sampling else 0.0,
        }
        if decoding.stop:
            options["stop"] = list(decoding.stop)
        if sampling and decoding.top_p < 1:
            options["top_p"] = decoding.top_p
        beyond: dict[str, Any] = {}
        if sampling:
            neutral = {"top_k": None, "min_p": 0.0, "typical_p": 1.0}
            beyond = {name: getattr(decoding, name) for name, off in neutral.items() if getattr(decoding, name) != off}
        if decoding.repetition_penalty != 1:
            beyond["repetition_penalty"] = decoding.repetition_penalty
        if decoding.is_constrained:
            options["response_format"] = self._response_format(decoding, prompt)
        return options | ({"extra_body": beyond} if beyond else {})

    def _response_format(self, decoding: DecodingConfig, prompt: Prompt) -> dict[str, Any]:
        """OpenAI's structured outputs. The server decides which schemas it can enforce."""
        if decoding.json_schema is None:
            raise UserError(
                f"{self.server} takes no --decoding.regex: OpenAI's protocol has no field for it. Use "
                "--decoding.json_schema, or a local model, --backend.kind hf."
            )
        if not self._is_chat(prompt):
            raise UserError(
                f"{self.server} takes a --decoding.json_schema for conversations only. Use --backend.texts_as chat."
            )
        schema = {"name": "answer", "schema": parsed_schema(decoding.json_schema), "strict": True}
        return {"type": "json_schema", "json_schema": schema}

    def _limit(self, decoding: DecodingConfig, prompt: Prompt) -> int:
        """Tokens that the answer may have. The prompt's are estimated: where none seem left, the server decides."""
        room = self.context_window - self.count_tokens(prompt)
        fits = decoding.max_new_tokens is not None or room < 1
        return decoding.most_new_tokens if fits else min(decoding.most_new_tokens, room)

    def _is_chat(self, prompt: Prompt) -> bool:
        return not isinstance(prompt, str) or self._texts_as == "chat"

    def _send(self, prompt: Prompt, options: dict[str, Any], seed: int, *, stream: bool) -> Any:
        if self._is_chat(prompt):
            turns: Any = [_turn(message) for message in as_messages(prompt)]
            return self._client.chat.completions.create(
                model=self.name, messages=turns, seed=seed, stream=stream, **options
            )
        options = dict(options)
        options["max_tokens"] = options.pop(self._limit_name)  # /completions knows the old name only
        text: Any = prompt
        return self._client.completions.create(model=self.name, prompt=text, seed=seed, stream=stream, **options)

    def _ask(self, prompt: Prompt, options: dict[str, Any], seed: int) -> Generation:
        """One attempt."""
        answer = self._translating(lambda: self._send(prompt, options, seed, stream=False))
        choices = getattr(answer, "choices", None)
        if not choices:
            raise not_understood(self.server, "not with a completion")
        choice = choices[0]
        message = getattr(choice, "message", None)
        text = (message.content if message is not None else getattr(choice, "text", None)) or ""
        usage = getattr(answer, "usage", None)
        filtered = choice.finish_reason == "content_filter"
        return Generation(
            text=text or ("the server's content filter withheld the answer" if filtered else ""),
            finish_reason=_finish_reason(choice.finish_reason),
            prompt_tokens=usage.prompt_tokens if usage else self.count_tokens(prompt),
            new_tokens=usage.completion_tokens if usage else math.ceil(len(text.encode()) / _BYTES_PER_TOKEN),
        )

    def _piece(self, event: Any) -> str:
        """The text of one event of a stream; events of usage have none."""
        choices = getattr(event, "choices", None)
        if choices is None:
            raise not_understood(self.server, "not with pieces of a completion")
        if not choices:
            return ""
        delta = getattr(choices[0], "delta", None)
        return (delta.content if delta is not None else getattr(choices[0], "text", None)) or ""

    def _translating(self, request: Callable[[], Result]) -> Result:
        with translated(self.server, self.name, self._key, self._timeout):
            return request()


def _turn(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _finish_reason(said: str | None) -> FinishReason:
    if said == "length":
        return "length"
    return "error" if said == "content_filter" else "stop"
