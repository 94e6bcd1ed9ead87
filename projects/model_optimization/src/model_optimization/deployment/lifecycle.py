"""How the server begins and ends: no accepted request is lost, and no client holds it up."""

import asyncio
import logging
import signal
import socket
import time
from types import FrameType

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from model_optimization.config.serving import ServeConfig
from model_optimization.deployment.server_state import ServerState

_CLIENTS_FAULTS = (
    "ASGI callable returned without completing response.",
    "Invalid HTTP request received.",
    "Unsupported upgrade request.",
    "Exceeded concurrency limit.",
)

_SETTLE_SECONDS = 0.3
_NO_HTTP = b'{"error": {"code": "invalid_http", "message": "the request is no HTTP"}}'


class DrainingServer(uvicorn.Server):
    """On SIGTERM, and without a pause between the steps on a second one:

    1. `/readyz` fails, and every response is its connection's last. Requests are still answered, for
       `--serve.drain_seconds`, in which a load balancer turns to other servers.
    2. The port is closed. Accepted requests are answered, for at most `--serve.grace_seconds`.
    3. The process ends with exit code 0; uvicorn's own server would end it by the signal.
    """

    def __init__(self, config: uvicorn.Config, state: ServerState, drain_seconds: float) -> None:
        super().__init__(config)
        self._state, self._drain_seconds = state, drain_seconds
        self._closes_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end. Called by the system, between any two lines of the main thread."""
        if sig != signal.SIGTERM:
            self._state.draining = True
            super().handle_exit(sig, frame)
            return
        wait = 0.0 if self._state.draining else self._drain_seconds
        self._closes_at = time.monotonic() + wait
        self._state.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Whether connections are to be closed: asked ten times a second.

        The port is closed a moment before. A connection that has just been made may hold a request that was not read
        yet, and uvicorn closes all that have none under way.
        """
        now = time.monotonic()
        if self._closes_at is not None and now >= self._closes_at:
            for server in self.servers:
                server.close()
            if now >= self._closes_at + _SETTLE_SECONDS:
                return True
        return await super().on_tick(counter)


def server_of(app: FastAPI, config: ServeConfig, state: ServerState, listener: socket.socket) -> DrainingServer:
    """The server for an app, to be run with this listener.

    Where the system allows it, a connection whose client takes nothing for `--serve.limits.stall_seconds` is dropped by
    the kernel: uvicorn closes a connection only when the client has taken what was written.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
        patience = int(min(config.limits.stall_seconds, 86_400) * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
    settings = uvicorn.Config(
        app,
        http=punctual(config.limits.header_seconds),
        log_level="error",
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=config.limits.max_connections,
        timeout_graceful_shutdown=config.grace_seconds,
        # Whoever asks is told by its connection; headers that anybody can write are not believed.
        proxy_headers=False,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_servers_fault)
    return DrainingServer(settings, state, config.drain_seconds)


def _is_servers_fault(record: logging.LogRecord) -> bool:
    """Whether a log record of uvicorn's tells of more than a client's mistake, with which it could fill the log."""
    return not record.getMessage().startswith(_CLIENTS_FAULTS)


def punctual(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 protocol, with a limit on the time that a request's headers may take.

    uvicorn waits for them as long as a client likes, and such a connection counts among the most that it serves: a few
    hundred that send nothing would shut out everybody.

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

        def send_400_response(self, msg: str) -> None:
            """Refuse what is no HTTP in the form of all refusals; uvicorn's own is plain text."""
            headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=_NO_HTTP),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

        def _watch(self) -> None:
            """Let the timer run while headers are awaited; bytes that come meanwhile do not set it back."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self.transport.close)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Punctual
