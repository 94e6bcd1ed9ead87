"""Who may start an answer, who waits, and who is sent away."""

import asyncio


class QueueFull(Exception):
    """More answers are asked for than may wait."""


class Admission:
    """At most `slots` answers at a time and `max_waiting` behind them, first come, first served.

    A request reserves places for all its answers at once or is refused; each of them then waits for its own turn and
    gives it back, so that no two requests can wait for each other. Belongs to one event loop.
    """

    def __init__(self, slots: int, max_waiting: int) -> None:
        self._turns = asyncio.Semaphore(slots)
        self.capacity = slots + max_waiting
        self.active = 0
        self.waiting = 0

    def reserve(self, n: int) -> None:
        """Take places for n answers.

        Raises:
            QueueFull: there are not as many.
        """
        if self.active + self.waiting + n > self.capacity:
            raise QueueFull
        self.waiting += n

    async def enter(self) -> None:
        """Wait with a reserved place until it is this answer's turn. Whoever stops waiting gives the place up."""
        await self._turns.acquire()
        self.waiting -= 1
        self.active += 1

    def give_up(self) -> None:
        """Free a place that never got its turn."""
        self.waiting -= 1

    def leave(self) -> None:
        """Let the next one in."""
        self.active -= 1
        self._turns.release()
