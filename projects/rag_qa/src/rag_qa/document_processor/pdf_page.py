"""One page of a PDF: its text with the way back to places on the page."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor import ocr, pdf_headings
from rag_qa.document_processor import pdf_native as native
from rag_qa.document_processor.pdf_hidden import PageLook, look_at
from rag_qa.document_processor.pdf_native import Bounds
from rag_qa.document_processor.pdf_text import EditedText, running_text

Kind = Literal["text", "ocr", "image", "empty", "damaged"]

_NEXT_TO_NOTHING = 16
"""Characters: a page with fewer and a picture is a scan. A stamp or a page number may be text."""

_PICTURE_COVER = 0.05
_OCR_SCALE = 2.5
"""180 dots per inch: letters of 10 points are 25 pixels high, which the recogniser was trained on."""

_OCR_LIMIT = 3000


@dataclass(frozen=True)
class PageText:
    """What was read from a page."""

    text: str
    kind: Kind
    edited: EditedText | None = None
    """How `text` came from PDFium's characters; None where OCR read it."""

    ocr_lines: tuple[tuple[str, Bounds], ...] = ()
    """Lines that OCR read with their boxes in points; `text` is them, joined by line ends."""

    n_hidden: int = 0
    """Characters left out because nobody sees them."""

    reasons: tuple[str, ...] = ()
    """Why nobody sees them."""

    ocr_layer: bool = False
    lines: tuple[tuple[int, int, float], ...] = ()
    """Start and end in `text` and font size of each line, where asked for."""


@contextmanager
def opened_page(document: Any, number: int) -> Iterator[Any]:
    """A page (from 1) under PDFium's lock, closed at the end."""
    with native.LOCK:
        page = document[number - 1]
        try:
            yield page
        finally:
            page.close()


def read_page(document: Any, number: int, options: ReadOptions, sizes: bool = False) -> PageText:
    """Text of a page. What `options` say of tables does not matter here: the same page gives the same text whenever it
    is read, which `locate` depends on."""
    with opened_page(document, number) as page:
        look = look_at(page)
        found = _native_text(page, look, options, sizes)
        if found.kind != "image" or options.ocr == "off" or not ocr.is_available():
            return found
        image, to_points = _image(page)
    lines = tuple((line.text, to_points(line)) for line in ocr.read_image(image))
    text = "\n".join(text for text, _ in lines)
    return PageText(text, "ocr", ocr_lines=lines, n_hidden=found.n_hidden, reasons=found.reasons) if text else found


@contextmanager
def visible_text_page(page: Any, options: ReadOptions, look: PageLook | None = None) -> Iterator[Any]:
    """PDFium's text page without what is hidden, closed at the end: the same characters each time."""
    look = look or look_at(page)
    if options.hidden_text == "drop":
        for text, _ in look.hidden:
            native.set_active(text, False)
    text_page = page.get_textpage()
    try:
        yield text_page
    finally:
        text_page.close()


def _native_text(page: Any, look: PageLook, options: ReadOptions, sizes: bool) -> PageText:
    hidden = _n_characters(page) if look.hidden and options.hidden_text == "drop" else 0
    with visible_text_page(page, options, look) as text_page:
        raw = native.raw_text(text_page)
        edited = running_text(raw)
        lines = pdf_headings.raw_lines(raw, text_page) if sizes else []
    if hidden:
        hidden -= _count(raw)
    kind: Kind = "text" if edited.text else "empty"
    if len(edited.text) < _NEXT_TO_NOTHING and look.image_cover >= _PICTURE_COVER:
        kind = "image"
    return PageText(
        edited.text,
        kind,
        edited,
        n_hidden=hidden,
        reasons=tuple(sorted({reason for _, reason in look.hidden})) if hidden else (),
        ocr_layer=look.ocr_layer,
        lines=tuple((edited.position(start), edited.position(end), size) for start, end, size in lines),
    )


def _n_characters(page: Any) -> int:
    text_page = page.get_textpage()
    try:
        return _count(native.raw_text(text_page))
    finally:
        text_page.close()


def _count(text: str) -> int:
    return len(text) - sum(map(str.isspace, text))


def _image(page: Any) -> tuple[Any, Any]:
    """The page as pixels (H, W, 3) and the function from a line's box in pixels to one in points."""
    scale = min(_OCR_SCALE, _OCR_LIMIT / max(page.get_size()))
    bitmap = page.render(scale=scale, rev_byteorder=False)
    place = bitmap.get_posconv(page)
    # The page is closed when OCR has read it: three corners tell how pixels lie on it, however it is turned.
    origin, across, down = (
        np.array(place.to_page(*corner)) for corner in ((0, 0), (bitmap.width, 0), (0, bitmap.height))
    )
    per_x, per_y = (across - origin) / bitmap.width, (down - origin) / bitmap.height

    def to_points(line: ocr.OcrLine) -> Bounds:
        corners = np.array(
            [origin + x * per_x + y * per_y for x in (line.left, line.right) for y in (line.top, line.bottom)]
        )
        (left, bottom), (right, top) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        return left, bottom, right, top

    pixels = np.array(bitmap.to_numpy())
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return pixels[:, :, :3], to_points
