"""What every connection passes before a route sees it: addresses, key, rate, size, time. Plain ASGI middleware."""

import asyncio
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from text_generation.config.serving import ServingConfig
from text_generation.serving.errors import ApiError
from text_generation.serving.metrics import ServerMetrics
from text_generation.serving.rate import RateLimit, client_of

OPEN_PATHS = ("/", "/healthz", "/ws/chat")
"""Need no key: the page holds no data, and the WebSocket asks for the key itself, since a browser sends none."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
UNCOUNTED_PATHS = ("/", "/healthz")
"""Are left out of the rate limit. `/metrics` is not: it would tell a right key from a wrong one without limit."""


class Stalled(TimeoutError):
    """The client takes too long to take what it is sent. An OSError, which Starlette's WebSocket takes for the client's
    leaving."""


class Guard:
    """Refuses what must not reach the app, in this order.

    - 403: the server listens to this machine alone, and the Host header names another: a web page whose name was
      pointed at 127.0.0.1 (DNS rebinding) would have that one.
    - 403: a WebSocket from a page of another origin.
    - 503: a WebSocket beyond the most connections; uvicorn counts HTTP requests alone.
    - 429: too many requests of one address in this minute, where there is such a limit. Wrong keys count.
    - 401: no key, or a wrong one. Compared in constant time.
    - 413: a body that is too large, by its declared length or as it arrives.
    - 408: a body that takes too long to arrive. A response that takes too long to be taken ends the connection, and so
      does one that is sent before all of the body was read: the rest may have no end.
    """

    def __init__(
        self, app: ASGIApp, *, config: ServingConfig, key: str | None, metrics: ServerMetrics, rate: RateLimit
    ) -> None:
        self._app, self._config, self._key, self._metrics, self._rate = app, config, key, metrics, rate
        self._sockets = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ApiError as error:
            # The body is never read, so the connection is of no more use.
            error.headers = {**dict(error.headers or {}), "connection": "close"}
            await error.response()(scope, receive, self._counted(scope, send))
            return
        if scope["type"] == "websocket":
            await self._converse(scope, receive, send)
            return
        body = _Body(receive, Headers(scope=scope), self._config)
        try:
            await self._app(scope, body.receive, self._in_time(body.closing(self._counted(scope, send))))
        except Stalled:
            return

    async def _converse(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._sockets += 1
        try:
            await self._app(scope, receive, self._in_time(send))
        finally:
            self._sockets -= 1

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._config.is_local and _name(host) not in (*LOCAL_NAMES, self._config.host):
            raise ApiError(403, "this server answers to the names of this machine alone", code="wrong_host")
        if scope["type"] == "websocket":
            origin = headers.get("origin")
            if origin is not None and _place(origin) != host:
                raise ApiError(403, "a page of another origin may not connect", code="wrong_origin")
            if self._sockets >= self._config.max_connections:
                message = "too many connections: try again later"
                raise ApiError(503, message, kind="server_error", code="too_many_connections")
        if scope["path"] not in UNCOUNTED_PATHS:
            self._rate.count(client_of(scope))
        if scope["path"] not in OPEN_PATHS and not is_key(_bearer(headers), self._key):
            message = "wrong or missing API key: send it as Authorization: Bearer KEY"
            raise ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > self._config.max_body_bytes:
            raise _too_large(self._config)

    def _in_time(self, send: Send) -> Send:
        async def in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._config.stall_seconds):
                    await send(message)
            except TimeoutError:
                raise Stalled from None

        return in_time

    def _counted(self, scope: Scope, send: Send) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Paths that the client made up would fill the memory with series of their own.
                path = route.path if (route := scope.get("route")) is not None else "other"
                self._metrics.requests.labels(path, str(message["status"])).inc()
            await send(message)

        return counted


class _Body:
    """A request's body: its size and the time that it takes to arrive are limited."""

    def __init__(self, receive: Receive, headers: Headers, config: ServingConfig) -> None:
        self._receive, self._config = receive, config
        self._deadline = asyncio.get_running_loop().time() + config.stall_seconds
        self._received = 0
        self._complete = "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"

    async def receive(self) -> Message:
        """The next part.

        Raises:
            ApiError: 408, the body takes too long; 413, it is too large.
        """
        if self._complete:  # what comes after the body is the client's leaving, which may take as long as it likes
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(408, "the body takes too long to arrive", code="timeout") from None
        self._received += len(message.get("body", b""))
        if self._received > self._config.max_body_bytes:
            raise _too_large(self._config)
        self._complete = not message.get("more_body", False)
        return message

    def closing(self, send: Send) -> Send:
        """Let a response that is sent before the body's end be the connection's last."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not self._complete:
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            await send(message)

        return closing


def _too_large(config: ServingConfig) -> ApiError:
    message = f"the body has more than {config.max_body_bytes:,} bytes: send less at a time"
    return ApiError(413, message, code="body_too_large")


def is_key(given: str | None, key: str | None) -> bool:
    """Whether the key is right, in a time that does not depend on how much of it is. Without a key, anything is."""
    if key is None:
        return True
    return hmac.compare_digest((given or "").encode("utf-8", "replace"), key.encode())


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _place(origin: str) -> str | None:
    """Host and port of an Origin header; None where it is broken."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name(host: str) -> str:
    """The Host header without its port."""
    return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
