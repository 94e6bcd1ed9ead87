"""Rating on a web page. The server reads the study and never its key: it does not know who wrote what."""

import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from roadmap_shared.errors import UserError
from text_generation.evaluation.rating.study import Item
from text_generation.evaluation.rating.votes import (
    LONGEST_NAME,
    AlreadyVotedError,
    Choice,
    VoteBook,
    rater_name,
)

LARGEST_BODY = 4_000
"""Bytes of a vote; the page sends about 100."""

_PAGE = files("text_generation.evaluation.rating") / "page.html"
_LONGEST_TYPED = 4 * LONGEST_NAME


class NewVote(BaseModel):
    """What the page sends."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rater: str = Field(max_length=_LONGEST_TYPED)
    item: str = Field(max_length=_LONGEST_TYPED)
    choice: Choice
    seconds: float | None = Field(default=None, ge=0, le=1e6)
    replaces: bool = False


class View(BaseModel):
    """What the page shows a rater."""

    rater: str
    question: str
    style: str
    done: int
    total: int
    item: str | None
    """None: all items have a vote."""

    prompt: str = ""
    a: str = ""
    b: str = ""
    before: str | None
    """The item that was voted on last, to go back to."""


def create_rating_app(book: VoteBook) -> FastAPI:
    """The page at `/`, and what it asks: `GET /api/item` and `POST /api/vote`. Errors are {"detail": "one line"}.

    Votes are taken one after the other, since the handlers run in the event loop and writing one takes milliseconds.
    """
    app = FastAPI(title="Rating", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.middleware("http")(_short_body)

    @app.get("/", response_class=HTMLResponse)
    async def page() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'"
        headers = {
            "Content-Security-Policy": f"{policy}; img-src data:; base-uri 'none'; frame-ancestors 'none'",
            "Cache-Control": "no-store",
        }
        return HTMLResponse(_PAGE.read_text("utf-8").replace("NONCE", nonce), headers=headers)

    @app.get("/api/item")
    async def item(
        rater: Annotated[str, Query(max_length=_LONGEST_TYPED)],
        item: Annotated[str | None, Query(max_length=_LONGEST_TYPED)] = None,
    ) -> View:
        """The rater's next item, or the one that is named, to go back to it."""
        name = _rater(rater)
        return view(book, name, book.next_item(name) if item is None else _item(book, item))

    @app.post("/api/vote")
    async def vote(new: NewVote) -> View:
        """Save a vote; the answer is the next item."""
        name, voted = _rater(new.rater), _item(book, new.item)
        try:
            book.vote(name, voted, new.choice, seconds=new.seconds, replaces=new.replaces)
        except AlreadyVotedError:
            raise HTTPException(409, f"{name} has voted on this item already, perhaps in another window") from None
        except UserError as error:
            raise HTTPException(507, str(error)) from error
        return view(book, name, book.next_item(name), before=voted.item)

    return app


def view(book: VoteBook, rater: str, item: Item | None, before: str | None = None) -> View:
    """What a rater is shown; `before` is the item to go back to, by default the one that was voted on last."""
    done = book.of(rater)
    if before is None and done:
        before = next(reversed(done))
    a, b = book.shown(item, rater) if item else ("", "")
    return View(
        rater=rater,
        question=book.study.question,
        style=book.study.style,
        done=len(done),
        total=len(book.study.items),
        item=item.item if item else None,
        prompt=item.prompt if item else "",
        a=a,
        b=b,
        before=before,
    )


def _rater(given: str) -> str:
    try:
        return rater_name(given)
    except UserError as error:
        raise HTTPException(422, str(error).removesuffix(": give one with --rater NAME")) from error


def _item(book: VoteBook, name: str) -> Item:
    item = book.item(name)
    if item is None:
        raise HTTPException(404, "the study has no such item")
    return item


async def _short_body(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse a body that is long, or does not say how long it is, before it is read."""
    declared = request.headers.get("content-length", "")
    if request.method == "POST" and not (declared.isdigit() and int(declared) <= LARGEST_BODY):
        refusal = {"detail": f"a vote has at most {LARGEST_BODY} bytes, and says how many"}
        return JSONResponse(refusal, status_code=413, headers={"connection": "close"})
    return await answer(request)


async def _refuse_invalid(request: Request, error: Exception) -> JSONResponse:
    """The first problem in one line, and nothing of what was sent."""
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        return JSONResponse({"detail": "the body: broken JSON"}, status_code=422)
    place = ".".join(str(part) for part in first["loc"][1:]) or "the body"
    return JSONResponse({"detail": f"{place[:60]}: {first['msg']}"}, status_code=422)
