"""The sections that headings make of a document."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from rag_qa.types import Document, Heading

_MARKUP = 20  # characters before a title on its line, at most


@dataclass(frozen=True)
class Section:
    """The text from one heading to the next, whatever their levels."""

    start: int
    end: int
    path: tuple[str, ...]
    """Titles of the heading and those above it, outermost first; empty before the first heading."""


class Outline:
    """All sections of a document, in order and without gaps."""

    def __init__(self, document: Document) -> None:
        headings = sorted(document.headings, key=lambda heading: heading.start)
        bounds = [0, *(line_start(document.text, heading) for heading in headings), len(document.text)]
        paths: list[tuple[str, ...]] = [()]
        above: list[tuple[int, str]] = []
        for heading in headings:
            while above and above[-1][0] >= heading.level:
                above.pop()
            above.append((heading.level, heading.title))
            paths.append(tuple(title for _, title in above))
        parts = zip(bounds, bounds[1:], paths, strict=False)
        self.sections = [Section(start, end, path) for start, end, path in parts if start < end]
        self._starts = [section.start for section in self.sections]

    def path(self, start: int, end: int) -> tuple[str, ...]:
        """Titles of the sections that hold the whole of a span, outermost first."""
        first = max(0, bisect_right(self._starts, start) - 1)
        last = max(first + 1, bisect_right(self._starts, end - 1))
        paths = [section.path for section in self.sections[first:last]]
        return common_path(paths)


def line_start(text: str, heading: Heading) -> int:
    """Where the heading begins with its markup, such as the ## before a title in Markdown."""
    lead = text[max(0, heading.start - _MARKUP) : heading.start]
    markup = lead[lead.rfind("\n") + 1 :].lstrip()
    return heading.start if any(map(str.isalnum, markup)) else heading.start - len(markup)


def common_path(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The titles with which all paths begin."""
    if not paths:
        return ()
    lowest, highest = min(paths), max(paths)
    length = 0
    while length < min(len(lowest), len(highest)) and lowest[length] == highest[length]:
        length += 1
    return lowest[:length]
