"""`/ws/chat`: a conversation over one connection, with a stop message. What the chat page speaks.

The client sends, as JSON texts:

    {"type": "auth", "api_key": "..."}                     first, where the server has a key
    {"type": "chat", "request": {"messages": [...], ...}}  a body of /v1/chat/completions; model may be left out
    {"type": "stop"}                                       ends the answer under way

and receives `key_needed` where it must send one, then `ready` (model and context_window), and for each chat `start`
(dropped: turns that no longer fit), `text` for each piece, and `end` (finish_reason stop, length or cancelled, and
usage) or `error` (an error object). A number `id` in a chat message comes back in all that answers it. Each chat counts
for `--requests_per_minute`.

The client keeps the conversation and sends all of it. Where it is longer than the context, the oldest turns are
dropped, never the system prompt and never the last turn.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from text_generation.backends.types import Message
from text_generation.serving.errors import ApiError, from_ending, invalid
from text_generation.serving.guard import is_key
from text_generation.serving.openai_api import messages_of
from text_generation.serving.rate import client_of
from text_generation.serving.schemas import ChatRequest, Strict
from text_generation.serving.service import Service

WRONG_KEY = 1008
"""Close code: policy violation (RFC 6455, section 7.4.1)."""


class ClientMessage(Strict):
    """What a client may send."""

    type: Literal["auth", "chat", "stop"]
    id: int | None = None
    api_key: str | None = None
    request: dict[str, Any] | None = None


def router(service: Service, key: str | None) -> APIRouter:
    """The WebSocket of one model."""
    api = APIRouter()

    @api.websocket("/ws/chat")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        with suppress(WebSocketDisconnect):
            await Conversation(socket, service, key).run()

    return api


class Conversation:
    """One connection: reads messages while an answer, at most one, is under way."""

    def __init__(self, socket: WebSocket, service: Service, key: str | None) -> None:
        self._socket, self._service, self._key = socket, service, key
        self._answering: asyncio.Task[None] | None = None
        self._number: int | None = None

    async def run(self) -> None:
        """Serve until the client leaves, or takes no more of what it is sent.

        Raises:
            WebSocketDisconnect: how it ends.
        """
        engine = self._service.engine
        if not await self._authenticated():
            return
        await self._send({"type": "ready", "model": engine.name, "context_window": engine.context_window})
        try:
            # Reader and answer end each other: whichever notices first that the client has gone.
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._handle(await self._receive(), tasks)
        except* WebSocketDisconnect:
            raise WebSocketDisconnect from None

    async def _authenticated(self) -> bool:
        if self._key is None:
            return True
        await self._send({"type": "key_needed"})
        with suppress(TimeoutError):
            async with asyncio.timeout(self._service.config.stall_seconds):
                first = await self._receive()
            if first is not None and first.type == "auth" and is_key(first.api_key, self._key):
                return True
        await self._say(ApiError(401, "wrong or missing API key", code="invalid_api_key"), None)
        with suppress(RuntimeError):  # raised where the client's own close, or its broken frame, came first
            await self._socket.close(WRONG_KEY)
        return False

    async def _receive(self) -> ClientMessage | None:
        """The next message, or None for one that was refused."""
        frame = await self._socket.receive()
        if frame["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(frame.get("code", 1000))
        try:
            return ClientMessage.model_validate_json(frame.get("text") or frame.get("bytes") or "")
        except ValidationError as error:
            await self._say(invalid(error.errors()), None)
            return None

    async def _handle(self, message: ClientMessage | None, tasks: asyncio.TaskGroup) -> None:
        under_way = self._answering if self._answering is not None and not self._answering.done() else None
        if message is not None and message.type == "chat":
            try:
                self._service.rate.count(client_of(self._socket.scope))
                if under_way is not None:
                    raise ApiError(409, "an answer is under way: wait for its end, or send stop", code="busy")
            except ApiError as error:
                await self._say(error, message.id)
                return
            self._number = message.id
            self._answering = tasks.create_task(self._answer(message.request or {}, message.id))
        elif message is not None and message.type == "stop" and under_way is not None:
            under_way.cancel()
            await asyncio.wait([under_way])
            # Told here and not by the task, of which nothing runs where it is cancelled before its first step.
            if under_way.cancelled():
                await self._tell(self._number, "end", finish_reason="cancelled", usage=None)

    async def _answer(self, body: dict[str, Any], number: int | None) -> None:
        """Answer a chat, with `end` or `error` at last unless it is cancelled or the client has left."""
        try:
            request = ChatRequest.model_validate({"model": self._service.engine.name, **body})
            if request.n not in (None, 1):
                raise ApiError(400, "'n' must be 1 in a conversation", param="n")
            await self._stream(*await self._trimmed(request), number)
        except ValidationError as error:
            await self._say(invalid(error.errors()), number)
        except ApiError as error:
            await self._say(error, number)
        except WebSocketDisconnect:
            raise
        except Exception as error:
            await self._say(from_ending(error), number)

    async def _stream(self, request: ChatRequest, dropped: int, number: int | None) -> None:
        config = self._service.config
        jobs = await self._service.jobs(request, [messages_of(request)], "messages", config.default_new_tokens)
        async with self._service.answer(jobs) as answers:
            await self._tell(number, "start", dropped=dropped)
            async for _, event in answers.events():
                if isinstance(event, ApiError):
                    raise event
                if isinstance(event, str):
                    await self._tell(number, "text", text=event)
                else:
                    usage = {"prompt_tokens": event.prompt_tokens, "completion_tokens": event.new_tokens}
                    await self._tell(number, "end", finish_reason=event.finish_reason, usage=usage)

    async def _trimmed(self, request: ChatRequest) -> tuple[ChatRequest, int]:
        """Drop the oldest turns that do not fit with the answer; return the request and how many they are."""
        self._service.check(request, 1)
        asked = request.max_completion_tokens or request.max_tokens or self._service.config.default_new_tokens
        # An answer may take half of the context at most where it would leave no room for the conversation.
        window = self._service.engine.context_window
        room = min(self._service.max_prompt, window - min(asked, window // 2))
        system = [message for message in request.messages if message.role in ("system", "developer")]
        turns = [message for message in request.messages if message.role in ("user", "assistant")]

        def without(n_dropped: int) -> ChatRequest:
            return request.model_copy(update={"messages": [*system, *turns[n_dropped:]]})

        async def fit(kept: int) -> bool:
            return (await self._length(messages_of(without(len(turns) - kept)))) <= room

        low = len(turns) - await _most(len(turns), fit)
        if low and low < len(turns) - 1 and turns[low].role == "assistant":
            low += 1  # a conversation begins with the user
        return without(low), low

    async def _length(self, messages: list[Message]) -> int:
        return (await self._service.encode(messages)).n_tokens

    async def _say(self, error: ApiError, number: int | None) -> None:
        await self._tell(number, "error", **error.body)

    async def _tell(self, number: int | None, kind: str, **content: Any) -> None:
        await self._send({"type": kind, "id": number, **content})

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._socket.send_text(json.dumps(message))
        except RuntimeError as error:  # raised for a socket that has been closed
            raise WebSocketDisconnect(1006) from error


async def _most(n: int, fit: Callable[[int], Awaitable[bool]]) -> int:
    """How many of the newest of n turns fit; one at least, if there is any.

    Tries 1, 2, 4, ... and then bisects: what this costs grows with the turns that fit, and not with how many a client
    sends.
    """
    low, high = min(1, n), min(2, n)  # so many are kept; so many are tried
    while low < high and await fit(high):
        low, high = high, min(2 * high, n)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if await fit(middle) else (low, middle)
    return low
