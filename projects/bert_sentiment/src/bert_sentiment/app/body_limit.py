"""Refuse a request body that is too large before it is in memory."""

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: status 413 for a body of more than `max_bytes` sent to `path`.

    A declared length is believed at once. A body without one (chunked) is counted while it arrives, and given up as
    soon as it exceeds the limit.
    """

    def __init__(self, app: ASGIApp, *, path: str, max_bytes: int) -> None:
        self.app, self.path, self.max_bytes = app, path, max_bytes
        self.refusal = f"the body has more than {max_bytes:,} bytes: send fewer or shorter texts at a time"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].rstrip("/") != self.path:
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.max_bytes:
            # The rest of the body is never read, so the connection is of no more use.
            refused = JSONResponse({"detail": self.refusal}, status_code=413, headers={"connection": "close"})
            await refused(scope, receive, send)
            return
        received = 0

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise HTTPException(413, self.refusal, headers={"connection": "close"})
            return message

        await self.app(scope, counting, send)
