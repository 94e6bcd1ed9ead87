"""CSV and TSV: each row becomes a line that names its columns, which a passage can be understood by alone."""

import csv
import hashlib
import io
import re
from pathlib import PurePosixPath

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor.encodings import decode
from rag_qa.document_processor.text_builder import whole_page
from rag_qa.document_processor.unreadable import UnreadableDocument
from rag_qa.types import Document

_SAMPLE = 65_536
_NUMBER = re.compile(r"[-+]?[\d.,]*\d%?")


def read_csv(data: bytes, source: str, options: ReadOptions) -> Document:
    """Lines "column: value | column: value"; empty cells are left out, cells beyond the header get a number.

    The first row is the header if all its cells are distinct words. Raises UnreadableDocument: no cell has text.
    """
    decoded = decode(data, options.encoding)
    delimiter = _delimiter(decoded.text[:_SAMPLE], PurePosixPath(source).suffix.lower())
    rows = [[" ".join(cell.split()) for cell in row] for row in _rows(decoded.text, delimiter, source)]
    rows = [row for row in rows if any(row)]
    if not rows:
        raise UnreadableDocument(f"{source}: is a table without a cell that has text")
    header, notes = _header(rows[0]), list(decoded.notes)
    body = rows[1:] if header else rows
    if not header:
        notes.append("the first row is no header: columns are numbered")
    if ragged := sum(len(row) > len(header) for row in body) if header else 0:
        notes.append(f"{ragged:,} rows have more cells than the header")
    text = "\n".join(_line(row, header) for row in body) or " | ".join(header)
    return Document(
        source=source,
        title=PurePosixPath(source).stem,
        text=text,
        pages=whole_page(text),
        content_hash=hashlib.sha256(data).hexdigest(),
        metadata={
            "format": "csv",
            "encoding": decoded.encoding,
            "rows": str(len(body)),
            **({"columns": ", ".join(header)} if header else {}),
        },
        notes=tuple(notes),
    )


def _rows(text: str, delimiter: str, source: str) -> list[list[str]]:
    # A cell of a megabyte is odd, but no reason to refuse a file; its size is bounded by the file's.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    try:
        return list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise UnreadableDocument(f"{source}: is no table that can be read: {error}") from None


def _delimiter(sample: str, suffix: str) -> str:
    """The separator that cuts most of the first lines into the same number of cells, more than one."""
    if suffix == ".tsv":
        return "\t"
    lines = [line for line in sample.split("\n")[:50] if line.strip()]
    best, best_score = ",", 0.0
    for candidate in (",", ";", "\t", "|"):
        widths = [len(row) for row in csv.reader(lines, delimiter=candidate)] if lines else []
        wide = [width for width in widths if width > 1]
        if wide:
            common = max(set(wide), key=wide.count)
            score = wide.count(common) / len(widths)
            if score > best_score:
                best, best_score = candidate, score
    return best


def _header(row: list[str]) -> list[str]:
    """The row if it names columns, else []."""
    distinct = len(set(row)) == len(row)
    return row if distinct and all(row) and not any(map(_NUMBER.fullmatch, row)) else []


def _line(row: list[str], header: list[str]) -> str:
    names = [*header, *(f"column {index + 1}" for index in range(len(header), len(row)))]
    return " | ".join(f"{name}: {cell}" for name, cell in zip(names, row, strict=False) if cell)
