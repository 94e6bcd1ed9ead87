"""Every refusal as OpenAI's error object: `{"error": {"message", "type", "param", "code"}}` with its status code."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from roadmap_shared.errors import UserError, did_you_mean, one_line
from text_generation.backends.types import BackendError
from text_generation.serving.schemas import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    JsonSchemaFormat,
    ResponseFormat,
    StreamOptions,
    TextPart,
)

logger = logging.getLogger(__name__)

_FIELDS = {
    field.alias or name
    for model in (
        ChatRequest,
        CompletionRequest,
        ChatMessage,
        TextPart,
        StreamOptions,
        ResponseFormat,
        JsonSchemaFormat,
    )
    for name, field in model.model_fields.items()
}


class ApiError(HTTPException):
    """A refusal that the client is told of. FastAPI lets this kind through where it reads the body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.message, self.kind, self.param, self.code = message, kind, param, code

    @property
    def body(self) -> dict[str, Any]:
        """The error object."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The HTTP response."""
        return JSONResponse(self.body, status_code=self.status_code, headers=self.headers)


def busy(message: str, seconds: int) -> ApiError:
    """429: try again after so many seconds."""
    headers = {"retry-after": str(seconds)}
    return ApiError(429, message, kind="rate_limit_error", code="rate_limit_exceeded", headers=headers)


def from_ending(ending: Exception | None) -> ApiError:
    """The refusal for an answer that did not become one. What is no fault of the client's is logged."""
    if ending is None:
        return ApiError(503, "the server is shutting down", kind="server_error", code="shutting_down")
    if isinstance(ending, UserError):
        return ApiError(400, one_line(ending))
    if isinstance(ending, BackendError):
        logger.error("%s", one_line(ending))
        return ApiError(502, one_line(ending), kind="server_error", code="backend_error")
    logger.error("an answer failed", exc_info=ending)
    return ApiError(500, "internal error; the server's log says more", kind="server_error", code="internal_error")


def invalid(errors: Sequence[Any]) -> ApiError:
    """400 for a request that does not fit its schema: the most specific problem, in plain words, without an echo of
    the input."""
    # Of the branches of a union, the one that the value comes nearest to.
    error = max(errors, key=lambda item: (not item["type"].endswith("_type"), len(item["loc"])))
    place = _place([part for part in error["loc"] if part != "body"], error["type"])
    match error["type"]:
        case "json_invalid":
            return ApiError(400, f"the body is no JSON: {error['ctx']['error']}")
        case "missing" if place:
            return ApiError(400, f"'{place}' is missing", param=place)
        case "extra_forbidden":
            hint = did_you_mean(place, _FIELDS)
            return ApiError(400, f"unknown argument '{place}'. {hint}".strip(), param=place, code="unknown_parameter")
        case "string_unicode":
            return ApiError(400, f"'{place}' holds a broken character (half of a surrogate pair)", param=place)
    if not place:
        return ApiError(400, "the body must be a JSON object, sent as Content-Type: application/json")
    said = error["msg"].replace("Input should", "must").replace("List should", "must").replace("String should", "must")
    said = said.replace(" after validation", "").replace(" or object to extract fields from", "")
    said = said.replace("a valid dictionary", "an object")
    return ApiError(400, f"'{place}' {said[0].lower()}{said[1:]}", param=place, code="invalid_value")


def install(app: FastAPI) -> None:
    """Make every error of the app an error object."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return error.response()

    async def unfit(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError | ValidationError)
        return invalid(error.errors()).response()

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        message, code = error.detail, None
        if error.status_code == 404:
            message, code = f"unknown URL: {request.method} {request.url.path[:100]}", "unknown_url"
        elif error.status_code == 405:
            message = f"{request.method} is not allowed for {request.url.path[:100]}"
        elif error.status_code == 400:
            message = "the body is no JSON: broken UTF-8, nested too deeply, or a number with too many digits"
        headers = dict(error.headers) if error.headers else None
        return ApiError(error.status_code, message, code=code, headers=headers).response()

    async def bug(request: Request, error: Exception) -> JSONResponse:
        return from_ending(error).response()

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(RequestValidationError, unfit)
    app.add_exception_handler(ValidationError, unfit)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, bug)


def _place(path: Sequence[str | int], kind: str) -> str:
    """`messages[0].content`: the names of fields, without pydantic's names for the branches of a union. A name that the
    client made up is cut short and made fit to be sent back."""
    made_up = path[-1:] if kind == "extra_forbidden" else []
    known = [part for part in path[: len(path) - len(made_up)] if isinstance(part, int) or part in _FIELDS]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in [*known, *made_up])
    return one_line(place.removeprefix(".").encode("utf-8", "replace").decode())[:80]
