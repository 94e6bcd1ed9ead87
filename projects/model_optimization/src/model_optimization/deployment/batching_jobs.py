"""What waits in a queue, and how that ends."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from model_optimization.types import FloatArray, TokenIds


class QueueFull(Exception):
    """More texts are asked for than may wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"try again in {seconds:.1f} s")
        self.seconds = seconds
        """After which the texts that wait at present are answered, as expected."""


class QueueClosed(Exception):
    """The queue takes no more texts."""


class DeadlineExceeded(Exception):
    """No answer in time."""


class Abandoned(Exception):
    """The client left before it had its answer."""


@dataclass(frozen=True)
class Answer:
    """The texts of one request, computed."""

    logits: list[FloatArray]
    """(K,) each."""

    n_tokens: list[int]


@dataclass(eq=False, slots=True)
class Job:
    """The texts of one request, on their way."""

    texts: Sequence[str]
    arrived: float
    deadline: float
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Answer]"
    shadow: bool = False
    cancelled: bool = False
    ended: bool = False
    left: int = 0
    logits: list[FloatArray | None] = field(default_factory=list)
    n_tokens: list[int] = field(default_factory=list)

    def abandon(self) -> None:
        """Take the texts out of the queue: their client has left. Belongs to the event loop."""
        if not self.future.done():
            self.future.set_exception(Abandoned())


@dataclass(eq=False, slots=True)
class Item:
    """One text of a job, as the network sees it."""

    job: Job
    place: int
    tokens: TokenIds
