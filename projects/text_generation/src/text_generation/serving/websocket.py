"""`/ws/chat`: a conversation over one connection, with a stop message. What the chat page speaks.

The client sends, as JSON texts:

    {"type": "auth", "api_key": "..."}                     first, where the server has a key
    {"type": "chat", "request": {"messages": [...], ...}}  a body of /v1/chat/completions; model may be left out
    {"type": "stop"}                                       ends the answer under way

and receives `key_needed` where it must send one, then `ready` (model and context_window), and for each chat `start`
(dropped: turns that no longer fit), `text` for each piece, and `end` (finish_reason stop, length or cancelled, and
usage) or `error` (an error object). A number `id` in a chat message comes back in all that answers it.

The client keeps the conversation and sends all of it. Where it is longer than the context, the oldest turns are
dropped, never the system prompt and never the last turn.
"""

import asyncio
from contextlib import suppress
from typing import Any, Literal

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from text_generation.backends.types import Message
from text_generation.serving.errors import ApiError, from_ending, invalid
from text_generation.serving.guard import is_key
from text_generation.serving.openai_api import messages_of
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
        try:
            await Conversation(socket, service, key).run()
        except (WebSocketDisconnect, RuntimeError):  # Starlette raises the latter when it sends to one who has left
            return

    return api


class Conversation:
    """One connection: reads messages while an answer, at most one, is under way."""

    def __init__(self, socket: WebSocket, service: Service, key: str | None) -> None:
        self._socket, self._service, self._key = socket, service, key
        self._answering: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until the client leaves."""
        engine = self._service.engine
        try:
            if not await self._authenticated():
                return
            await self._socket.send_json(
                {"type": "ready", "model": engine.name, "context_window": engine.context_window}
            )
            while True:
                await self._handle(await self._receive())
        finally:
            if self._answering is not None:
                self._answering.cancel()

    async def _authenticated(self) -> bool:
        if self._key is None:
            return True
        await self._socket.send_json({"type": "key_needed"})
        with suppress(TimeoutError):
            async with asyncio.timeout(self._service.config.stall_seconds):
                first = await self._receive()
            if first is not None and first.type == "auth" and is_key(first.api_key, self._key):
                return True
        await self._say(ApiError(401, "wrong or missing API key", code="invalid_api_key"), None)
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

    async def _handle(self, message: ClientMessage | None) -> None:
        under_way = self._answering if self._answering is not None and not self._answering.done() else None
        match message and message.type:
            case "stop" if under_way is not None:
                under_way.cancel()
                await asyncio.wait([under_way])
            case "chat" if message is not None and under_way is not None:
                error = ApiError(409, "an answer is under way: wait for its end, or send stop", code="busy")
                await self._say(error, message.id)
            case "chat" if message is not None:
                self._answering = asyncio.create_task(self._answer(message.request or {}, message.id))

    async def _answer(self, body: dict[str, Any], number: int | None) -> None:
        # A client that has left is not told how its answer ended.
        with suppress(WebSocketDisconnect, RuntimeError):
            try:
                request = ChatRequest.model_validate({"model": self._service.engine.name, **body})
                if request.n not in (None, 1):
                    raise ApiError(400, "'n' must be 1 in a conversation", param="n")
                await self._stream(*await self._trimmed(request), number)
            except asyncio.CancelledError:
                await self._tell(number, "end", finish_reason="cancelled", usage=None)
            except ValidationError as error:
                await self._say(invalid(error.errors()), number)
            except ApiError as error:
                await self._say(error, number)
            except (WebSocketDisconnect, RuntimeError):
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

        # The fewest that must go, by bisection: a conversation of many short turns is counted some twenty times.
        low, high = 0, max(len(turns) - 1, 0)
        while low < high:
            middle = (low + high) // 2
            if (await self._length(messages_of(without(middle)))) <= room:
                high = middle
            else:
                low = middle + 1
        if low and low < len(turns) - 1 and turns[low].role == "assistant":
            low += 1  # a conversation begins with the user
        return without(low), low

    async def _length(self, messages: list[Message]) -> int:
        return (await self._service.encode(messages)).n_tokens

    async def _say(self, error: ApiError, number: int | None) -> None:
        await self._tell(number, "error", **error.body)

    async def _tell(self, number: int | None, kind: str, **content: Any) -> None:
        await self._socket.send_json({"type": kind, "id": number, **content})
