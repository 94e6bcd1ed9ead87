"""What clients send and receive, as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rag_qa.types import Answer, Citation, Retrieved

_HIGHLIGHT_CONTEXT = 240


def _is_whole(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds a broken character (half of a surrogate pair)")
    return text


def _is_asked(question: str) -> str:
    if not any(character.isalnum() for character in question):
        raise ValueError("is empty: it needs a letter or a digit")
    return question


Text = Annotated[str, AfterValidator(_is_whole)]
Question = Annotated[Text, AfterValidator(_is_asked)]


class Strict(BaseModel):
    """Refuses fields that it does not know."""

    model_config = ConfigDict(extra="forbid")


class SearchRequest(Strict):
    """POST /search."""

    question: Question
    k: int | None = Field(default=None, ge=1, description="Passages at most; as configured where left out.")
    source: Text | None = Field(default=None, description="Search this document alone.")
    dense_weight: float | None = Field(
        default=None, ge=0, le=1, description="Share of the dense ranking in the fusion, this once; 0 is sparse alone."
    )


class AskRequest(Strict):
    """POST /ask."""

    question: Question
    source: Text | None = Field(default=None, description="Answer from this document alone.")
    conversation_id: Text | None = Field(default=None, max_length=64, description="From an earlier answer, to go on.")
    stream: bool = Field(default=False, description="Send the answer as server-sent events while it is written.")


class FeedbackRequest(Strict):
    """POST /feedback."""

    answer_id: Text = Field(max_length=64)
    useful: bool
    comment: Text = ""


def citation_json(citation: Citation, number: int) -> dict[str, Any]:
    """A citation with its number in the answer. Ids of chunks stay inside: they count what others have added."""
    place = asdict(citation)
    del place["chunk_id"]
    return {"number": number, **place}


def retrieved_json(retrieved: Retrieved) -> dict[str, Any]:
    """A passage with its rank and score in every stage."""
    chunk = retrieved.chunk
    return {
        "source": chunk.source,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "headings": list(chunk.headings),
        "text": chunk.text,
        "score": float(retrieved.score),
        "ranks": {stage: int(rank) for stage, rank in retrieved.ranks.items()},
        "scores": {stage: float(score) for stage, score in retrieved.scores.items()},
    }


def answer_json(answer: Answer, answer_id: str, conversation_id: str, seconds: Mapping[str, float]) -> dict[str, Any]:
    """An answer. Each different citation has one number, in the order in which they come up."""
    numbers: dict[tuple[str, int, int], int] = {}
    cited: list[dict[str, Any]] = []
    statements = []
    for statement in answer.statements:
        own = []
        for citation in statement.citations:
            place = (citation.source, citation.start, citation.end)
            if place not in numbers:
                numbers[place] = len(numbers) + 1
                cited.append({**citation_json(citation, numbers[place]), **_around(citation, answer.retrieved)})
            own.append(numbers[place])
        statements.append({"text": statement.text, "supported": statement.supported, "citations": own})
    return {
        "answer_id": answer_id,
        "conversation_id": conversation_id,
        "question": answer.question,
        "text": answer.text,
        "refused": answer.refused,
        "confidence": float(answer.confidence),
        "span": answer.span,
        "statements": statements,
        "citations": cited,
        "retrieved": [retrieved_json(retrieved) for retrieved in answer.retrieved],
        "generator": answer.generator,
        "seconds": {stage: round(value, 4) for stage, value in seconds.items()},
    }


def _around(citation: Citation, retrieved: Sequence[Retrieved]) -> dict[str, str]:
    """The words of the passage before and after a quote, for a snippet."""
    chunk = next((item.chunk for item in retrieved if item.chunk.id == citation.chunk_id), None)
    if chunk is None or not chunk.start <= citation.start <= citation.end <= chunk.end:
        return {"before": "", "after": ""}
    start, end = citation.start - chunk.start, citation.end - chunk.start
    return {
        "before": chunk.text[max(0, start - _HIGHLIGHT_CONTEXT) : start],
        "after": chunk.text[end : end + _HIGHLIGHT_CONTEXT],
    }
