"""DOCX (ECMA-376 WordprocessingML) to text: headings with levels, paragraphs, lists, tables and notes, in order."""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

import docx
from docx.oxml.ns import qn
from lxml import etree  # type: ignore[attr-defined]

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor.docx_margins import REFERENCES, Margins
from rag_qa.document_processor.docx_package import check_package
from rag_qa.document_processor.docx_styles import Styles, hiding_reason
from rag_qa.document_processor.text_builder import TextBuilder, markdown_table, whole_page
from rag_qa.document_processor.unreadable import UnreadableDocument
from rag_qa.types import Document

P, TABLE, ROW, CELL, RUN, TEXT = (qn(f"w:{name}") for name in ("p", "tbl", "tr", "tc", "r", "t"))
_BREAKS = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
_PASSED_THROUGH = frozenset(qn(f"w:{name}") for name in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag"))
_LEFT_OUT = frozenset(
    (
        *(qn(f"w:{name}") for name in ("del", "moveFrom", "pPr", "rPr", "instrText")),
        "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
    )
)
"""Deleted and moved text, properties, field codes, and the second copy of a text box for old versions of Word."""


def read_docx(data: bytes, source: str, options: ReadOptions) -> Document:
    """Text of a document: headers once each, the body with each note behind its paragraph, footers once each.

    Comments are not read, and hidden runs (w:vanish, white, below 2 points) are left out: `notes` counts both.
    Raises UnreadableDocument: damaged, a zip bomb, or without visible text.
    """
    check_package(data, source, options)
    try:
        opened = docx.Document(io.BytesIO(data))
        body, core = opened.element.body, opened.core_properties
        margins = Margins(opened)
        walk = _Walk(Styles(opened), margins, options.hidden_text == "drop")
        walk.read_once_each(margins.headers())
        walk.read(body)
        walk.read_once_each(margins.footers())
        n_comments = margins.n_comments()
    except (KeyError, ValueError, AttributeError, etree.XMLSyntaxError, zipfile.BadZipFile) as error:
        raise UnreadableDocument(f"{source}: is a damaged DOCX: {' '.join(str(error).split())}") from None
    text = walk.builder.text
    if not text:
        hidden = "; all of it is hidden: --reading.hidden_text keep reads it" if walk.n_hidden else ""
        raise UnreadableDocument(f"{source}: has no visible text{hidden}")
    n_pictures = sum(1 for _ in body.iter("{http://schemas.openxmlformats.org/drawingml/2006/picture}pic"))
    first = next((heading.title for heading in walk.builder.headings if heading.level == 1), "")
    stated = {"author": core.author, "language": core.language, "subject": core.subject, "keywords": core.keywords}
    return Document(
        source=source,
        title=" ".join((core.title or "").split()) or first or PurePosixPath(source).stem,
        text=text,
        pages=whole_page(text),
        content_hash=hashlib.sha256(data).hexdigest(),
        headings=tuple(walk.builder.headings),
        metadata={"format": "docx", **{name: value for name, value in stated.items() if value}},
        notes=tuple(_notes(walk, n_pictures, n_comments)),
    )


def _notes(walk: "_Walk", n_pictures: int, n_comments: int) -> Iterator[str]:
    if walk.n_hidden:
        yield f"hidden text left out ({', '.join(sorted(walk.reasons))}): {walk.n_hidden:,} characters"
    if n_pictures:
        yield f"{n_pictures} pictures are not read"
    if n_comments:
        yield f"{n_comments} comments are not read"


class _Walk:
    """Goes through the body in order and gathers blocks."""

    def __init__(self, styles: Styles, margins: Margins, drop: bool) -> None:
        self.builder = TextBuilder()
        self.n_hidden = 0
        self.reasons: set[str] = set()
        self._styles, self._margins = styles, margins
        self._drop = drop
        self._marks: list[Any] = []

    def read(self, body: Any) -> None:
        """Gather all blocks of the body, and behind each its notes."""
        for block in _blocks(body):
            self._block(block)
            marks, self._marks = self._marks, []
            for mark in marks:
                if (note := self._margins.note(mark)) is not None:
                    self.builder.add(self._apart(note))

    def read_once_each(self, parts: Iterable[Any]) -> None:
        """Gather headers or footers as blocks, those of the same words once; a bare page number is none."""
        seen: set[str] = set()
        for part in parts:
            text = self._apart(part)
            if text not in seen and any(map(str.isalpha, text)):
                self.builder.add(text)
            seen.add(text)

    def _apart(self, part: Any) -> str:
        """Text of a part by itself: it has no headings for the outline, and its own notes are not followed."""
        walk = _Walk(self._styles, self._margins, self._drop)
        for block in _blocks(part):
            walk._block(block)
        self.n_hidden += walk.n_hidden
        self.reasons |= walk.reasons
        return walk.builder.text

    def _block(self, block: Any) -> None:
        if block.tag == TABLE:
            self.builder.add(markdown_table(list(self._rows(block))))
        else:
            self._paragraph(block)

    def _paragraph(self, paragraph: Any) -> None:
        text = "\n".join(line.strip() for line in self._text(paragraph).split("\n")).strip()
        if not text:
            return
        level = self._styles.heading_level(paragraph)
        if level:
            self.builder.add_heading(text, level)
            return
        depth = self._styles.list_depth(paragraph)
        self.builder.add(text if depth is None else "  " * depth + "- " + text, tight=depth is not None)

    def _rows(self, table: Any) -> Iterator[list[str]]:
        for row in table.iterchildren(ROW):
            yield ["\n".join(self._text(p) for p in cell.iter(P)) for cell in _cells(row)]

    def _text(self, paragraph: Any) -> str:
        """Visible text of a paragraph, that of links, insertions and text boxes included."""
        parts: list[str] = []
        stack = list(reversed(paragraph))
        while stack:
            node = stack.pop()
            if node.tag in _LEFT_OUT:
                continue
            if node.tag == RUN and self._drop and (reason := hiding_reason(node, paragraph, self._styles)):
                hidden = "".join(text.text or "" for text in node.iter(TEXT))
                self.n_hidden += sum(not char.isspace() for char in hidden)
                self.reasons.update([reason] if hidden.strip() else [])
                continue
            if node.tag == TEXT:
                parts.append(node.text or "")
            elif node.tag in _BREAKS:
                parts.append(_BREAKS[node.tag])
            elif node.tag in REFERENCES:
                self._marks.append(node)
            elif node.tag == P and parts:
                parts.append("\n")
            stack.extend(reversed(node))
        return "".join(parts)


def _blocks(parent: Any) -> Iterator[Any]:
    """Paragraphs and tables in order, those within content controls and insertions too."""
    for child in parent:
        if child.tag in (P, TABLE):
            yield child
        elif child.tag in _PASSED_THROUGH:
            yield from _blocks(child)


def _cells(row: Any) -> Iterator[Any]:
    for child in row:
        if child.tag == CELL:
            yield child
        elif child.tag in _PASSED_THROUGH:
            yield from _cells(child)
