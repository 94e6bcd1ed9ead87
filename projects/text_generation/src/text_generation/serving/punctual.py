"""Connections that bring a request in time.

uvicorn waits for a request's first line and headers as long as a client likes, and such a connection counts among the
most that it serves: a few hundred that send nothing would shut out everybody.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def punctual(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 protocol, with a limit on the time that a request's headers may take.

    Args:
        seconds: from the connection, or from the first byte of a later request on it, to the last of the headers.
            The connection is closed then. Idle time between requests is uvicorn's to limit.
    """

    class Punctual(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """Let the timer run while headers are awaited; bytes that come meanwhile do not set it back."""
            # A connection that has become a WebSocket is no longer among them.
            awaited = self in self.connections and (self.cycle is None or self.cycle.response_complete)
            if not awaited:
                self._stop()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self.transport.close)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Punctual
