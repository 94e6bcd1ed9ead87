"""What the commands print of answers and passages."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rag_qa.generation.highlighting import highlight_terminal
from rag_qa.types import Answer, Citation, Retrieved


def harmless(text: str) -> str:
    """The text without control characters, by which a document could steer the terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def print_json(value: Any) -> None:
    """One line of JSON."""
    print(json.dumps(value, ensure_ascii=False))


def answer_record(answer: Answer) -> dict[str, Any]:
    """An answer with its citations and the passages that it was read from, for JSON."""
    return asdict(answer)


def print_answer(answer: Answer) -> None:
    """The answer, the number of its citation behind each statement, then the citations in their surroundings."""
    if answer.refused:
        print(harmless(answer.text))
        print(f"(probability that the documents hold the answer: {answer.confidence:.2f})")
        print_nearest(answer.retrieved)
        return
    numbered = list(dict.fromkeys(citation for one in answer.statements for citation in one.citations))
    for statement in answer.statements:
        marks = "".join(f"[{numbered.index(citation) + 1}]" for citation in statement.citations)
        print(harmless(statement.text) + (f" {marks}" if marks else "  (not supported by the documents)"))
    if answer.span:
        print(f"in short: {harmless(answer.span)}")
    print(f"(probability that the documents hold the answer: {answer.confidence:.2f})\n")
    by_chunk = {item.chunk.id: item for item in answer.retrieved}
    for number, citation in enumerate(numbered, start=1):
        print(f"[{number}] {place(citation)}")
        shown = highlight_terminal(by_chunk[citation.chunk_id], citation, colour=sys.stdout.isatty())
        print(f"    {shown}")


def place(citation: Citation) -> str:
    """Document, page and characters of a citation."""
    return f"{harmless(citation.source)}, page {citation.page}, characters {citation.start}-{citation.end}"


def print_nearest(retrieved: Iterable[Retrieved]) -> None:
    """Where a reader may look further after a refusal."""
    sources = list(dict.fromkeys(item.chunk.source for item in retrieved))
    if sources:
        print("nearest documents: " + ", ".join(map(harmless, sources)))


def print_passages(retrieved: Iterable[Retrieved]) -> None:
    """Each passage with its rank and score in every stage that found it."""
    for rank, item in enumerate(retrieved, start=1):
        stages = ", ".join(f"{stage} #{item.ranks[stage]} {item.scores[stage]:.3f}" for stage in item.ranks)
        headings = " > ".join(item.chunk.headings)
        print(
            f"{rank}. {harmless(item.chunk.source)}, page {item.chunk.page}"
            + (f" | {harmless(headings)}" if headings else "")
        )
        print(f"   {stages}")
        text = " ".join(harmless(item.chunk.text).split())
        print(f"   {text[:240]}{'…' if len(text) > 240 else ''}\n")
