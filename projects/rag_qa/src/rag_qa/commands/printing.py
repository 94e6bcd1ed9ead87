"""What the commands print of answers and passages."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from rag_qa.commands.terminal import columns, wrapped
from rag_qa.generation.highlighting import highlight_terminal
from rag_qa.types import Answer, Chunk, Citation, Retrieved
from rag_qa.wording import has_pages

_DIM, _BOLD, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"
_SHOWN = 240
"""Characters of a passage in a list."""


def harmless(text: str) -> str:
    """The text without control characters, by which a document could steer the terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def bold(text: str) -> str:
    """In bold on a terminal."""
    return f"{_BOLD}{text}{_PLAIN}" if sys.stdout.isatty() else text


def dim(text: str) -> str:
    """Less bright on a terminal."""
    return f"{_DIM}{text}{_PLAIN}" if sys.stdout.isatty() else text


def print_json(value: Any) -> None:
    """One line of JSON."""
    print(json.dumps(value, ensure_ascii=False))


def answer_record(answer: Answer) -> dict[str, Any]:
    """An answer with its citations and the passages that it was read from, for JSON."""
    return asdict(answer)


def print_answer(answer: Answer) -> None:
    """The answer, the number of its citation behind each statement, then the citations in their surroundings."""
    if answer.refused:
        print(wrapped(harmless(answer.text), limit=columns()))
        print_confidence(answer)
        print_nearest(answer.retrieved)
        return
    numbered = print_statements(answer)
    if answer.span:
        print(wrapped(bold(harmless(answer.span)), first="in short: ", limit=columns()))
    print_confidence(answer)
    print()
    by_chunk = {item.chunk.id: item for item in answer.retrieved}
    for number, citation in enumerate(numbered, start=1):
        item = by_chunk[citation.chunk_id]
        shown = highlight_terminal(item, citation, colour=sys.stdout.isatty())
        print_citation(number, citation, shown, item.chunk)


def print_statements(answer: Answer) -> list[Citation]:
    """The sentences with the numbers of their citations; returns these citations in order."""
    numbered = list(dict.fromkeys(citation for one in answer.statements for citation in one.citations))
    for statement in answer.statements:
        marks = "".join(f"[{numbered.index(citation) + 1}]" for citation in statement.citations)
        text = harmless(statement.text) + (f" {marks}" if marks else "  (not supported by the documents)")
        print(wrapped(text, limit=columns()))
    return numbered


def print_confidence(answer: Answer) -> None:
    """How sure the answer is."""
    print(dim(f"(probability that the documents hold the answer: {answer.confidence:.2f})"))


def print_citation(number: int, citation: Citation, shown: str, chunk: Chunk | None) -> None:
    """Where a quote stands, and what it is."""
    mark = f"[{number}] "
    print(wrapped(place(citation, chunk), " " * len(mark), mark, columns()))
    print(wrapped(shown, "    ", limit=columns()))


def place(citation: Citation, chunk: Chunk | None = None) -> str:
    """Document, page or section, and characters of a citation."""
    headings = () if chunk is None else chunk.headings
    where = located(citation.source, citation.page, headings)
    return f"{where}, characters {citation.start}-{citation.end}"


def located(source: str, page: int, headings: Iterable[str] = ()) -> str:
    """A document with the page, where it has pages to open, and the sections of a passage."""
    pages = f", page {page}" if has_pages(source) else ""
    sections = " > ".join(harmless(heading) for heading in headings)
    return bold(harmless(source)) + pages + (f" | {sections}" if sections else "")


def print_nearest(retrieved: Iterable[Retrieved]) -> None:
    """Where a reader may look further after a refusal."""
    sources = list(dict.fromkeys(item.chunk.source for item in retrieved))
    if sources:
        print(wrapped(", ".join(map(harmless, sources)), first="nearest documents: ", limit=columns()))


def print_passages(retrieved: Iterable[Retrieved]) -> None:
    """Each passage with its rank and score in every stage that found it."""
    for rank, item in enumerate(retrieved, start=1):
        chunk, mark = item.chunk, f"{rank}. "
        indent = " " * len(mark)
        print(wrapped(located(chunk.source, chunk.page, chunk.headings), indent, mark, columns()))
        print(indent + dim(stages_line(item.ranks, item.scores)))
        print(wrapped(beginning(harmless(chunk.text), _SHOWN), indent, limit=columns()) + "\n")


def beginning(text: str, characters: int) -> str:
    """The beginning of a text on one line, up to a blank where there is one; an ellipsis where more follows."""
    line = " ".join(text.split())
    if len(line) <= characters:
        return line
    cut = line[:characters]
    return (cut[: cut.rindex(" ")] if " " in cut[characters // 2 :] else cut) + "…"


def stages_line(ranks: Mapping[str, int], scores: Mapping[str, float]) -> str:
    """Rank and score in each stage."""
    return ", ".join(f"{stage} #{ranks[stage]} ({scores[stage]:.3f})" for stage in ranks)
