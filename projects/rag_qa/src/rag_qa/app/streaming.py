"""Server-sent events from a worker's thread to a client that may leave at any time (WHATWG HTML, section 9.2)."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from rag_qa.app.asking import Abandoned, Tell
from rag_qa.app.errors import ApiError, from_exception
from rag_qa.app.workers import Workers

Event = tuple[str, dict[str, Any]]
Job = Callable[[Tell, threading.Event], dict[str, Any]]
PING_SECONDS = 15.0
_ENDS = ("answer", "error")


class EventStream:
    """Events of one answer: `start`, any number of `token`, and at last `answer` or `error`."""

    def __init__(self, workers: Workers, job: Job) -> None:
        """Start the job; what it returns becomes the event `answer`.

        Raises:
            ApiError: 503, too many wait.
        """
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._abandoned = threading.Event()
        self._refusal: ApiError | None = None
        self._future: Future[dict[str, Any]] = workers.start(job, self._tell, self._abandoned)
        self._future.add_done_callback(self._end)

    async def first(self) -> Event:
        """The first event. Of a job that fails before it, the refusal is raised, so that it gets its own status.

        Raises:
            ApiError: the job failed.
        """
        try:
            event = await self._queue.get()
        except asyncio.CancelledError:
            self._leave()
            raise
        if event[0] == "error" and self._refusal is not None:
            raise self._refusal
        return event

    async def texts(self, first: Event) -> AsyncIterator[str]:
        """The first event and all others, as they go over the wire. Comments keep the connection alive meanwhile."""
        event: Event | None = first
        try:
            while True:
                yield ": ping\n\n" if event is None else _text(*event)
                if event is not None and event[0] in _ENDS:
                    return
                try:
                    async with asyncio.timeout(PING_SECONDS):
                        event = await self._queue.get()
                except TimeoutError:
                    event = None
        finally:
            self._leave()

    def _leave(self) -> None:
        """Nobody listens any more: what has not begun is dropped, what has ends at its next token."""
        self._abandoned.set()
        self._future.cancel()

    def _tell(self, name: str, content: dict[str, Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed where the server ends first
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (name, content))

    def _end(self, future: Future[dict[str, Any]]) -> None:
        if future.cancelled() or isinstance(error := future.exception(), Abandoned):
            return
        if error is None:
            self._tell("answer", future.result())
        else:
            self._refusal = from_exception(error)
            self._tell("error", self._refusal.body)


def _text(name: str, content: dict[str, Any]) -> str:
    # JSON has no line breaks outside its strings, where they are escaped: one data line is enough.
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"
