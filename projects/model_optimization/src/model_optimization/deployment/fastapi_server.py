"""The HTTP API of a service.

- `POST /v1/predict` labels one text or several.
- `GET /v1/models` tells what is loaded, and what could not be loaded.
- `GET /healthz` answers while the process lives, `GET /readyz` while requests are answered: not while warming or
  draining. `GET /metrics` is for Prometheus, `GET /openapi.json` for programs.
- `/v1/admin/…` changes the champion, the challenger and the traffic; it has a key of its own.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from model_optimization.config.serving import ServeConfig
from model_optimization.deployment import admin_api, server_errors
from model_optimization.deployment.batching_jobs import Job
from model_optimization.deployment.guard import OPEN_PATHS, Guard
from model_optimization.deployment.server_keys import KeyRing
from model_optimization.deployment.server_schemas import (
    PREDICT_EXAMPLES,
    PredictRequest,
    PredictResponse,
    Problem,
    read,
    texts_of,
)
from model_optimization.deployment.service import Reply, Service

DIGITS = 6
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is no UTF-8, no JSON, or not of this form; a text is empty."},
    401: {"model": Problem, "description": "No key, or a wrong one."},
    413: {"model": Problem, "description": "Too many bytes, texts or characters."},
    429: {"model": Problem, "description": "Too many requests, or too many texts wait. Retry-After says when."},
    500: {"model": Problem, "description": "The model cannot compute the text."},
    503: {"model": Problem, "description": "No answer in time, or the server is warming or draining."},
}


def build_app(
    service: Service, config: ServeConfig, *, keys: KeyRing | None = None, admin: KeyRing | None = None
) -> FastAPI:
    """The application.

    Args:
        service: loaded.
        config: limits.
        keys: who may ask; None or empty: everybody.
        admin: the key of the admin routes; None or empty: they are shut.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    # FastAPI's documentation pages fetch their scripts from another host.
    app = FastAPI(title="Text classification", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    keys, admin = keys or KeyRing({}), admin or KeyRing({})
    app.add_middleware(Guard, config=config, keys=keys, admin=admin, metrics=service.metrics, state=service.state)
    server_errors.install(app, service.metrics.refused)
    _add_predict(app, service, config)
    _add_operations(app, service)
    app.include_router(admin_api.router(service))
    app.openapi = lambda: _described(app, has_keys=bool(len(keys)))
    return app


def _add_predict(app: FastAPI, service: Service, config: ServeConfig) -> None:
    # The body is read by hand: pydantic takes bytes, which spares the way through Python objects, and every fault has
    # its own words.
    body = {"schema": PredictRequest.model_json_schema(), "examples": PREDICT_EXAMPLES}

    @app.post(
        "/v1/predict",
        summary="Label one text or several",
        response_class=Response,
        responses={200: {"model": PredictResponse}, **_REFUSALS},
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": body}}},
    )
    async def predict(request: Request) -> Response:
        asked = read(PredictRequest, await request.body())
        texts = texts_of(asked, config.limits)
        request_id, caller = request.state.request_id, request.state.caller
        jobs: list[Job] = []
        watch = asyncio.create_task(_abandon_when_gone(request, jobs))
        try:
            reply = await service.predict(texts, asked.key or caller, request_id, jobs)
        finally:
            watch.cancel()
        return Response(_as_json(reply, request_id), media_type="application/json")


async def _abandon_when_gone(request: Request, jobs: list[Job]) -> None:
    """Wait for the client to leave, and take its texts out of the queue: nobody would read the answer."""
    with suppress(server_errors.ApiError):
        while (await request.receive())["type"] != "http.disconnect":
            continue
        for job in jobs:
            job.abandon()


def _as_json(reply: Reply, request_id: str) -> bytes:
    labels = reply.version.labels
    predictions = []
    for one in reply.predictions:
        rounded = [round(value, DIGITS) for value in one.probabilities]
        predictions.append(
            {
                "label": one.label,
                "probability": max(rounded),
                "probabilities": dict(zip(labels, rounded, strict=True)),
                "n_tokens": one.n_tokens,
            }
        )
    whole = {
        "request_id": request_id,
        "version": reply.version.number,
        "model": reply.version.name,
        "predictions": predictions,
    }
    return json.dumps(whole, ensure_ascii=False).encode()


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", summary="Which versions are loaded", responses={401: _REFUSALS[401]})
    async def models() -> dict[str, Any]:
        return service.models()

    @app.get("/healthz", summary="Does the process live?")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Are requests answered?", responses={503: {"description": "warming or draining"}})
    async def readyz() -> JSONResponse:
        name = service.state.name
        return JSONResponse({"status": name}, status_code=200 if name == "ready" else 503)

    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _described(app: FastAPI, *, has_keys: bool) -> dict[str, Any]:
    """OpenAPI's description, made once, with the keys that the guard asks for."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        bearer = {"type": "http", "scheme": "bearer"}
        schema.setdefault("components", {})["securitySchemes"] = {"key": bearer, "admin": bearer}
        for path, operations in schema["paths"].items():
            needed = [{"admin": []}] if path.startswith("/v1/admin/") else [{"key": []}] if has_keys else []
            for operation in operations.values():
                operation["security"] = [] if path in OPEN_PATHS else needed
        app.openapi_schema = schema
    return app.openapi_schema
