"""Routes: /ask, /search, /feedback, /conversations."""

import asyncio
import functools
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from rag_qa.app.analytics import Analytics
from rag_qa.app.asking import Asking
from rag_qa.app.conversations import Conversations
from rag_qa.app.errors import ApiError
from rag_qa.app.keys import Caller
from rag_qa.app.schemas import AskRequest, FeedbackRequest, SearchRequest
from rag_qa.app.streaming import EventStream
from rag_qa.app.workers import Workers


def caller_of(request: Request) -> Caller:
    """Who sends the request, as the guard found out."""
    return request.state.caller


def router(
    asking: Asking, workers: Workers, analytics: Analytics, conversations: Conversations, most_characters: int
) -> APIRouter:
    """The routes of those who ask."""
    api = APIRouter()

    @api.post("/ask", summary="An answer with citations; with `stream`, as server-sent events")
    async def ask(body: AskRequest, request: Request) -> Response:
        caller, now = caller_of(request), time.perf_counter()
        job = functools.partial(asking.ask, caller, body, asked_at=now)
        if not body.stream:
            return JSONResponse(await workers.run(job))
        stream = EventStream(workers, lambda tell, abandoned: job(tell=tell, abandoned=abandoned))
        first = await stream.first()
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(stream.texts(first), media_type="text/event-stream", headers=headers)

    @api.post("/search", summary="Passages with their ranks and scores in every stage")
    async def search(body: SearchRequest, request: Request) -> dict[str, Any]:
        return await workers.run(asking.search, caller_of(request), body)

    @api.post("/feedback", summary="Was an answer useful?")
    async def feedback(body: FeedbackRequest, request: Request) -> dict[str, str]:
        if len(body.comment) > most_characters:
            raise ApiError(400, f"the comment has more than {most_characters:,} characters: write a shorter one")
        user = caller_of(request).user.name
        kept = await asyncio.to_thread(analytics.feedback, body.answer_id, user, body.useful, body.comment.strip())
        if not kept:
            raise ApiError(404, "no such answer of yours is known")
        return {"status": "kept"}

    @api.delete("/conversations/{identity}", summary="Forget a conversation", status_code=204)
    async def forget(identity: str, request: Request) -> Response:
        conversations.end(caller_of(request).user.name, identity)
        return Response(status_code=204)

    return api
