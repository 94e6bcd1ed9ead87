"""What every request passes before a route sees it: host, origin, key, rate, size, time. Plain ASGI middleware."""

import asyncio
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_qa.app.errors import ApiError, busy
from rag_qa.app.keys import ANONYMOUS, Caller, KeyRing
from rag_qa.app.metrics import ServerMetrics
from rag_qa.app.rate_limit import RateLimit
from rag_qa.config.serving import ServeConfig
from rag_qa.types import User

OPEN_PATHS = ("/", "/health")
"""Need no key and are not counted: they hold no data."""

UPLOAD_PATH = "/documents"
_JSON_BYTES = 1_000_000
_SLOWEST_BYTES = 10_000
"""A body must arrive at so many bytes a second, the first `--api.stall_seconds` aside."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Stalled(OSError):
    """The client takes too long to take what it is sent."""


class Guard:
    """Refuses what must not reach the app, in this order, and leaves the caller in `scope["state"]["caller"]`.

    - 403: the server listens to this machine alone, and the Host header names another: a web page whose name was
      pointed at 127.0.0.1 (DNS rebinding) would have that one.
    - 403: a request from a page of another origin, which could upload by a plain form.
    - 401: no key, or a wrong one, where there are keys.
    - 429: too many requests of this key; wrong keys count for the address that they come from.
    - 413: a body that is too large, by its declared length or as it arrives.
    - 408: a body that arrives too slowly. A response that takes too long to be taken ends the connection, and so
      does one that is sent before all of the body was read: the rest may have no end.
    """

    def __init__(self, app: ASGIApp, *, config: ServeConfig, keys: KeyRing | None, metrics: ServerMetrics) -> None:
        self._app, self._config, self._keys, self._metrics = app, config, keys, metrics
        self._rate = RateLimit(config.api.requests_per_minute, config.api.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # there are no WebSockets
        counted = self._counted(scope, send)
        try:
            scope.setdefault("state", {})["caller"] = self._check(scope)
        except ApiError as error:
            # The body is never read, so the connection is of no more use.
            error.headers = {**dict(error.headers or {}), "connection": "close"}
            await error.response()(scope, receive, counted)
            return
        body = _Body(receive, scope, self._config)
        try:
            await self._app(scope, body.receive, self._in_time(body.closing(counted)))
        except Stalled:
            return

    def _check(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._config.is_local and _name(host) not in (*LOCAL_NAMES, self._config.host):
            raise ApiError(403, "this server answers to the names of this machine alone")
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host:
            raise ApiError(403, "a page of another origin may not use this server")
        caller = Caller(User()) if scope["path"] in OPEN_PATHS else self._caller(scope, headers)
        declared = headers.get("content-length", "0")
        most = _most_bytes(scope, self._config)
        if declared.isdecimal() and int(declared[:20]) > most:
            raise _too_large(most)
        return caller

    def _caller(self, scope: Scope, headers: Headers) -> Caller:
        address = scope["client"][0] if scope.get("client") else ""
        if self._keys is None:
            self._take(f"address {address}")
            return Caller(User(name=ANONYMOUS, groups=self._config.groups), self._is_here(address, headers))
        caller = self._keys.caller(_bearer(headers))
        if caller is None:
            self._take(f"address {address}")
            message = "wrong or missing API key: send it as Authorization: Bearer KEY"
            raise ApiError(401, message, {"www-authenticate": "Bearer"})
        self._take(f"user {caller.user.name}")
        return caller

    def _take(self, who: str) -> None:
        if seconds := self._rate.take(who):
            raise busy(429, f"more than {self._config.api.requests_per_minute} requests in a minute", seconds)

    def _is_here(self, address: str, headers: Headers) -> bool:
        """Whether the client sits at this machine. One that came through a proxy on it does not."""
        if not self._config.is_local or "forwarded" in headers or "x-forwarded-for" in headers:
            return False
        try:
            return ipaddress.ip_address(address).is_loopback
        except ValueError:
            return False

    def _in_time(self, send: Send) -> Send:
        async def in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._config.api.stall_seconds):
                    await send(message)
            except TimeoutError:
                raise Stalled from None

        return in_time

    def _counted(self, scope: Scope, send: Send) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Paths that the client made up would fill the memory with series of their own.
                path = getattr(scope.get("route"), "path", "other")
                self._metrics.requests.labels(path, str(message["status"])).inc()
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        return counted


class _Body:
    """A request's body: its size and the time that it takes to arrive are limited."""

    def __init__(self, receive: Receive, scope: Scope, config: ServeConfig) -> None:
        headers = Headers(scope=scope)
        self._receive, self._most = receive, _most_bytes(scope, config)
        self._received = 0
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + config.api.stall_seconds
        self._complete = "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"

    async def receive(self) -> Message:
        """The next part.

        Raises:
            ApiError: 408, the body arrives too slowly; 413, it is too large.
        """
        if self._complete:  # what comes after the body is the client's leaving, which may take as long as it likes
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline + self._received / _SLOWEST_BYTES):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(408, "the body takes too long to arrive") from None
        self._received += len(message.get("body", b""))
        if self._received > self._most:
            raise _too_large(self._most)
        self._complete = not message.get("more_body", False)
        return message

    def closing(self, send: Send) -> Send:
        """Let a response that is sent before the body's end be the connection's last."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not self._complete:
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            await send(message)

        return closing


def _most_bytes(scope: Scope, config: ServeConfig) -> int:
    """Of a request's body: uploads alone are large, and everything else is read into memory."""
    return config.api.max_body_bytes if scope["path"] == UPLOAD_PATH else min(_JSON_BYTES, config.api.max_body_bytes)


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"the request has more than {most:,} bytes: send less at a time")


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _place(origin: str) -> str | None:
    """Host and port of an Origin header; None where it is broken or `null`."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name(host: str) -> str:
    """The Host header without its port."""
    return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
