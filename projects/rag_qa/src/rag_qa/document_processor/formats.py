"""What a file is: by its first bytes where they say so, else by its suffix."""

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from rag_qa.document_processor.encodings import looks_binary
from rag_qa.document_processor.unreadable import PasswordNeeded, UnreadableDocument, UnsupportedFormat

Format = Literal["pdf", "docx", "html", "markdown", "text", "csv"]

SUFFIXES: dict[str, Format] = {
    ".pdf": "pdf",
    ".docx": "docx",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".log": "text",
    ".csv": "csv",
    ".tsv": "csv",
}
"""Suffixes that are read, in lower case."""

_HTML_START = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html[\s>])", re.I | re.S
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_OFFICE = "EncryptedPackage".encode("utf-16-le")
_OTHERS = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"{\\rtf", "an RTF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"%!PS", "a PostScript file"),
)
_ZIP_KINDS = {
    "xl/workbook.xml": "an Excel workbook: save its sheets as CSV",
    "ppt/presentation.xml": "a PowerPoint presentation: save it as PDF",
    "META-INF/container.xml": "an EPUB book: convert it to HTML",
    "content.xml": "an OpenDocument file: save it as DOCX or PDF",
}


@dataclass(frozen=True)
class Kind:
    """The reader for a file, and a note where its name says something else."""

    format: Format
    note: str = ""


def kind_of(data: bytes, source: str) -> Kind:
    """Raises UnsupportedFormat: no reader for files of that suffix; UnreadableDocument: the content is of a kind that
    has no reader, whatever the suffix; PasswordNeeded: an encrypted Office file."""
    suffix = PurePosixPath(source).suffix.lower()
    expected = SUFFIXES.get(suffix)
    actual = _by_content(data, source, suffix)
    if expected is None and actual is None:
        raise UnsupportedFormat(
            f"{source}: skipped: files of type {suffix or '(no suffix)'} are not read, only {', '.join(SUFFIXES)}"
        )
    if actual is None or actual == expected:
        if expected in ("pdf", "docx"):
            _refuse_pretender(data, source, expected)
        elif looks_binary(data):
            raise UnreadableDocument(f"{source}: is binary data, not text")
        return Kind(expected or "text")
    if actual == "html" and suffix in (".md", ".markdown"):
        return Kind("markdown")  # HTML is part of Markdown
    named = suffix or "(no suffix)"
    return Kind(actual, f"the name says {named}, the content is {actual.upper()}: read as {actual.upper()}")


def _refuse_pretender(data: bytes, source: str, expected: Format) -> None:
    """PDF and DOCX must begin as such; `_by_content` has found neither, or the one expected."""
    if expected == "pdf" and b"%PDF-" not in data[:1024]:
        raise UnreadableDocument(f"{source}: is no PDF: it does not begin with %PDF-; it may be damaged or cut")
    if expected == "docx" and not data.startswith(b"PK"):
        raise UnreadableDocument(f"{source}: is no DOCX: it is not a zip archive; it may be damaged or cut")


def _by_content(data: bytes, source: str, suffix: str) -> Format | None:
    head = data[:1024]
    # A text may speak of %PDF-; before the mark of a PDF stands a little rubbish at most.
    if head.startswith(b"%PDF-") or (b"%PDF-" in head and (suffix == ".pdf" or looks_binary(data))):
        return "pdf"
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _zip_kind(data, source)
    if head.startswith(_OLE):
        if _ENCRYPTED_OFFICE in data:
            raise PasswordNeeded(f"{source}: is an encrypted Office document; save it without a password")
        raise UnreadableDocument(f"{source}: is an Office document of before 2007; save it as DOCX or PDF")
    for magic, name in _OTHERS:
        if head.startswith(magic) and (suffix in SUFFIXES):
            raise UnreadableDocument(f"{source}: is {name}, not a {suffix} document")
    if _HTML_START.match(head):
        return "html"
    return None


def _zip_kind(data: bytes, source: str) -> Format:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        raise UnreadableDocument(f"{source}: is a damaged or cut zip archive (DOCX is one)") from None
    if "word/document.xml" in names:
        return "docx"
    for name, what in _ZIP_KINDS.items():
        if name in names:
            raise UnreadableDocument(f"{source}: is {what}")
    raise UnreadableDocument(f"{source}: is a zip archive without a Word document; unpack it")
