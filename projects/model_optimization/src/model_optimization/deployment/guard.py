"""What every request passes before a route sees it: key, rate, size, time, and an id of its own. Plain ASGI."""

import asyncio
import random
import re
import time
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_optimization.config.serving import ServeConfig
from model_optimization.deployment.server_errors import ApiError, later
from model_optimization.deployment.server_keys import KeyRing, RateLimit
from model_optimization.deployment.server_metrics import ServerMetrics
from model_optimization.deployment.server_state import ServerState

OPEN_PATHS = ("/healthz", "/readyz", "/metrics", "/openapi.json", "/dashboard")
"""Need no key and are not counted: probes, Prometheus and browsers have none, and nothing here tells of a text or of a
client. The figures of the dashboard's page are at a path of their own."""

ADMIN_PREFIX = "/v1/admin/"
_ADMIN_BYTES = 10_000
_MOST_THROWN_AWAY = 64_000_000
_PAUSE_SECONDS, _MOST_SECONDS = 1.0, 10.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Stalled(OSError):
    """The client takes too long to take what it is sent."""


class Guard:
    """Refuses what must not reach the app, in this order, and leaves caller and request id in `scope["state"]`.

    - 401: no key, or a wrong one, where there are keys; 403: an admin route without the admin's key.
    - 429: too many requests of this key; wrong keys count for the address that they come from.
    - 413: a body that is too large, by its declared length or as it arrives.
    - 408: a body that arrives too slowly. A response that takes too long to be taken ends the connection, and so does
      one that is sent before all of the body was read: some of the rest is read and thrown away first, because a
      client that still sends when the connection is closed never sees the response.

    Each response carries the request's id, the client's own where it sent one in X-Request-ID. While the server drains,
    each response is its connection's last.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        config: ServeConfig,
        keys: KeyRing,
        admin: KeyRing,
        metrics: ServerMetrics,
        state: ServerState,
    ) -> None:
        self._app, self._limits, self._keys, self._admin = app, config.limits, keys, admin
        self._metrics, self._state = metrics, state
        self._rate = RateLimit(self._limits.requests_per_minute, self._limits.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # there are no WebSockets
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
        scope.setdefault("state", {})["request_id"] = request_id
        body = _Body(receive, headers, self._most_bytes(scope), self._limits.stall_seconds)
        answer = body.closing(self._in_time(self._finished(scope, send, request_id)))
        with suppress(Stalled):
            try:
                scope["state"]["caller"] = self._check(scope, headers)
            except ApiError as error:
                self._metrics.refused.labels(error.code).inc()
                await error.response()(scope, receive, answer)
                return
            await self._app(scope, body.receive, answer)

    def _check(self, scope: Scope, headers: Headers) -> str:
        path = scope["path"]
        caller = "" if path in OPEN_PATHS else self._caller(scope, headers)
        declared, most = headers.get("content-length", "0"), self._most_bytes(scope)
        if declared.isdecimal() and int(declared[:20]) > most:
            raise _too_large(most)
        return caller

    def _caller(self, scope: Scope, headers: Headers) -> str:
        address = f"address {scope['client'][0] if scope.get('client') else ''}"
        if scope["path"].startswith(ADMIN_PREFIX):
            if self._admin.owner(_bearer(headers)) is None:
                self._take(address)
                raise ApiError(403, "forbidden", "this route needs the admin's key, as Authorization: Bearer KEY")
            return "admin"
        if not len(self._keys):
            self._take(address)
            return address
        owner = self._keys.owner(_bearer(headers))
        self._take(f"key {owner}" if owner else address)
        if owner is None:
            message = "wrong or missing API key: send it as Authorization: Bearer KEY"
            raise ApiError(401, "invalid_key", message, {"www-authenticate": "Bearer"})
        return f"key {owner}"

    def _take(self, who: str) -> None:
        if seconds := self._rate.take(who):
            message = f"more than {self._limits.requests_per_minute} requests in a minute"
            raise later(429, "rate_limited", message, seconds)

    def _most_bytes(self, scope: Scope) -> int:
        return _ADMIN_BYTES if scope["path"].startswith(ADMIN_PREFIX) else self._limits.max_body_bytes

    def _in_time(self, send: Send) -> Send:
        async def in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._limits.stall_seconds):
                    await send(message)
            except TimeoutError:
                raise Stalled from None

        return in_time

    def _finished(self, scope: Scope, send: Send, request_id: str) -> Send:
        begun = time.perf_counter()

        async def finished(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Paths that the client made up would fill the memory with series of their own.
                route = getattr(scope.get("route"), "path", "other")
                self._metrics.requests.labels(route, str(message["status"])).inc()
                self._metrics.request_seconds.labels(route).observe(time.perf_counter() - begun)
                more = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
                if self._state.draining:
                    more.append((b"connection", b"close"))
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        return finished


class _Body:
    """A request's body: its size and the time that it takes to arrive are limited."""

    def __init__(self, receive: Receive, headers: Headers, most: int, stall_seconds: float) -> None:
        self._receive, self._most = receive, most
        self._received = 0
        self._deadline = asyncio.get_running_loop().time() + stall_seconds
        self._stalled = False
        self._complete = "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"

    async def receive(self) -> Message:
        """The next part.

        Raises:
            ApiError: 408, the body arrives too slowly; 413, it is too large.
        """
        if self._complete:  # what comes after the body is the client's leaving, which may take as long as it likes
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self._stalled = True
            raise ApiError(408, "timeout", "the body takes too long to arrive") from None
        self._received += len(message.get("body", b""))
        if self._received > self._most:
            raise _too_large(self._most)
        self._complete = not message.get("more_body", False)
        return message

    def closing(self, send: Send) -> Send:
        """Let a response that is sent before the body's end be the connection's last."""
        early = False

        async def closing(message: Message) -> None:
            nonlocal early
            if message["type"] == "http.response.start" and not self._complete:
                early = True
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            if early and message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await self._throw_away()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        return closing

    async def _throw_away(self) -> None:
        """Read what is on its way, within limits."""
        read = 0
        with suppress(TimeoutError):
            loop = asyncio.get_running_loop()
            end = loop.time() + _MOST_SECONDS
            while read < _MOST_THROWN_AWAY and not self._stalled:
                async with asyncio.timeout_at(min(end, loop.time() + _PAUSE_SECONDS)):
                    message = await self._receive()
                read += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _too_large(most: int) -> ApiError:
    return ApiError(413, "body_too_large", f"the body has more than {most:,} bytes: send fewer or shorter texts")


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
