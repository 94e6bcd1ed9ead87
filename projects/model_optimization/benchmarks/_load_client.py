"""A client that costs little beside the server that it loads: HTTP by hand on asyncio's protocols."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Question:
    """A request, ready to be sent, and whether an answer to it is right."""

    data: bytes
    is_right: Callable[[dict], bool]


@dataclass
class Outcome:
    """What came of a load."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Of requests answered with 200, in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    untold: int = 0
    """Refusals without a reason in the form of all refusals, or without Retry-After."""

    wrong: int = 0
    unsent: int = 0
    """No connection could be made, or none was free."""

    lost: int = 0
    """Sent on a connection that was open, and ended without a response."""

    @property
    def per_second(self) -> float:
        """Requests answered."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Of the latencies, in milliseconds."""
        values = sorted(self.latencies)
        return values[min(len(values) - 1, int(share * len(values)))] * 1e3 if values else float("nan")


def question(text: str, is_right: Callable[[dict], bool] = lambda answer: True) -> Question:
    """A POST of one text to /v1/predict."""
    body = json.dumps({"text": text}).encode()
    head = ("POST /v1/predict HTTP/1.1", "host: load", "content-type: application/json", f"content-length: {len(body)}")
    return Question("\r\n".join((*head, "", "")).encode() + body, is_right)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: asyncio.Future[tuple[int, bytes, bytes] | None] | None = None
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        head = head.lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._buffer = b""
        if b"\r\nconnection: close" in head:
            self.open = False
            self.transport.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result((int(head[9:12]), head, rest[:length]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def ask(self, data: bytes) -> tuple[int, bytes, bytes] | None:
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return await self._waiting


class Load:
    """Requests to one server."""

    def __init__(self, host: str, port: int, questions: Sequence[Question], seed: int = 0) -> None:
        self._place, self._questions, self._random = (host, port), questions, random.Random(seed)
        self.outcome = Outcome()
        self._stopped = False

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True

    async def closed(self, clients: int, seconds: float) -> Outcome:
        """So many clients, each of which asks again as soon as it has its answer."""
        end = time.perf_counter() + seconds

        async def client() -> None:
            connection = None
            while time.perf_counter() < end and not self._stopped:
                connection = await self._ask(connection)

        return await self._timed(asyncio.gather(*(client() for _ in range(clients))))

    async def open(self, per_second: float, seconds: float, connections: int) -> Outcome:
        """Requests that come at random (Poisson), whether or not the server keeps up.

        Those that find no free one of the connections are not sent, and counted.
        """
        free: list[_Connection | None] = [None] * connections
        tasks: set[asyncio.Task[None]] = set()

        async def one(connection: _Connection | None) -> None:
            free.append(await self._ask(connection))

        async def arrivals() -> None:
            begun = time.perf_counter()
            due = begun
            while (due := due + self._random.expovariate(per_second)) < begun + seconds and not self._stopped:
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                if not free:
                    self.outcome.unsent += 1
                    continue
                task = asyncio.create_task(one(free.pop()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            if tasks:
                await asyncio.wait(tasks)

        return await self._timed(arrivals())

    async def _timed(self, work: object) -> Outcome:
        begun = time.perf_counter()
        await work  # type: ignore[misc]
        self.outcome.seconds = time.perf_counter() - begun
        return self.outcome

    async def _ask(self, connection: "_Connection | None") -> "_Connection | None":
        if connection is None or not connection.open:
            try:
                _, connection = await asyncio.get_running_loop().create_connection(_Connection, *self._place)
            except OSError:
                self.outcome.unsent += 1
                await asyncio.sleep(0.05)
                return None
        asked = self._random.choice(self._questions)
        begun = time.perf_counter()
        answer = await connection.ask(asked.data)
        self._count(asked, answer, time.perf_counter() - begun)
        return connection if connection.open else None

    def _count(self, asked: Question, answer: tuple[int, bytes, bytes] | None, seconds: float) -> None:
        if answer is None:
            self.outcome.lost += 1
            return
        status, head, body = answer
        self.outcome.statuses[status] += 1
        if status == 200:
            self.outcome.latencies.append(seconds)
            self.outcome.wrong += not asked.is_right(json.loads(body))
        elif b"retry-after:" not in head or "message" not in json.loads(body).get("error", {}):
            self.outcome.untold += 1
