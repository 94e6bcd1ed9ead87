"""PDF to text with page numbers and exact offsets: `document.text[page.start:page.end]` is what stands on a page.

PDFium reads the text (BSD-3, the engine of Chrome), pdfplumber only tables, RapidOCR only pages that are images.
`locate` leads back from a span of the text to boxes on the page, `render_page` shows them.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor import ocr, pdf_headings
from rag_qa.document_processor import pdf_native as native
from rag_qa.document_processor.pdf_headings import Bookmark, Line
from rag_qa.document_processor.pdf_page import PageText, read_page
from rag_qa.document_processor.pdf_tables import page_tables
from rag_qa.document_processor.pdf_view import Box, locate, render_page
from rag_qa.document_processor.unreadable import UnreadableDocument
from rag_qa.types import Document, Heading, Page

__all__ = ["Box", "locate", "read_pdf", "render_page"]

_METADATA = {"Author": "author", "Subject": "subject", "Keywords": "keywords", "CreationDate": "created"}
_NO_TITLE = re.compile(
    r"^(untitled|microsoft word|powerpoint|slide|\(anonymous\)|.*\.(docx?|tex|dvi|indd|pptx?)$)", re.I
)


def read_pdf(data: bytes, source: str, options: ReadOptions) -> Document:
    """Read all pages, up to `options.max_pages`.

    Raises UnreadableDocument: the file is damaged or encrypted, or none of its pages has text.
    """
    contents, outline, info, n_pages = _contents(data, source, options)
    if not any(content.text for content in contents):
        raise UnreadableDocument(f"{source}: {_nothing_to_read(contents, options)}")
    notes = _notes(contents, n_pages, options)
    tables: dict[int, list[str]] = {}
    if options.tables:
        tables = page_tables(data, [n for n, c in enumerate(contents, 1) if c.kind == "text"], options.password)
        if tables:
            notes.append(f"tables added after the text of their page: {_pages(tables)}")
    text, pages = _joined(contents, tables)
    headings = pdf_headings.headings_of_outline(outline, text, pages) if outline else _by_size(contents, pages, text)
    return Document(
        source=source,
        title=_title(info.get("Title", ""), headings, source),
        text=text,
        pages=tuple(pages),
        content_hash=hashlib.sha256(data).hexdigest(),
        headings=headings,
        metadata={
            "format": "pdf",
            "pages": str(n_pages),
            **{ours: " ".join(info[name].split()) for name, ours in _METADATA.items() if info.get(name, "").strip()},
        },
        notes=tuple(notes),
    )


def _contents(
    data: bytes, source: str, options: ReadOptions
) -> tuple[list[PageText], list[Bookmark], dict[str, str], int]:
    """What PDFium says: pages, outline, the document's statements on itself, and how many pages there are in all."""
    with native.LOCK:
        document = native.open_pdf(data, source, options.password)
    try:
        with native.LOCK:
            n_pages = len(document)
            outline = pdf_headings.bookmarks(document)
            info = document.get_metadata_dict(skip_empty=True)
        if n_pages == 0:
            raise UnreadableDocument(f"{source}: is a PDF without pages")
        numbers = range(1, min(n_pages, options.max_pages) + 1)
        contents = [_page(document, number, options, sizes=not outline) for number in numbers]
    finally:
        with native.LOCK:
            document.close()
    return contents, outline, info, n_pages


def _page(document: Any, number: int, options: ReadOptions, sizes: bool) -> PageText:
    try:
        return read_page(document, number, options, sizes)
    except native.PdfiumError:
        return PageText("", "damaged")


def _joined(contents: Sequence[PageText], tables: dict[int, list[str]]) -> tuple[str, list[Page]]:
    """The document's text and the span of each page. A sentence that runs over a page's end is not torn by an empty
    line."""
    parts: list[str] = []
    pages: list[Page] = []
    length = 0
    for number, content in enumerate(contents, start=1):
        text = "\n\n".join([*([content.text] if content.text else []), *tables.get(number, [])])
        if length and text:
            before = parts[-1]
            gap = "\n\n" if before.endswith((".", "!", "?", ":", "。", "！", "？", "|")) else "\n"
            parts.append(gap)
            length += len(gap)
        if text:
            parts.append(text)
        pages.append(Page(number=number, start=length, end=length + len(text)))
        length += len(text)
    return "".join(parts), pages


def _by_size(contents: Sequence[PageText], pages: Sequence[Page], text: str) -> tuple[Heading, ...]:
    lines = [
        Line(page.start + start, page.start + end, size)
        for page, content in zip(pages, contents, strict=True)
        for start, end, size in content.lines
        if start < end and size > 0
    ]
    return pdf_headings.headings_by_size(lines, text)


def _title(stated: str, headings: Sequence[Heading], source: str) -> str:
    stated = " ".join(stated.split())
    if stated and not _NO_TITLE.match(stated):
        return stated
    first = next((heading.title for heading in headings if heading.level == 1), "")
    return first or PurePosixPath(source).stem


def _notes(contents: Sequence[PageText], n_pages: int, options: ReadOptions) -> list[str]:
    notes = []
    if n_pages > len(contents):
        notes.append(
            f"only the first {len(contents):,} of {n_pages:,} pages were read; raise --reading.max_pages for the rest"
        )
    numbered = list(enumerate(contents, start=1))
    if images := [number for number, content in numbered if content.kind == "image"]:
        notes.append(f"images without text, not read: {_pages(images)}; {_remedy(options)}")
    if read := [number for number, content in numbered if content.kind == "ocr"]:
        notes.append(f"images read by OCR, which makes mistakes: {_pages(read)}")
    if layers := [number for number, content in numbered if content.ocr_layer]:
        notes.append(f"scans with the text of their OCR layer: {_pages(layers)}")
    if empty := [number for number, content in numbered if content.kind == "empty"]:
        notes.append(f"without text: {_pages(empty)}")
    if damaged := [number for number, content in numbered if content.kind == "damaged"]:
        notes.append(f"damaged, not read: {_pages(damaged)}")
    if hiding := [number for number, content in numbered if content.n_hidden]:
        reasons = sorted({reason for content in contents for reason in content.reasons})
        total = sum(content.n_hidden for content in contents)
        notes.append(f"hidden text left out ({', '.join(reasons)}): {total:,} characters on {_pages(hiding)}")
    return notes


def _nothing_to_read(contents: Sequence[PageText], options: ReadOptions) -> str:
    images = sum(content.kind == "image" for content in contents)
    if images:
        return f"has no text: {images} of its {len(contents)} pages are images; {_remedy(options)}"
    if all(content.kind == "damaged" for content in contents):
        return "is damaged: none of its pages can be read"
    if any(content.n_hidden for content in contents):
        return "has no visible text: all of it is hidden; --reading.hidden_text keep reads it"
    return f"has no text on any of its {len(contents)} pages"


def _remedy(options: ReadOptions) -> str:
    if options.ocr == "off":
        return "--reading.ocr auto lets them be read by OCR"
    return "OCR found no text in them" if ocr.is_available() else ocr.REMEDY


def _pages(numbers: Iterable[int]) -> str:
    """ "page 3" or "pages 1, 4-7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"page{'' if shown.isdigit() else 's'} {shown}"
