"""The agent's tools: search, read a page, calculate. Each sees what the user may see, and nothing else."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rag_qa.config.agent import AgentConfig
from rag_qa.generation import prompts
from rag_qa.generation.calculator import calculate
from rag_qa.generation.injection_defence import spotlight
from rag_qa.protocols import Condition, Where
from rag_qa.types import Chunk, Document, Retrieved, User
from roadmap_shared.errors import UserError

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_COUNTING = frozenset(map(float, range(13))) | {float(10**n) for n in range(2, 10)}
"""Numbers that a calculation may hold without a source: counts, dozens, and powers of ten for percent and units."""


class Listed(Protocol):
    """Of `DocumentInfo`, what permissions need."""

    @property
    def source(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...


class ReadableIndex(Protocol):
    """Of `Index`, what the tools need."""

    def documents(self) -> Sequence[Listed]: ...
    def document(self, source: str) -> Document: ...


class Searching(Protocol):
    """Of `Assistant`, what the tools need."""

    @property
    def index(self) -> ReadableIndex: ...
    def search(
        self, question: str, *, user: User | None = None, where: Where = (), k: int | None = None
    ) -> list[Retrieved]:
        """Passages that the user may see."""
        ...


def _function(name: str, description: str, required: Sequence[str], **properties: Mapping[str, str]) -> dict[str, Any]:
    parameters = {
        "type": "object", "properties": dict(properties), "required": list(required), "additionalProperties": False,
    }  # fmt: skip
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS: tuple[dict[str, Any], ...] = (
    _function(
        "search", "Find passages of the documents. Ask for one fact at a time.", ["query"],
        query={"type": "string", "description": "What to look for, in a few words or a question."},
        source={"type": "string", "description": "Search this document alone, named as in earlier results."},
    ),
    _function(
        "read_page", "Read a whole page of a document that a search has named.", ["source", "page"],
        source={"type": "string", "description": "The document, named as in earlier results."},
        page={"type": "integer", "description": "Number of the page, from 1."},
    ),
    _function(
        "calculator", "Work out an arithmetic expression.", ["expression"],
        expression={"type": "string", "description": "Such as (1990 - 1946) * 2."},
    ),
)  # fmt: skip
"""JSON schemas in OpenAI's format."""


@dataclass
class Toolbox:
    """The tools for one question of one user, and the passages that they have brought so far."""

    assistant: Searching
    user: User
    config: AgentConfig
    question: str
    token: str
    """Of the delimiters around passages."""

    evidence: list[Retrieved] = field(default_factory=list)
    """Numbered from 1 in this order, for the model's marks."""

    derived: set[str] = field(default_factory=set)
    """Results of calculations whose numbers all stand in the question, in the evidence, or in earlier results."""

    def call(self, name: str, arguments: str) -> str:
        """Carry out a call; returns what the model is told.

        Raises:
            UserError: there is no such tool, or the arguments do not fit; one line for the model.
        """
        tools: dict[str, tuple[Callable[..., str], Mapping[str, type], Sequence[str]]] = {
            "search": (self.search, {"query": str, "source": str}, ["query"]),
            "read_page": (self.read_page, {"source": str, "page": int}, ["source", "page"]),
            "calculator": (self.calculator, {"expression": str}, ["expression"]),
        }
        if name not in tools:
            raise UserError(f"there is no tool {name[:60]!r}; there are {', '.join(tools)}")
        tool, types, required = tools[name]
        return tool(**_checked(name, arguments, types, required))

    def search(self, query: str, source: str | None = None) -> str:
        """Passages for a query, numbered."""
        where: Where = ()
        if source is not None:
            self._visible(source)
            where = (Condition(field="source", any_of=(source,)),)
        found = self.assistant.search(query, user=self.user, where=where, k=self.config.passages)
        if not found:
            return "Nothing was found."
        return self._told([self._numbered(item) for item in found])

    def read_page(self, source: str, page: int) -> str:
        """The text of a page, numbered as one passage."""
        self._visible(source)
        document = self.assistant.index.document(source)
        place = next((known for known in document.pages if known.number == page), None)
        if place is None:
            raise UserError(f"{source} has no page {page}: there are {len(document.pages)}")
        end = min(place.end, place.start + self.config.max_page_characters)
        text = document.text[place.start : end]
        if not text.strip():
            return f"Page {page} of {source} holds no text."
        chunk = Chunk(source=source, start=place.start, end=end, text=text, page=page)
        return self._told([self._numbered(Retrieved(chunk=chunk, score=0.0))])

    def calculator(self, expression: str) -> str:
        """The value of an expression."""
        result = calculate(expression)
        known = {_plain_number(number) for number in _NUMBER.findall(self._known_text())} | _COUNTING
        known |= {float(number) for number in self.derived}
        if all(float(operand) in known for operand in result.operands):
            self.derived.add(result.text)
        return result.text

    def _visible(self, source: str) -> None:
        """One message for what is not there and what the user may not see: a tool must not tell them apart."""
        for listed in self.assistant.index.documents():
            if listed.source == source and not set(listed.groups).isdisjoint(self.user.visible_groups):
                return
        raise UserError(f"there is no document {source[:120]!r}: use the names that a search gives")

    def _numbered(self, item: Retrieved) -> int:
        """The passage's number; one that came before keeps its own."""
        place = (item.chunk.source, item.chunk.start, item.chunk.end)
        for number, known in enumerate(self.evidence, 1):
            if (known.chunk.source, known.chunk.start, known.chunk.end) == place:
                return number
        self.evidence.append(item)
        return len(self.evidence)

    def _told(self, numbers: Sequence[int]) -> str:
        items = [self.evidence[number - 1] for number in numbers]
        lit = spotlight([item.chunk.text for item in items], self.config.injection_defence, self.token)
        return "\n\n".join(
            prompts.passage_prompt(number, item.chunk.source, item.chunk.page, text)
            for number, item, text in zip(numbers, items, lit.passages, strict=True)
        )

    def _known_text(self) -> str:
        return "\n".join([self.question, *(item.chunk.text for item in self.evidence)])


def _checked(name: str, arguments: str, types: Mapping[str, type], required: Sequence[str]) -> dict[str, Any]:
    try:
        given = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        raise UserError(f"the arguments of {name} are no JSON") from None
    if not isinstance(given, dict):
        raise UserError(f"the arguments of {name} must be a JSON object")
    given = {key: value for key, value in given.items() if value is not None}
    for key in required:
        if key not in given:
            raise UserError(f"{name} needs {key!r}")
    for key, value in given.items():
        if key not in types:
            raise UserError(f"{name} knows no {key!r}; there are {', '.join(types)}")
        if type(value) is not types[key]:
            kind = "a whole number" if types[key] is int else "text"
            raise UserError(f"{key!r} of {name} must be {kind}")
    return given


def _plain_number(written: str) -> float:
    """1,234 and 1.234,5 are not told apart from decimals with certainty: a comma before three digits groups."""
    try:
        return float(re.sub(r",(?=\d{3}(?:\D|$))", "", written).replace(",", "."))
    except ValueError:
        return float("nan")
