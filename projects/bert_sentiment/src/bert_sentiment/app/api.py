"""The API for programs: `POST /predict`, `GET /labels`, `GET /health`; its description is at /openapi.json."""

from collections.abc import Sequence
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from bert_sentiment.app.body_limit import BodyLimit
from bert_sentiment.app.schemas import (
    Health,
    Labels,
    PredictRequest,
    PredictResponse,
    Problem,
    TextPrediction,
    WordScore,
)
from bert_sentiment.app.shared import Limits, SharedPredictor
from bert_sentiment.inference.predictor import UNSURE, Prediction
from roadmap_shared.errors import UserError, did_you_mean, one_line

DIGITS = 6
PROBLEMS_SHOWN = 3


def create_app(predictor: SharedPredictor, limits: Limits, batch_size: int = 32) -> FastAPI:
    """The API of one model. Every error is `{"detail": "one line"}`."""
    app = FastAPI(
        title="Sentiment",
        summary="Labels for texts, with calibrated probabilities and the words that speak for them.",
        description=f"Model: {predictor.name}. A request holds at most {limits.max_texts:,} texts of at most "
        f"{limits.max_characters:,} characters, and with `explain` at most {limits.max_explained:,} texts.",
        # FastAPI's documentation pages fetch their scripts from another host.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, path="/predict", max_bytes=limits.max_body_bytes)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(Exception, _hide_bug)
    # Requests wait here in the event loop, and not with a thread each before the predictor's lock.
    one_at_a_time = CapacityLimiter(1)

    @app.post(
        "/predict",
        summary="Label texts",
        responses={413: {"model": Problem}, 422: {"model": Problem}, 503: {"model": Problem}},
    )
    async def predict(request: PredictRequest) -> PredictResponse:
        """The label of each text with its probabilities, in the order of the request. All texts or none are labelled:
        one that is empty or too long refuses the request, and the message names it."""
        return await to_thread.run_sync(answer, request, predictor, limits, batch_size, limiter=one_at_a_time)

    @app.get("/health", summary="Is it up?")
    async def health() -> Health:
        """Answers at once, also while the model is at work."""
        return Health(status="ok", model=predictor.name)

    @app.get("/labels", summary="What can it say?")
    async def labels() -> Labels:
        """The labels of the model and the server's threshold."""
        return Labels(labels=list(predictor.labels), unsure_below=predictor.unsure_below)

    return app


def answer(request: PredictRequest, predictor: SharedPredictor, limits: Limits, batch_size: int) -> PredictResponse:
    """Check the texts and label them.

    Raises:
        HTTPException: 422 for a request beyond the limits or a text that cannot be labelled, 503 where the model fails
            for want of memory, say.
    """
    if problem := _too_much(request, predictor, limits):
        raise HTTPException(422, problem)
    try:
        predictions = predictor.predict(request.texts, batch_size)
        words = [
            [WordScore(text=w.text, start=w.start, end=w.end, score=_rounded(w.score)) for w in attribution.words]
            for attribution in (
                predictor.explain(text, prediction.best)
                for text, prediction in zip(request.texts, predictions, strict=True)
                if request.explain
            )
        ]
    except UserError as error:
        raise HTTPException(503, one_line(error)) from error
    scored = words if request.explain else [None] * len(predictions)
    return PredictResponse(predictions=[_as_json(*pair) for pair in zip(predictions, scored, strict=True)])


def _too_much(request: PredictRequest, predictor: SharedPredictor, limits: Limits) -> str | None:
    texts = request.texts
    if not texts:
        return "texts is empty: send at least one text"
    if len(texts) > limits.max_texts:
        return f"texts has {len(texts):,} items; at most {limits.max_texts:,} are taken at a time"
    if request.explain and len(texts) > limits.max_explained:
        return f"texts has {len(texts):,} items; with explain at most {limits.max_explained:,} are taken at a time"
    problems = [(index, predictor.problem(text, limits.max_characters)) for index, text in enumerate(texts)]
    return _joined([f"texts[{index}] {problem}" for index, problem in problems if problem]) or None


def _as_json(prediction: Prediction, words: list[WordScore] | None) -> TextPrediction:
    return TextPrediction(
        label=prediction.best,
        unsure=prediction.label == UNSURE and prediction.best != UNSURE,
        probability=round(prediction.probability, DIGITS),
        probabilities={label: round(value, DIGITS) for label, value in prediction.probabilities.items()},
        words=words,
    )


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, DIGITS)


async def _refuse_invalid(request: Request, error: Exception) -> JSONResponse:
    """422 without FastAPI's echo of the input: NaN, or half of a surrogate pair, is none that JSON could give back."""
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": _joined([_problem(item) for item in error.errors()])}, status_code=422)


async def _hide_bug(request: Request, error: Exception) -> JSONResponse:
    """500 for a bug: the traceback is for the server's log."""
    return JSONResponse({"detail": "internal error; the server's log says more"}, status_code=500)


def _problem(error: dict[str, Any]) -> str:
    """One validation error in plain words: where and what."""
    place = _place(error["loc"][1:])
    match error["type"]:
        case "json_invalid":
            return f"the body is no JSON: {error['ctx']['error']} (character {error['loc'][-1]})"
        case "missing" if place:
            return f"{place} is missing"
        case "extra_forbidden":
            return f"unknown field '{place}'. {did_you_mean(place, PredictRequest.model_fields)}".strip()
        case "list_type":
            return f"{place} must be a list of strings"
        case "string_type":
            return f"{place} must be a string"
        case "string_unicode":
            return f"{place or 'a name in the body'} holds a broken character (half of a surrogate pair)"
        case "bool_type":
            return f"{place} must be true or false"
    return 'the body must be a JSON object such as {"texts": ["I liked it"]}, sent as Content-Type: application/json'


def _place(path: Sequence[str | int]) -> str:
    """`texts[3]`; a name that the client made up is cut short, and fit to be sent back."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    return one_line(place.encode("utf-8", "replace").decode())[:60]


def _joined(problems: Sequence[str]) -> str:
    shown = "; ".join(problems[:PROBLEMS_SHOWN])
    return shown if len(problems) <= PROBLEMS_SHOWN else f"{shown}; and {len(problems) - PROBLEMS_SHOWN} more"
