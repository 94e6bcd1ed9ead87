"""Routes: /health, /metrics, /analytics, and the page."""

import asyncio
import base64
import hashlib
import re
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from rag_qa.app.analytics import Analytics
from rag_qa.app.asking_api import caller_of
from rag_qa.app.errors import ApiError
from rag_qa.app.metrics import ServerMetrics


def router(analytics: Analytics, metrics: ServerMetrics) -> APIRouter:
    """The routes of those who run the server."""
    api = APIRouter()
    page, policy = ask_page()

    @api.get("/", include_in_schema=False)
    async def ask() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": policy, "cache-control": "no-cache"})

    @api.get("/health", summary="Is it up?")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/metrics", summary="Figures for Prometheus; admins only", response_class=Response)
    async def figures(request: Request) -> Response:
        _only_admins(request)
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @api.get("/analytics", summary="What is asked, and what stays without an answer; admins only")
    async def usage(request: Request, days: int = Query(30, ge=1, le=3650)) -> dict[str, Any]:
        _only_admins(request)
        return asdict(await asyncio.to_thread(analytics.summary, days))

    return api


def _only_admins(request: Request) -> None:
    # Counts tell of documents and people whom the caller may not know of.
    if not caller_of(request).admin:
        raise ApiError(403, "admins only")


def ask_page() -> tuple[str, str]:
    """The page, and a policy that lets its own script and style run and nothing else, should markup slip in."""
    page = (files("rag_qa.app") / "page.html").read_text(encoding="utf-8")
    script, style = (_hashes(page, tag) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hashes(page: str, tag: str) -> str:
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents]
    return " ".join(f"'sha256-{digest}'" for digest in digests)
