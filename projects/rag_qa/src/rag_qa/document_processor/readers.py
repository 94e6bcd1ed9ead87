"""Any file to a document: the reader is chosen by content and suffix, and imported when it is needed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor.files import FoundFile, SkippedFile, Survey, find_files, read_bytes, survey
from rag_qa.document_processor.formats import SUFFIXES, Format, kind_of
from rag_qa.document_processor.text_builder import checked
from rag_qa.document_processor.unreadable import PasswordNeeded, UnreadableDocument, UnsupportedFormat
from rag_qa.types import Document

__all__ = [
    "SUFFIXES",
    "FoundFile",
    "PasswordNeeded",
    "ReadOptions",
    "SkippedFile",
    "Survey",
    "UnreadableDocument",
    "UnsupportedFormat",
    "find_files",
    "read_document",
    "read_document_bytes",
    "survey",
]

Reader = Callable[[bytes, str, ReadOptions], Document]


def read_document(path: Path, source: str, options: ReadOptions | None = None) -> Document:
    """Read a file of any kind in `SUFFIXES`.

    Raises UnreadableDocument, in one line with `source`, the reason and the remedy; its kinds `UnsupportedFormat`
    (skip the file) and `PasswordNeeded` (ask for one) can be told apart.
    """
    options = options or ReadOptions()
    return read_document_bytes(read_bytes(Path(path), source, options.max_bytes), source, options)


def read_document_bytes(data: bytes, source: str, options: ReadOptions | None = None) -> Document:
    """Read a file's bytes, as an upload brings them; errors as `read_document`."""
    options = options or ReadOptions()
    if not data:
        raise UnreadableDocument(f"{source}: is empty (0 bytes)")
    if len(data) > options.max_bytes:
        raise UnreadableDocument(
            f"{source}: is larger than {options.max_bytes:,} bytes; raise --reading.max_bytes to read it, or split it"
        )
    kind = kind_of(data, source)
    document = checked(_reader(kind.format)(data, source, options))
    return replace(document, notes=(kind.note, *document.notes)) if kind.note else document


def _reader(kind: Format) -> Reader:
    if kind == "pdf":
        from rag_qa.document_processor.pdf_reader import read_pdf

        return read_pdf
    if kind == "docx":
        from rag_qa.document_processor.docx_reader import read_docx

        return read_docx
    if kind == "html":
        from rag_qa.document_processor.html_reader import read_html

        return read_html
    if kind == "csv":
        from rag_qa.document_processor.csv_reader import read_csv

        return read_csv
    from rag_qa.document_processor.text_readers import read_markdown, read_text

    return read_markdown if kind == "markdown" else read_text
