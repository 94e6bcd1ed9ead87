"""Text put together from blocks, with the offsets of its headings."""

from collections.abc import Sequence

from rag_qa.types import Document, Heading, Page


class TextBuilder:
    """Blocks in reading order, an empty line between two of them unless they belong together."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self.headings: list[Heading] = []

    def add(self, text: str, tight: bool = False) -> None:
        """Append a block; `tight` puts it on the next line (list items, rows) instead of after an empty one."""
        if not text:
            return
        if self._parts:
            self._append("\n" if tight else "\n\n")
        self._append(text)

    def add_heading(self, title: str, level: int) -> None:
        """Append a heading on a line of its own."""
        title = " ".join(title.split())
        if not title:
            return
        self.add(title)
        self.headings.append(Heading(level=level, title=title, start=self._length - len(title), end=self._length))

    @property
    def text(self) -> str:
        """All blocks."""
        return "".join(self._parts)

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as the lines of a Markdown table, the first one as its header; "" where no cell has text.

    Rows are filled up to the widest; line breaks and pipes within cells would break a row, and are replaced.
    """
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    if not cells:
        return ""
    width = max(map(len, cells))
    lines = ["| " + " | ".join([*row, *[""] * (width - len(row))]) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def whole_page(text: str) -> tuple[Page, ...]:
    """The one page of a text without pages."""
    return (Page(number=1, start=0, end=len(text)),)


def checked(document: Document) -> Document:
    """The document, after its promises were checked: offsets within the text, headings equal to their spans.

    Raises ValueError: a reader broke one of them, which is a bug and no mistake of the user.
    """
    end = 0
    for page in document.pages:
        if not end <= page.start <= page.end <= len(document.text):
            raise ValueError(f"{document.source}: page {page.number} spans {page.start} to {page.end} after {end}")
        end = page.end
    for heading in document.headings:
        if document.text[heading.start : heading.end].split() != heading.title.split():
            raise ValueError(f"{document.source}: heading {heading.title!r} is not at {heading.start}")
    if not document.pages:
        raise ValueError(f"{document.source}: no page")
    return document
