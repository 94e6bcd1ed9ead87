"""Ctrl-C during training: finish the step, save, and only then stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def finish_step_on_interrupt() -> Iterator["Interruption"]:
    """Turn the first Ctrl-C into a request to stop after the step in progress; a second one stops at once."""
    interruption = Interruption()
    previous = signal.getsignal(signal.SIGINT)

    def remember(signum: int, frame: object) -> None:
        interruption.requested = True
        signal.signal(signal.SIGINT, previous)

    try:
        signal.signal(signal.SIGINT, remember)
    except ValueError:  # not in the main thread, where no signal arrives either
        yield interruption
        return
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, previous)


class Interruption:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        return self.requested
