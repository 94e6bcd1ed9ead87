"""Plain text and Markdown: the text stays the file's own, so that offsets count the characters of the file."""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import PurePosixPath

import yaml

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor.encodings import decode
from rag_qa.document_processor.text_builder import whole_page
from rag_qa.document_processor.unreadable import UnreadableDocument
from rag_qa.types import Document, Heading

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)(.*?)(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NOT_PARAGRAPH = re.compile(r" {0,3}(?:[#>|]|[-*+][ \t]|\d+[.)][ \t])| {4}|\t")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)


def read_text(data: bytes, source: str, options: ReadOptions) -> Document:
    """Raises UnreadableDocument: nothing but white space."""
    decoded = decode(data, options.encoding)
    _check_text(decoded.text, source)
    return Document(
        source=source,
        title=PurePosixPath(source).stem,
        text=decoded.text,
        pages=whole_page(decoded.text),
        content_hash=hashlib.sha256(data).hexdigest(),
        metadata={"format": "text", "encoding": decoded.encoding},
        notes=decoded.notes,
    )


def read_markdown(data: bytes, source: str, options: ReadOptions) -> Document:
    """Markdown as it is written, with the headings of CommonMark (ATX and setext) and the front matter as metadata.

    HTML comments are blanked by spaces, character for character: nobody sees them in the page that Markdown becomes.
    Raises UnreadableDocument: nothing but white space.
    """
    decoded = decode(data, options.encoding)
    text, notes = decoded.text, list(decoded.notes)
    code = list(_code_spans(text))
    if options.hidden_text == "drop":
        text, n_hidden = _without_comments(text, code)
        if n_hidden:
            notes.append(f"hidden text left out (comments): {n_hidden:,} characters")
    _check_text(text, source)
    front, metadata = _front_matter(text)
    headings = tuple(_headings(text, front, code))
    title = metadata.pop("title", "") or next((h.title for h in headings if h.level == 1), "")
    return Document(
        source=source,
        title=title or PurePosixPath(source).stem,
        text=text,
        pages=whole_page(text),
        content_hash=hashlib.sha256(data).hexdigest(),
        headings=headings,
        metadata={**metadata, "format": "markdown", "encoding": decoded.encoding},
        notes=tuple(notes),
    )


def _check_text(text: str, source: str) -> None:
    if not text.strip():
        raise UnreadableDocument(f"{source}: has no text, only white space")


def _front_matter(text: str) -> tuple[int, dict[str, str]]:
    """Where the front matter ends, and its plain values; what is no YAML mapping is text."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return 0, {}
    try:
        # A few lines of lists of references to lists would be gigabytes, written out.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(match.group(1), yaml.SafeLoader)):
            return 0, {}
        values = yaml.safe_load(match.group(1))
    except (yaml.YAMLError, ValueError, RecursionError):
        return 0, {}
    if not isinstance(values, dict):
        return 0, {}
    shown = {
        str(key): ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in values.items()
        if value is not None and not isinstance(value, dict)
    }
    return match.end(), shown


def _code_spans(text: str) -> Iterator[tuple[int, int]]:
    """Fenced code blocks, the fences included; one that is not closed goes to the end."""
    start, fence = 0, ""
    for begin, line in _lines(text):
        match = _FENCE.match(line)
        if match is None:
            continue
        marks, rest = match.groups()
        if not fence and not (marks[0] == "`" and "`" in rest):
            start, fence = begin, marks
        elif fence and marks[0] == fence[0] and len(marks) >= len(fence) and not rest.strip():
            yield start, begin + len(line)
            fence = ""
    if fence:
        yield start, len(text)


def _without_comments(text: str, code: list[tuple[int, int]]) -> tuple[str, int]:
    """The text with comments outside of code blanked, and how many characters they showed."""
    n_hidden = 0

    def blank(match: re.Match[str]) -> str:
        nonlocal n_hidden
        block = bisect_right(code, (match.start(), len(text))) - 1
        if block >= 0 and match.start() < code[block][1]:
            return match.group()
        n_hidden += sum(not char.isspace() for char in match.group()) - len("<!---->")
        return re.sub(r"[^\n]", " ", match.group())

    return _COMMENT.sub(blank, text), max(0, n_hidden)


def _headings(text: str, start: int, code: list[tuple[int, int]]) -> Iterator[Heading]:
    blocks = iter(code)
    block = next(blocks, None)
    paragraph: tuple[int, int] | None = None
    for begin, line in _lines(text):
        while block is not None and begin >= block[1]:
            block = next(blocks, None)
        if begin < start or (block is not None and begin >= block[0]):
            paragraph = None
        elif atx := _ATX.match(line):
            title = atx.group(2).strip()
            if title:
                at = begin + atx.start(2) + len(atx.group(2)) - len(atx.group(2).lstrip())
                yield Heading(level=len(atx.group(1)), title=title, start=at, end=at + len(title))
            paragraph = None
        elif paragraph is not None and (under := _UNDERLINE.match(line)):
            at, end = paragraph
            level = 1 if under.group(1)[0] == "=" else 2
            yield Heading(level=level, title=" ".join(text[at:end].split()), start=at, end=end)
            paragraph = None
        elif not line.strip() or _NOT_PARAGRAPH.match(line):
            paragraph = None
        else:
            # All lines of a paragraph belong to the heading that an underline makes of it.
            first = paragraph[0] if paragraph else begin + len(line) - len(line.lstrip())
            paragraph = (first, begin + len(line.rstrip()))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for line in text.split("\n"):
        yield at, line
        at += len(line) + 1
