"""Routes of those who run the server: promotion, rollback, traffic, and the comparison of the two versions."""

import asyncio
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request

from model_optimization.deployment.server_schemas import (
    NoSettings,
    Problem,
    PromoteRequest,
    TrafficRequest,
    read,
)
from model_optimization.deployment.service import Service

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem},
    403: {"model": Problem, "description": "Not the admin's key."},
    409: {"model": Problem, "description": "No such version, or it cannot be loaded: nothing has changed."},
}


def router(service: Service) -> APIRouter:
    """The routes below /v1/admin."""
    api = APIRouter(prefix="/v1/admin", responses=_REFUSALS)

    @api.post("/promote", summary="Make a version the champion", openapi_extra=_body(PromoteRequest))
    async def promote(request: Request) -> dict[str, Any]:
        """It is loaded and warm before it takes over. By default it is the challenger."""
        asked = read(PromoteRequest, await request.body())
        await asyncio.to_thread(service.versions.promote, asked.version)
        return service.models()

    @api.post("/rollback", summary="Back to the champion before", openapi_extra=_body(NoSettings))
    async def rollback(request: Request) -> dict[str, Any]:
        """As promotion, of the version that was the champion before the present one."""
        read(NoSettings, await request.body())
        await asyncio.to_thread(service.versions.rollback)
        return service.models()

    @api.post("/traffic", summary="What the challenger is asked", openapi_extra=_body(TrafficRequest))
    async def traffic(request: Request) -> dict[str, Any]:
        """The challenger is kept in the registry; share and shadow are forgotten when the server ends."""
        asked = read(TrafficRequest, await request.body())
        if asked.challenger is not None:
            await asyncio.to_thread(service.versions.challenge, asked.challenger or None)
        changed = {name: value for name in ("share", "shadow") if (value := getattr(asked, name)) is not None}
        service.traffic = replace(service.traffic, **changed)
        return service.models()

    @api.get("/comparison", summary="Champion and challenger beside each other")
    async def comparison() -> dict[str, Any]:
        """Requests, failures, latency and agreement since each was loaded, with 95 % intervals."""
        return service.comparison()

    return api


def _body(model: type) -> dict[str, Any]:
    schema = model.model_json_schema()
    return {"requestBody": {"required": False, "content": {"application/json": {"schema": schema}}}}
