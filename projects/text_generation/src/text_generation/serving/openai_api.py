"""`/v1/models`, `/v1/chat/completions` and `/v1/completions`, as the official `openai` client expects them.

A stream is server-sent events: `data: {chunk}` for each piece of text, one with the finish reason for each choice, one
with the usage if it was asked for, and `data: [DONE]`. An answer that fails when the stream has begun sends
`data: {"error": ...}`, which the client raises, and no `[DONE]`.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from text_generation.backends.types import Generation, Message
from text_generation.serving.errors import ApiError
from text_generation.serving.schemas import ChatRequest, CompletionRequest, GenerationRequest
from text_generation.serving.service import Answers, Job, Service

COMPLETION_TOKENS = 16
"""New tokens of `/v1/completions` where the client names no number: OpenAI's default."""

CLIENT_GONE = 499

Result = TypeVar("Result")


@dataclass(frozen=True)
class Form:
    """How the two kinds of answers are written."""

    id_prefix: str
    whole: str
    """`object` of a whole answer."""
    chunk: str
    """`object` of a part of a stream."""
    chat: bool

    def choice(self, index: int, text: str, finish_reason: str) -> dict[str, Any]:
        """A whole choice."""
        content = {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
        return {"index": index, **content, "logprobs": None, "finish_reason": finish_reason}

    def delta(self, index: int, text: str | None, finish_reason: str | None = None) -> dict[str, Any]:
        """A part of a choice; text None is its beginning or end."""
        if not self.chat:
            return {"index": index, "text": text or "", "logprobs": None, "finish_reason": finish_reason}
        start = {"role": "assistant", "content": ""} if finish_reason is None else {}
        delta = start if text is None else {"content": text}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


CHAT = Form("chatcmpl", "chat.completion", "chat.completion.chunk", True)
COMPLETION = Form("cmpl", "text_completion", "text_completion", False)


def messages_of(request: ChatRequest) -> list[Message]:
    """The conversation as a back end takes it.

    All system and developer messages become one at the beginning, in their order, with empty lines between them: chat
    templates take one at most, and only there.
    """
    turns = [(message.role, message.text) for message in request.messages]
    instructions = [text for role, text in turns if role in ("system", "developer") and text]
    system = [Message("system", "\n\n".join(instructions))] if instructions else []
    said = [Message("user" if role == "user" else "assistant", text) for role, text in turns if role in _SPEAKERS]
    return [*system, *said]


_SPEAKERS = ("user", "assistant")


def router(service: Service) -> APIRouter:
    """The API of one model."""
    api = APIRouter(prefix="/v1")

    @api.get("/models", summary="The model")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(service)]}

    @api.get("/models/{name:path}", summary="The model, by its name")
    async def model(name: str) -> dict[str, Any]:
        if name != service.engine.name:
            raise ApiError(404, f"the model '{name[:80]}' does not exist", param="model", code="model_not_found")
        return _model(service)

    @api.post("/chat/completions", summary="Answer a conversation")
    async def chat(request: Request, body: ChatRequest) -> Response:
        conversation = messages_of(body)
        jobs = await service.jobs(body, [conversation], "messages", service.config.default_new_tokens)
        return await _respond(service, request, body, jobs, CHAT)

    @api.post("/completions", summary="Go on with a text")
    async def completions(request: Request, body: CompletionRequest) -> Response:
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        default = min(COMPLETION_TOKENS, service.config.max_new_tokens)
        jobs = await service.jobs(body, prompts, "prompt", default)
        return await _respond(service, request, body, jobs, COMPLETION)

    return api


async def _respond(
    service: Service, request: Request, body: GenerationRequest, jobs: Sequence[Job], form: Form
) -> Response:
    head = {"id": f"{form.id_prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": service.engine.name}
    if not body.stream:
        return await _unless_gone(request, _whole(service, jobs, form, head))
    # Entered here, not in the stream: a full queue is a status code, which a stream that has begun cannot send.
    answers = await service.answer(jobs).__aenter__()
    with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    chunks = _chunks(answers, jobs, form, head, with_usage)
    return _EventStream(answers, chunks, media_type="text/event-stream", headers=headers)


async def _whole(service: Service, jobs: Sequence[Job], form: Form, head: dict[str, Any]) -> Response:
    async with service.answer(jobs) as answers:
        generations = await answers.whole()
    choices = [form.choice(index, one.text, one.finish_reason) for index, one in enumerate(generations)]
    return JSONResponse({**head, "object": form.whole, "choices": choices, "usage": _usage(generations, jobs)})


class _EventStream(StreamingResponse):
    """Starlette stops the stream when the client leaves, but not a stream that has not begun: this one stops both."""

    def __init__(self, answers: Answers, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._answers = answers

    async def __call__(self, *connection: Any) -> None:
        try:
            await super().__call__(*connection)
        finally:
            await self._answers.__aexit__(None, None, None)


async def _chunks(
    answers: Answers, jobs: Sequence[Job], form: Form, head: dict[str, Any], with_usage: bool
) -> AsyncIterator[bytes]:
    """The events of a stream."""
    extra: dict[str, Any] = {"usage": None} if with_usage else {}

    def chunk(*choices: dict[str, Any], **more: Any) -> bytes:
        return _event({**head, "object": form.chunk, "choices": list(choices), **extra, **more})

    if form.chat:
        for index in range(len(jobs)):
            yield chunk(form.delta(index, None))
    ended: dict[int, Generation] = {}
    async for index, event in answers.events():
        if isinstance(event, ApiError):
            yield _event(event.body)
            return
        if isinstance(event, Generation):
            ended[index] = event
            yield chunk(form.delta(index, None, event.finish_reason))
        else:
            yield chunk(form.delta(index, event))
    if with_usage:
        yield chunk(usage=_usage(list(ended.values()), jobs))
    yield b"data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n".encode()


def _usage(generations: Sequence[Generation], jobs: Sequence[Job]) -> dict[str, int]:
    """Tokens of the prompts, each counted once however many choices it has, and of all answers."""
    prompts = {id(job.encoded): job.encoded.n_tokens for job in jobs}
    n_prompt, n_new = sum(prompts.values()), sum(generation.new_tokens for generation in generations)
    return {"prompt_tokens": n_prompt, "completion_tokens": n_new, "total_tokens": n_prompt + n_new}


def _model(service: Service) -> dict[str, Any]:
    return {"id": service.engine.name, "object": "model", "created": service.started, "owned_by": "text-generation"}


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Await a response, but cancel it when the client leaves: nobody would read it."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answering, leaving = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else Response(status_code=CLIENT_GONE)
    finally:
        answering.cancel()
        leaving.cancel()
