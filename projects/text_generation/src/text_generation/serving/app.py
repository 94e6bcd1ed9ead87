"""The application: API, WebSocket, page, health and metrics, behind one guard."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from text_generation.config.serving import ServingConfig
from text_generation.serving import errors, openai_api, websocket
from text_generation.serving.engine import Engine
from text_generation.serving.guard import Guard
from text_generation.serving.service import Service


def create_app(engine: Engine, config: ServingConfig, key: str | None = None) -> FastAPI:
    """Serve a model. The engine is closed when the server shuts down.

    Args:
        engine: the model.
        config: limits.
        key: what clients must send, or None.
    """
    service = Service(engine, config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    # FastAPI's documentation pages fetch their scripts from another host.
    app = FastAPI(title="Text generation", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.add_middleware(Guard, config=config, key=key, metrics=service.metrics, rate=service.rate)
    errors.install(app)
    app.include_router(openai_api.router(service))
    app.include_router(websocket.router(service, key))
    page, policy = chat_page()

    @app.get("/", include_in_schema=False)
    async def chat() -> HTMLResponse:
        headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        return HTMLResponse(page, headers=headers)

    @app.get("/healthz", summary="Is it up?")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok", "model": engine.name}

    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return app


def chat_page() -> tuple[str, str]:
    """The page, and a policy that lets its own script and style run and nothing else, should markup slip in."""
    page = (files("text_generation.serving") / "chat.html").read_text(encoding="utf-8")
    script, style = (_hashes(page, tag) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hashes(page: str, tag: str) -> str:
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents]
    return " ".join(f"'sha256-{digest}'" for digest in digests)
