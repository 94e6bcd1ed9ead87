"""What every connection passes before a route sees it: addresses, key, rate, size, time. Plain ASGI middleware."""

import asyncio
import hmac
import time
from collections import Counter
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from text_generation.config.serving import ServingConfig
from text_generation.serving.errors import ApiError, busy
from text_generation.serving.metrics import ServerMetrics

OPEN_PATHS = ("/", "/healthz", "/ws/chat")
"""Need no key: the page holds no data, and the WebSocket asks for the key itself, since a browser sends none."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_MINUTE = 60.0


class Stalled(Exception):
    """The client takes too long to take what it is sent."""


class Guard:
    """Refuses what must not reach the app, in this order.

    - 403: the server listens to this machine alone, and the Host header names another: a web page whose name was
      pointed at 127.0.0.1 (DNS rebinding) would have that one.
    - 403: a WebSocket from a page of another origin.
    - 401: no key, or a wrong one. Compared in constant time.
    - 429: too many requests of one address in this minute, where there is such a limit.
    - 413: a body that is too large, by its declared length or as it arrives.
    - 408: a body that takes too long to arrive. A response that takes too long to be taken ends the connection.
    """

    def __init__(self, app: ASGIApp, *, config: ServingConfig, key: str | None, metrics: ServerMetrics) -> None:
        self._app, self._config, self._key, self._metrics = app, config, key, metrics
        self._minute = 0.0
        self._requests: Counter[str] = Counter()

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
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, self._bounded(receive), self._in_time(self._counted(scope, send)))
        except Stalled:
            return

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._config.is_local and _name(host) not in (*LOCAL_NAMES, self._config.host):
            raise ApiError(403, "this server answers to the names of this machine alone", code="wrong_host")
        if scope["type"] == "websocket":
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != host:
                raise ApiError(403, "a page of another origin may not connect", code="wrong_origin")
        if scope["path"] not in OPEN_PATHS and not is_key(_bearer(headers), self._key):
            message = "wrong or missing API key: send it as Authorization: Bearer KEY"
            raise ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        self._count_request(scope)
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared[:20]) > self._config.max_body_bytes:
            raise self._too_large()

    def _count_request(self, scope: Scope) -> None:
        if not self._config.requests_per_minute or scope["path"] in ("/", "/healthz", "/metrics"):
            return
        if (now := time.monotonic()) - self._minute >= _MINUTE:
            self._minute = now
            self._requests.clear()
        client = scope["client"][0] if scope.get("client") else ""
        self._requests[client] += 1
        if self._requests[client] > self._config.requests_per_minute:
            wait = int(self._minute + _MINUTE - now) + 1
            raise busy(f"more than {self._config.requests_per_minute} requests in a minute", wait)

    def _bounded(self, receive: Receive) -> Receive:
        """Limit the body's size and the time that it takes to arrive."""
        received = 0
        complete = False

        async def bounded() -> Message:
            nonlocal received, complete
            if complete:  # what comes after the body is the client's leaving, which may take as long as it likes
                return await receive()
            try:
                async with asyncio.timeout(self._config.stall_seconds):
                    message = await receive()
            except TimeoutError:
                message = "the body takes too long to arrive"
                raise ApiError(408, message, code="timeout", headers={"connection": "close"}) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._config.max_body_bytes:
                raise self._too_large()
            return message

        return bounded

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

    def _too_large(self) -> ApiError:
        message = f"the body has more than {self._config.max_body_bytes:,} bytes: send less at a time"
        return ApiError(413, message, code="body_too_large", headers={"connection": "close"})


def is_key(given: str | None, key: str | None) -> bool:
    """Whether the key is right, in a time that does not depend on how much of it is. Without a key, anything is."""
    if key is None:
        return True
    return hmac.compare_digest((given or "").encode("utf-8", "replace"), key.encode())


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _name(host: str) -> str:
    """The Host header without its port."""
    return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
