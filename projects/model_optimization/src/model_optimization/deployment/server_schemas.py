"""What the API takes and gives, with an example of each, and the reading of a body, whose faults are named."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_optimization.config.serving import LimitsConfig
from model_optimization.deployment.server_errors import ApiError
from roadmap_shared.errors import did_you_mean, one_line

_STRICT = ConfigDict(strict=True, extra="forbid")
_MOST_KEY = 200


class PredictRequest(BaseModel):
    """One text, or several, to label."""

    model_config = _STRICT

    text: str | None = Field(default=None, description="One text. Give it or `texts`.")
    texts: list[str] | None = Field(default=None, description="Several texts: all are labelled, or none.")
    key: str | None = Field(
        default=None,
        max_length=_MOST_KEY,
        description="While two versions are compared, equal keys are answered by the same one, such as a user's id. "
        "Without it, the API key or the address counts.",
    )


PREDICT_EXAMPLES = {
    "one": {"summary": "One text", "value": {"text": "A film to see twice."}},
    "several": {
        "summary": "Several texts of one user",
        "value": {"texts": ["A film to see twice.", "Never again."], "key": "user-17"},
    },
}


class TextPrediction(BaseModel):
    """What the model says about one text."""

    label: str = Field(description="The most probable label.", examples=["positive"])
    probability: float = Field(description="Of the label.", examples=[0.93])
    probabilities: dict[str, float] = Field(
        description="Of every label; they add up to 1.", examples=[{"negative": 0.07, "positive": 0.93}]
    )
    n_tokens: int = Field(description="Tokens of the text that the model saw.", examples=[9])


class PredictResponse(BaseModel):
    """One prediction a text, in the order of the request."""

    request_id: str = Field(description="As in X-Request-ID.", examples=["5f0c9a6f8d1e4b27"])
    version: int = Field(description="Of the model that answered.", examples=[3])
    model: str = Field(description="Its name.", examples=["minilm-int8"])
    predictions: list[TextPrediction]


class ErrorBody(BaseModel):
    """Why."""

    code: str = Field(description="For programs.", examples=["empty_text"])
    message: str = Field(description="For people: one line.", examples=["texts[1] is empty"])


class Problem(BaseModel):
    """Every refusal."""

    error: ErrorBody


class PromoteRequest(BaseModel):
    """Which version becomes the champion."""

    model_config = _STRICT

    version: int | None = Field(default=None, ge=1, description="None: the challenger.", examples=[3])


class NoSettings(BaseModel):
    """An empty object."""

    model_config = _STRICT


class TrafficRequest(BaseModel):
    """What the challenger is asked. What is left out stays as it is."""

    model_config = ConfigDict(
        strict=True, extra="forbid", json_schema_extra={"examples": [{"challenger": 3, "share": 0.1}]}
    )

    challenger: int | None = Field(default=None, ge=0, description="Version to compare with the champion; 0: none.")
    share: float | None = Field(default=None, ge=0, le=1, description="Share of the requests that it answers.")
    shadow: bool | None = Field(default=None, description="Whether it computes copies of the others.")


Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], body: bytes) -> Model:
    """A request's body.

    Raises:
        ApiError: 400; it is no UTF-8, no JSON, nested too deeply, or not of this form.
    """
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise _unfit(model, body, error) from None


def texts_of(request: PredictRequest, limits: LimitsConfig) -> list[str]:
    """The texts of a request, checked.

    Raises:
        ApiError: 400, there is none, or one is empty; 413, there are too many, or one is too long.
    """
    if (request.text is None) == (request.texts is None):
        raise ApiError(400, "missing_text", "give either 'text' or 'texts'")
    texts = [request.text] if request.texts is None else request.texts
    if not texts:
        raise ApiError(400, "missing_text", "'texts' is empty: send at least one text")
    if len(texts) > limits.max_texts:
        message = f"'texts' has {len(texts):,} items; at most {limits.max_texts:,} are taken at a time"
        raise ApiError(413, "too_many_texts", message)
    checked = []
    for index, text in enumerate(texts):
        place = "'text'" if request.texts is None else f"texts[{index}]"
        if text is None or not text.strip():
            raise ApiError(400, "empty_text", f"{place} is empty")
        if len(text) > limits.max_characters:
            message = f"{place} has {len(text):,} characters; at most {limits.max_characters:,} are taken"
            raise ApiError(413, "text_too_long", message)
        checked.append(text)
    return checked


def _unfit(model: type[BaseModel], body: bytes, error: ValidationError) -> ApiError:
    """The first fault in plain words, without an echo of values."""
    first = error.errors(include_input=False, include_url=False)[0]
    if first["type"] == "json_invalid":
        return _no_json(body, one_line(first.get("ctx", {}).get("error", "")))
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    place = one_line(place.encode("utf-8", "replace").decode())[:80]
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(place, model.model_fields)
        return ApiError(400, "unknown_field", f"unknown field '{place}'. {hint}".strip())
    if not place:
        return ApiError(400, "invalid_request", "the body must be a JSON object")
    said = first["msg"].replace("Input should", "must").replace("String should", "must")
    said = said.replace("a valid array", "a list").replace("a valid ", "a ")
    return ApiError(400, "invalid_field", f"'{place}' {said[0].lower()}{said[1:]}")


def _no_json(body: bytes, reason: str) -> ApiError:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        return ApiError(400, "invalid_utf8", f"the body is no UTF-8 (byte {error.start:,})")
    if "recursion" in reason:
        return ApiError(400, "too_deep", "the body is nested too deeply")
    return ApiError(400, "invalid_json", f"the body is no JSON: {reason[:120]}")
