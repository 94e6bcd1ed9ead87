"""Calls to a server that may be away: tried again with growing pauses, and then one clear line."""

import time
from collections.abc import Callable
from typing import TypeVar

from roadmap_shared.errors import UserError, one_line

Result = TypeVar("Result")

_FIRST_PAUSE = 0.5  # seconds


def attempt(
    call: Callable[[], Result], *, retries: int, unreachable: type[Exception], server: str, remedy: str
) -> Result:
    """Return what `call` returns.

    Args:
        call: what is tried; it must be harmless to repeat.
        retries: further attempts.
        unreachable: exceptions that say that the server was not reached.
        server: its kind and address, for the message.
        remedy: what the user can do, for the message.

    Raises:
        UserError: it was never reached.
    """
    for number in range(retries + 1):
        try:
            return call()
        except unreachable as error:
            if number == retries:
                tried = "once" if number == 0 else f"{number + 1} times"
                raise UserError(f"{server}: cannot be reached ({one_line(error)}; tried {tried}): {remedy}") from None
        time.sleep(_FIRST_PAUSE * 2**number)
    raise AssertionError
