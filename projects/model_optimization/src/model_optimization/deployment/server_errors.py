"""Every refusal as one JSON object, `{"error": {"code", "message"}}`, with its status and no paths of the server."""

import logging
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import Counter
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from model_optimization.deployment.batch_runner import Failed
from model_optimization.deployment.batching_jobs import Abandoned, DeadlineExceeded, QueueClosed, QueueFull
from roadmap_shared.errors import UserError, one_line

logger = logging.getLogger("model_optimization.server")

_ABSOLUTE_PATH = re.compile(r"(?<![\w/.:])(?:[A-Za-z]:)?[/\\](?:[^\s/\\:'\"]+[/\\])*([^\s/\\:'\"]+)")


class ApiError(HTTPException):
    """A refusal that the client is told of."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, message, headers)
        self.code, self.message = code, message

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {"error": {"code": self.code, "message": self.message}}

    def response(self) -> Response:
        """The HTTP response."""
        return JSONResponse(self.body, status_code=self.status_code, headers=self.headers)


def later(status: int, code: str, message: str, seconds: float) -> ApiError:
    """429 or 503: try again after so many seconds, a minute at most."""
    return ApiError(status, code, message, {"retry-after": str(min(60, max(1, int(seconds + 0.999))))})


def without_paths(message: object) -> str:
    """One line without the folders of this machine: of an absolute path, its last part alone stays."""
    return _ABSOLUTE_PATH.sub(lambda found: found[1], one_line(message))[:300]


def from_exception(error: BaseException) -> ApiError:
    """The refusal for what went wrong. What is no fault of the client's is logged, without the client's words."""
    match error:
        case ApiError():
            return error
        case QueueFull():
            return later(429, "queue_full", "too many texts wait for an answer: try again later", error.seconds)
        case DeadlineExceeded():
            return later(503, "deadline", "no answer in time: the server is too busy", 1)
        case QueueClosed():
            return later(503, "draining", "the server shuts down", 1)
        case Failed():
            logger.error("a request failed: %s", error)
            return ApiError(500, "model_failed", "the model cannot compute this request; the server's log says more")
        case ClientDisconnect() | Abandoned():  # nobody reads this answer, and a client that goes must not fill the log
            return ApiError(400, "disconnected", "the client left before its request was whole")
        case UserError():
            return ApiError(409, "refused", without_paths(error))
    logger.error("a request failed", exc_info=error)
    return ApiError(500, "internal_error", "internal error; the server's log says more")


def install(app: FastAPI, refusals: Counter) -> None:
    """Make every error of the app such an object.

    Args:
        app: the application.
        refusals: counts them by their code.
    """

    def told(refusal: ApiError) -> Response:
        refusals.labels(refusal.code).inc()
        return refusal.response()

    async def refused(request: Request, error: Exception) -> Response:
        return told(from_exception(error))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, message = "invalid_request", "the request cannot be read"
        if error.status_code == 404:
            code, message = "not_found", "unknown URL; GET /openapi.json lists those that there are"
        elif error.status_code == 405:
            code, message = "method_not_allowed", f"{request.method} is not allowed here"
        headers = dict(error.headers) if error.headers else None
        return told(ApiError(error.status_code, code, message, headers))

    app.add_exception_handler(HTTPException, http)
    own = (ApiError, QueueFull, QueueClosed, DeadlineExceeded, Abandoned, Failed)
    for kind in (*own, ClientDisconnect, UserError, Exception):
        app.add_exception_handler(kind, refused)
