"""Tables of PDF pages, by pdfplumber: for tables only, because it is a hundred times slower than PDFium."""

import io
import logging
import re
from collections.abc import Sequence

from rag_qa.document_processor.text_builder import markdown_table


def page_tables(data: bytes, pages: Sequence[int], password: str = "") -> dict[int, list[str]]:
    """Tables of the pages with these numbers (from 1) as Markdown; pages without one are left out.

    A page on which pdfplumber fails has none: it parses PDF by itself and gives up on files that PDFium reads.
    """
    import pdfplumber

    found: dict[int, list[str]] = {}
    # pdfminer warns of each oddity of a font: nothing that a reader of the text could act on.
    logging.getLogger("pdfminer").setLevel(logging.ERROR)
    try:
        document = pdfplumber.open(io.BytesIO(data), password=password)
    except Exception:
        return {}
    with document:
        for number in pages:
            try:
                page = document.pages[number - 1]
                tables = [markdown_table([[_cell(cell) for cell in row] for row in t]) for t in page.extract_tables()]
                page.close()
            except Exception:
                continue
            if tables := [table for table in tables if table.count("\n") > 1]:
                found[number] = tables
    return found


def _cell(text: str | None) -> str:
    # pdfminer writes (cid:7) for a glyph that it has no character for.
    return re.sub(r"\(cid:\d+\)\s*", "", text or "")
