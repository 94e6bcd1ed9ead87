"""A passage cut into what can be said as an answer: its sentences, each under the heading that it stands below."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rag_qa.document_processor.sentences import sentence_spans

LONGEST = 1500
"""Characters: a line of a table or of minified code is cut into pieces of this length."""

_NO_STATEMENT = ("#", ">>>", "...", "```", "~~~")
"""How headings and examples of code begin: they are read with their passage, and answer nothing by themselves."""

_ATX = re.compile(r"#{1,6} +(.+?)[ #]*$")
_RULE = re.compile(r"([=\-~^*\"'+.])\1{2,}$")
_ROW = re.compile(r"^[ \t]*(?:--?\w|%\(|[\w.*'\[\]!?,/=-]+(?: ?\([^()\n]*\))?(?: {2,}|\t+| +--? |: +)\S)", re.MULTILINE)
_FEWEST_ROWS = 2


@dataclass(frozen=True)
class StatementSpan:
    """`passage[start:end]`."""

    start: int
    end: int
    heading: str
    """The last title before it in the passage, else the innermost section that the passage lies in; may be empty."""


def statement_spans(text: str, headings: Sequence[str] = ()) -> list[StatementSpan]:
    """The sentences of a passage without its headings, rules and interactive examples.

    Args:
        text: of the passage.
        headings: titles of the sections that it lies in, outermost first.
    """
    found: list[StatementSpan] = []
    title, fenced = headings[-1] if headings else "", False
    spans = sentence_spans(text)
    for i, (start, end) in enumerate(spans):
        piece = text[start:end]
        following = text[slice(*spans[i + 1])] if i + 1 < len(spans) else ""
        if piece.startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and (heading := _title(piece, following, headings)):
            title = heading
        elif not piece.startswith(_NO_STATEMENT) and any(map(str.isalnum, piece)):
            found += [StatementSpan(a, b, title) for row in _rows(text, start, end) for a, b in _pieces(text, *row)]
    return found


def _rows(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The rows of a list of options or of names with their meanings, which no mark ends; else the sentence itself."""
    starts = [start + match.start() for match in _ROW.finditer(text[start:end])]
    if len(starts) < _FEWEST_ROWS:
        return [(start, end)]
    cuts = sorted({start, *starts, end})
    parts = [(a, a + len(text[a:b].rstrip())) for a, b in pairwise(cuts)]
    return [(a + len(text[a:b]) - len(text[a:b].lstrip()), b) for a, b in parts if text[a:b].strip()]


def _title(piece: str, following: str, headings: Sequence[str]) -> str:
    """The title that a piece of text is: after #, underlined, or known as one; "" where it is none."""
    if piece in headings:
        return piece
    if match := _ATX.match(piece):
        return match.group(1) if "\n" not in piece else ""
    return piece if "\n" not in piece and _RULE.match(following) and any(map(str.isalnum, piece)) else ""


def _pieces(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """A sentence, or its pieces where it is too long to be one; blanks are no sentence."""
    cuts = [(a, min(a + LONGEST, end)) for a in range(start, end, LONGEST)]
    return [(a, b) for a, b in cuts if text[a:b].strip()]
