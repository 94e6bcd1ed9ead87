"""Every refusal as one JSON object, `{"error": {"status", "code", "message"}}`, without paths of the server."""

import logging
import re
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from roadmap_shared.errors import UserError, one_line

logger = logging.getLogger("rag_qa.app")

_ABSOLUTE_PATH = re.compile(r"(?<![\w/.:])(?:[A-Za-z]:)?[/\\](?:[^\s/\\:'\"]+[/\\])*([^\s/\\:'\"]+)")
CODES = {
    400: "invalid_request",
    401: "invalid_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    415: "unsupported_type",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}
INTERNAL = "internal error; the server's log says more"


class ApiError(HTTPException):
    """A refusal that the client is told of."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, message, headers)
        self.message = message

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object."""
        code = CODES.get(self.status_code, "error")
        return {"error": {"status": self.status_code, "code": code, "message": self.message}}

    def response(self) -> JSONResponse:
        """The HTTP response."""
        return JSONResponse(self.body, status_code=self.status_code, headers=self.headers)


def not_found() -> ApiError:
    """404 for a document that is not there, and, word for word the same, for one that the caller may not see."""
    return ApiError(404, "no such document; GET /documents lists yours")


def busy(status: int, message: str, seconds: float) -> ApiError:
    """429 or 503: try again after so many seconds."""
    return ApiError(status, message, {"retry-after": str(max(1, int(seconds + 0.999)))})


def without_paths(message: object) -> str:
    """One line without the folders of this machine: of an absolute path, its last part alone stays."""
    return _ABSOLUTE_PATH.sub(lambda found: found[1], one_line(message))[:300]


def from_exception(error: BaseException) -> ApiError:
    """The refusal for what went wrong behind the routes. What is no fault of the client's is logged, without the
    client's words."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ClientDisconnect):  # a client that goes must not fill the log; nobody reads this answer
        return ApiError(400, "the client left before its request was whole")
    if isinstance(error, UserError):
        logger.error("a request failed: %s", one_line(error))
        return ApiError(503, f"a part of the server cannot answer: {without_paths(error)}")
    logger.error("a request failed", exc_info=error)
    return ApiError(500, INTERNAL)


def invalid(errors: Sequence[Any]) -> ApiError:
    """400 for a request that does not fit its schema: the first problem in plain words, without an echo of values."""
    error = errors[0]
    place = ".".join(str(part) for part in error["loc"] if part not in ("body", "query", "path"))
    place = one_line(place.encode("utf-8", "replace").decode())[:80]
    match error["type"]:
        case "json_invalid":
            return ApiError(400, "the body is no JSON")
        case "missing" if place:
            return ApiError(400, f"'{place}' is missing")
        case "extra_forbidden":
            return ApiError(400, f"unknown field '{place}'")
        case "value_error":
            return ApiError(400, f"'{place}' {error['ctx']['error']}")
    if not place:
        return ApiError(400, "the body must be a JSON object, sent as Content-Type: application/json")
    said = error["msg"].replace("Input should", "must").replace("List should", "must").replace("String should", "must")
    return ApiError(400, f"'{place}' {said[0].lower()}{said[1:]}")


def install(app: FastAPI) -> None:
    """Make every error of the app such an object."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        return from_exception(error).response()

    async def unfit(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError | ValidationError)
        return invalid(error.errors()).response()

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status, message = error.status_code, "the request cannot be read"
        if status == 404:
            message = "unknown URL"
        elif status == 405:
            message = f"{request.method} is not allowed here"
        return ApiError(status, message, dict(error.headers) if error.headers else None).response()

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(RequestValidationError, unfit)
    app.add_exception_handler(ValidationError, unfit)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientDisconnect, refused)
    app.add_exception_handler(Exception, refused)
