"""Headings of a PDF: its outline where it has one, otherwise lines in letters larger than the body's."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rag_qa.document_processor import pdf_native as native
from rag_qa.types import Heading, Page

_NUMBER = re.compile(r"\s*(?:(?:[A-Z]|\d+)(?:\.\d+)*\.?\s+)?")
_LARGER = 1.12
_MAX_LENGTH = 150
_MAX_SHARE = 0.2
_LEVELS = 4
_MAX_BOOKMARKS = 5_000


@dataclass(frozen=True)
class Line:
    """A line of the document's text and the font size of its first character."""

    start: int
    end: int
    size: float


@dataclass(frozen=True)
class Bookmark:
    """An entry of a PDF's outline."""

    title: str
    level: int
    page: int
    """Number of the page it leads to, from 1."""


def bookmarks(document: Any) -> list[Bookmark]:
    """Entries of the outline that have a title and lead to a page of this document."""
    found = []
    for index, entry in enumerate(document.get_toc(max_depth=6)):
        if index >= _MAX_BOOKMARKS:
            break
        title, target = " ".join(entry.get_title().split()), entry.get_dest()
        page = target.get_index() if target else None
        if title and page is not None:
            found.append(Bookmark(title, entry.level + 1, page + 1))
    return found


def headings_of_outline(outline: Sequence[Bookmark], text: str, pages: Sequence[Page]) -> tuple[Heading, ...]:
    """The bookmarks whose title stands on the page that they lead to, in the order of the text.

    Searched below the bookmark before it, so that two sections of one name are told apart.
    """
    spans = {page.number: page for page in pages}
    squeezed: dict[int, tuple[str, list[int]]] = {}
    found: dict[int, Heading] = {}
    last_end = 0
    for mark in outline:
        page = spans.get(mark.page)
        if page is None:
            continue
        if mark.page not in squeezed:
            squeezed[mark.page] = _squeezed(text, page.start, page.end)
        place = _place(mark.title, text, *squeezed[mark.page], last_end)
        if place is not None:
            start, end = place
            last_end = end
            title = " ".join(text[start:end].split())
            found.setdefault(start, Heading(level=mark.level, title=title, start=start, end=end))
    return tuple(found[start] for start in sorted(found))


def _squeezed(text: str, start: int, end: int) -> tuple[str, list[int]]:
    """text[start:end] in lower case without white space, and where each character of it stands in the text."""
    parts: list[str] = []
    places: list[int] = []
    for run in re.compile(r"\S+").finditer(text, start, end):
        parts.append(_lower(run.group()))
        places.extend(range(run.start(), run.end()))
    return "".join(parts), places


def _lower(word: str) -> str:
    lower = word.lower()
    return lower if len(lower) == len(word) else word  # "İ" becomes two characters


def _place(title: str, text: str, squeezed: str, places: Sequence[int], after: int) -> tuple[int, int] | None:
    """Span of a title: where it has lines of its own, else where it begins a line, else anywhere; of equals the first
    one after `after`. A number at the beginning of its line belongs to it."""
    wanted = "".join(map(_lower, title.split()))
    best: tuple[tuple[bool, bool, bool], int, int] | None = None
    at = squeezed.find(wanted)
    while at >= 0:
        start, end = places[at], places[at + len(wanted) - 1] + 1
        line = text.rfind("\n", 0, start) + 1
        if _NUMBER.fullmatch(text, line, start):
            start = line + len(text[line:start]) - len(text[line:start].lstrip())
        begins, ends = start == line, text[end : end + 1] in ("", "\n")
        rank = (begins and ends, begins, start >= after)
        if best is None or rank > best[0]:
            best = (rank, start, end)
        at = squeezed.find(wanted, at + 1)
    return None if best is None else best[1:]


def raw_lines(raw: str, text_page: Any) -> list[tuple[int, int, float]]:
    """First and last character of each line of a page and the font size at its first one."""
    handle = native.address(text_page)
    found = []
    for match in re.finditer(r"[^\r\n\s][^\r\n]*", raw):
        found.append((match.start(), match.end(), native.character_size(handle, match.start())))
    return found


def headings_by_size(lines: Sequence[Line], text: str) -> tuple[Heading, ...]:
    """Short lines at least 12 % larger than the commonest size, the larger the higher; consecutive ones of one size
    are one heading. None where they are more than a fifth of the text: then size is no sign of a heading."""
    weights: Counter[float] = Counter()
    for line in lines:
        weights[_rounded(line.size)] += line.end - line.start
    if not weights:
        return ()
    body = weights.most_common(1)[0][0]
    blocks = [block for block in _blocks(lines) if _is_heading(text[block.start : block.end], block.size, body)]
    if sum(block.end - block.start for block in blocks) > _MAX_SHARE * sum(weights.values()):
        return ()
    sizes = sorted({_rounded(block.size) for block in blocks}, reverse=True)
    level = {size: min(index + 1, _LEVELS) for index, size in enumerate(sizes)}
    return tuple(
        Heading(
            level=level[_rounded(block.size)],
            title=" ".join(text[block.start : block.end].split()),
            start=block.start,
            end=block.end,
        )
        for block in blocks
    )


def _blocks(lines: Sequence[Line]) -> Iterator[Line]:
    """Runs of neighbouring lines of one size."""
    current: Line | None = None
    for line in lines:
        if current is not None and _rounded(line.size) == _rounded(current.size) and line.start - current.end <= 1:
            current = Line(current.start, line.end, current.size)
            continue
        if current is not None:
            yield current
        current = line
    if current is not None:
        yield current


def _is_heading(title: str, size: float, body: float) -> bool:
    letters = sum(char.isalpha() for char in title)
    return size >= _LARGER * body and len(title) <= _MAX_LENGTH and letters >= 2 and letters >= len(title) / 3


def _rounded(size: float) -> float:
    return round(size * 2) / 2
