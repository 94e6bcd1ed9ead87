"""What a client may send, field by field, as in OpenAI's API of chat completions and completions.

Types are strict: "5" is no number. A field that is not listed here is refused, as OpenAI refuses it, so that a misspelt
`max_token` does not pass for obedience. Some listed fields are accepted at their neutral value alone (`NEUTRAL`): they
ask for something that this server has not. Others concern OpenAI's own accounting and are accepted without effect.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from text_generation.config.decoding import LEAST_DIVISOR, DecodingConfig

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none"),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "reasoning_effort": (None, "none"),
    "verbosity": (None,),
    "web_search_options": (None,),
    "echo": (None, False),
    "suffix": (None, ""),
    "best_of": (None, 1),
}
"""Fields with the values that change nothing. Any other value is refused."""


def _whole_characters(text: str) -> str:
    """Refuse half of a surrogate pair, which JSON can hold and neither a tokenizer nor UTF-8 can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("string_unicode", "must be a valid string") from None
    return text


Text = Annotated[str, AfterValidator(_whole_characters)]


class Strict(BaseModel):
    """Strict types, no unknown fields, no NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class StreamOptions(Strict):
    """What a stream tells besides the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TextPart(Strict):
    """A part of a message. Images, audio and files are refused."""

    type: Literal["text"]
    text: Text


class ChatMessage(Strict):
    """One turn. An assistant's turn may be sent back as it came, with its empty fields."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart] | None
    name: str | None = None
    refusal: None = None
    annotations: list[Any] | None = Field(None, max_length=0)
    audio: None = None
    function_call: None = None
    tool_calls: list[Any] | None = Field(None, max_length=0)

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class JsonSchemaFormat(Strict):
    """A JSON Schema. It is always enforced: `strict` changes nothing."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Strict):
    """The form of an answer: OpenAI's structured outputs."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise PydanticCustomError("form", "must have 'json_schema' with type json_schema, and only then")
        return self

    @property
    def schema_text(self) -> str | None:
        """The schema as JSON; None for a free answer."""
        if self.json_schema is not None:
            return json.dumps(self.json_schema.schema_)
        return '{"type": "object"}' if self.type == "json_object" else None


NonEmpty = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_whole_characters)]


class GenerationRequest(Strict):
    """What both kinds of requests have."""

    model: Text
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: NonEmpty | Annotated[list[NonEmpty], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    # Beyond OpenAI's, as in vLLM: the client sends them as extra_body.
    top_k: int | None = Field(None, ge=1)
    min_p: float | None = Field(None, ge=0, lt=1)
    repetition_penalty: float | None = Field(None, ge=0.01, le=100)

    # Without effect.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    parallel_tool_calls: bool | None = None

    # At their neutral value alone.
    logprobs: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    logit_bias: Any = None

    def refused_field(self) -> str | None:
        """Name of a field that asks for something this server has not."""
        for name in type(self).model_fields:
            if name in NEUTRAL and not any(_same(getattr(self, name), value) for value in NEUTRAL[name]):
                return name
        return None

    @property
    def wanted_schema(self) -> str | None:
        """JSON Schema of the answer, as JSON, where it is to fit one."""
        return None

    def decoding(self, max_new_tokens: int) -> DecodingConfig:
        """The settings of the answer. Temperature 0 and top_p 0 mean greedy."""
        temperature = 1.0 if self.temperature is None else self.temperature
        top_p = 1.0 if self.top_p is None else self.top_p
        # The limit of ever lower temperatures is the most probable token.
        greedy = temperature < LEAST_DIVISOR or top_p == 0
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return DecodingConfig(
            strategy="greedy" if greedy else "sampling",
            max_new_tokens=max_new_tokens,
            temperature=1.0 if greedy else temperature,
            top_p=1.0 if greedy else top_p,
            top_k=self.top_k,
            min_p=self.min_p or 0.0,
            repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            stop=tuple(stop),
            json_schema=self.wanted_schema,
        )


class ChatRequest(GenerationRequest):
    """Body of `/v1/chat/completions`, and `request` of `/ws/chat`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    response_format: ResponseFormat | None = None

    top_logprobs: Any = None
    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    modalities: Any = None
    audio: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    web_search_options: Any = None

    @property
    def wanted_schema(self) -> str | None:
        """That of `response_format`."""
        return None if self.response_format is None else self.response_format.schema_text


class CompletionRequest(GenerationRequest):
    """Body of `/v1/completions`. Prompts are texts; token ids are refused."""

    prompt: Text | Annotated[list[Text], Field(min_length=1)]

    echo: Any = None
    suffix: Any = None
    best_of: Any = None


def _same(value: Any, neutral: Any) -> bool:
    """Equal and of like type: in Python True == 1."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)
