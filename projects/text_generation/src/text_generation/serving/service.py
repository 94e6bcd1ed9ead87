"""One model behind the server: requests become jobs, jobs become pieces of text in the event loop."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from roadmap_shared.errors import UserError, one_line
from text_generation.backends.types import Generation, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.config.serving import ServingConfig
from text_generation.serving.admission import Admission, QueueFull
from text_generation.serving.engine import Cancel, Encoded, Ending, Engine
from text_generation.serving.errors import ApiError, busy, from_ending
from text_generation.serving.metrics import ServerMetrics
from text_generation.serving.rate import RateLimit
from text_generation.serving.schemas import GenerationRequest

RETRY_SECONDS = 2

MOST_SCHEMA_CHARACTERS = 32_768
"""Of a schema as JSON: one that takes seconds to compile would hold up the prompts of others."""


@dataclass(frozen=True)
class Job:
    """One answer to be made."""

    encoded: Encoded
    decoding: DecodingConfig
    seed: int


class Service:
    """An engine with the limits that its clients share. Belongs to one event loop."""

    def __init__(self, engine: Engine, config: ServingConfig) -> None:
        self.engine, self.config = engine, config
        self.admission = Admission(engine.slots, config.max_waiting)
        self.metrics = ServerMetrics(lambda: self.admission.active, lambda: self.admission.waiting)
        self.started = int(time.time())
        self.rate = RateLimit(config.requests_per_minute)
        # One thread, and no lock around any thread: a client that leaves gives its lock up while its thread goes on.
        self._encoder = ThreadPoolExecutor(1, "encoder")

    def close(self) -> None:
        """Cancel all answers and end the threads."""
        self._encoder.shutdown(wait=False, cancel_futures=True)
        self.engine.close()

    @property
    def max_prompt(self) -> int:
        """Tokens of a prompt at most; one token of the context is the answer's."""
        return min(self.config.max_prompt_tokens, self.engine.context_window - 1)

    async def encode(self, prompt: Prompt) -> Encoded:
        """Count a prompt's tokens, outside the event loop.

        Raises:
            ApiError: 400, the prompt is empty or is none that the model's chat template takes.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._encoder, self.engine.encode, prompt)
        except UserError as error:
            raise ApiError(400, one_line(error)) from error

    async def jobs(self, request: GenerationRequest, prompts: Sequence[Prompt], param: str, default: int) -> list[Job]:
        """The answers that a request asks for: n for each prompt, in order.

        Args:
            request: checked by its schema.
            prompts: its texts or its one conversation.
            param: name of the field that holds them.
            default: new tokens where the request names no number.

        Raises:
            ApiError: 400, it asks for more than there is, or for what this server has not; 404, another model.
        """
        self.check(request, len(prompts))
        asked = getattr(request, "max_completion_tokens", None) or request.max_tokens
        if asked is not None and asked > self.config.max_new_tokens:
            message = f"max_tokens is too large: {asked}. This server gives at most {self.config.max_new_tokens}."
            raise ApiError(400, message, param="max_tokens", code="invalid_value")
        seed = secrets.randbits(62) if request.seed is None else request.seed
        jobs: list[Job] = []
        for prompt in prompts:
            encoded = await self.encode(prompt)
            decoding = request.decoding(self._room(encoded.n_tokens, asked, default, param))
            await self._check_form(decoding)
            jobs += [Job(encoded, decoding, seed + choice) for choice in range(request.n or 1)]
        return jobs

    async def _check_form(self, decoding: DecodingConfig) -> None:
        """Compile the schema of the answer, if it has one, outside the event loop."""
        if decoding.json_schema is None:
            return
        if (size := len(decoding.json_schema)) > MOST_SCHEMA_CHARACTERS:
            message = f"the schema has {size:,} characters; at most {MOST_SCHEMA_CHARACTERS:,}"
            raise ApiError(400, message, param="response_format", code="invalid_value")
        try:
            await asyncio.get_running_loop().run_in_executor(self._encoder, self.engine.check, decoding)
        except UserError as error:
            raise ApiError(400, one_line(error), param="response_format", code="invalid_value") from error

    def check(self, request: GenerationRequest, n_prompts: int) -> None:
        """Check what needs no tokenizer. Errors as for `jobs`."""
        if request.model != self.engine.name:
            message = (
                f"the model '{one_line(request.model)[:80]}' does not exist. This server has '{self.engine.name}'."
            )
            raise ApiError(404, message, param="model", code="model_not_found")
        if name := request.refused_field():
            raise ApiError(400, f"'{name}' is not supported by this server", param=name, code="unsupported_parameter")
        if request.max_tokens is not None and getattr(request, "max_completion_tokens", None) is not None:
            raise ApiError(400, "give max_tokens or max_completion_tokens, not both", param="max_tokens")
        if request.stream_options is not None and not request.stream:
            raise ApiError(400, "'stream_options' needs stream: true", param="stream_options")
        if n_prompts * (request.n or 1) > self.config.max_choices:
            message = f"{n_prompts * (request.n or 1)} answers are asked for; at most {self.config.max_choices}."
            raise ApiError(400, message, param="n", code="invalid_value")

    def _room(self, n_prompt: int, asked: int | None, default: int, param: str) -> int:
        """New tokens that the answer to a prompt may have."""
        window = self.engine.context_window
        if n_prompt > self.max_prompt or n_prompt + (asked or 1) > window:
            limit = f"at most {self.max_prompt:,} tokens of prompt and {window:,} of prompt and answer"
            asks = f"{n_prompt:,} tokens of prompt and {asked or 1:,} of answer"
            message = f"this model takes {limit}; you ask for {asks}. Shorten the {param}, or lower max_tokens."
            raise ApiError(400, message, param=param, code="context_length_exceeded")
        return asked or min(default, window - n_prompt)

    def answer(self, jobs: Sequence[Job]) -> "Answers":
        """Answers to be entered with `async with`."""
        return Answers(self, jobs)


Event = tuple[int, str | Generation | ApiError]
"""Index of the answer, and a piece of its text, or its end."""


class Answers:
    """The answers to one request, from the queue to their end. Leaving the context stops what is still under way.

    Raises on entering:
        ApiError: 429, the queue is full.
    """

    def __init__(self, service: Service, jobs: Sequence[Job]) -> None:
        self._service, self._jobs = service, jobs
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._cancels: dict[int, Cancel] = {}
        self._begun = time.monotonic()
        self._spoken: set[int] = set()

    async def __aenter__(self) -> "Answers":
        admission = self._service.admission
        try:
            admission.reserve(len(self._jobs))
        except QueueFull:
            raise busy(f"{admission.capacity} answers are in the making or wait: try again", RETRY_SECONDS) from None
        for index, job in enumerate(self._jobs):
            task = asyncio.create_task(self._start(index, job))
            task.add_done_callback(lambda done: admission.give_up() if done.cancelled() else None)
            self._tasks.append(task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Nothing is awaited: a request that is cancelled could not await it.
        for task in self._tasks:
            task.cancel()
        for cancel in self._cancels.values():
            cancel()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens to the answers until all have ended."""
        left = len(self._jobs)
        while left:
            index, event = await self._events.get()
            left -= not isinstance(event, str)
            yield index, event

    async def whole(self) -> list[Generation]:
        """Wait for all answers.

        Raises:
            ApiError: one of them failed.
        """
        found: dict[int, Generation] = {}
        async for index, event in self.events():
            if isinstance(event, ApiError):
                raise event
            if isinstance(event, Generation):
                found[index] = event
        return [found[index] for index in range(len(self._jobs))]

    async def _start(self, index: int, job: Job) -> None:
        await self._service.admission.enter()
        loop = asyncio.get_running_loop()

        def later(function: Callable[[int, Any], None], value: Any) -> None:
            # The loop may be closed by the time that a cancelled answer ends.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(function, index, value)

        self._service.metrics.prompt_tokens.inc(job.encoded.n_tokens)
        try:
            self._cancels[index] = self._service.engine.submit(
                job.encoded,
                job.decoding,
                job.seed,
                lambda text: later(self._text, text),
                lambda ending: later(self._end, ending),
            )
        except Exception as error:
            self._end(index, error)

    def _text(self, index: int, text: str) -> None:
        if index not in self._spoken:
            self._spoken.add(index)
            self._service.metrics.first_token.observe(time.monotonic() - self._begun)
        self._events.put_nowait((index, text))

    def _end(self, index: int, ending: Ending) -> None:
        self._service.admission.leave()
        metrics = self._service.metrics
        metrics.answer_seconds.observe(time.monotonic() - self._begun)
        if isinstance(ending, Generation):
            metrics.answers.labels(ending.finish_reason).inc()
            metrics.new_tokens.inc(ending.new_tokens)
            self._events.put_nowait((index, ending))
        else:
            metrics.answers.labels("cancelled" if ending is None else "error").inc()
            self._events.put_nowait((index, from_ending(ending)))
