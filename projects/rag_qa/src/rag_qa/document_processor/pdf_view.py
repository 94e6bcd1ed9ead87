"""Where a span of a PDF's text stands on its page, and the page as an image with the span highlighted."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pypdfium2

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor import pdf_native as native
from rag_qa.document_processor.files import read_bytes
from rag_qa.document_processor.pdf_page import PageText, opened_page, read_page, visible_text_page
from rag_qa.document_processor.unreadable import UnreadableDocument

_YELLOW = (255, 236, 110)
_MARGIN = 1.5
_MAX_PIXELS = 4000


@dataclass(frozen=True)
class Box:
    """A rectangle on a page in PDF points, origin at the lower left corner of the unrotated page."""

    left: float
    bottom: float
    right: float
    top: float


def locate(
    path: Path, page: int, start: int, end: int, password: str = "", options: ReadOptions | None = None
) -> list[Box]:
    """Boxes of a span of a page's text, one for each line that it touches.

    Args:
        page: number, from 1.
        start, end: characters from the start of the page: offsets in the document's text less `Page.start`.
        options: those that the document was read with; the page is read again, to the same text.

    Empty for what has no place of its own: spaces, and tables added by `ReadOptions.tables`. Raises
    UnreadableDocument: the file cannot be opened, or has no such page.
    """
    options = options or ReadOptions()
    with _opened(path, password or options.password, options) as document:
        _check_page(document, page, path)
        content = read_page(document, page, options)
        if content.edited is None:
            return _ocr_boxes(content, start, end)
        start, end = max(0, start), min(end, len(content.text))
        if start >= end:
            return []
        first, last = content.edited.raw_span(start, end)
        return _boxes(document, page, first, last, options)


def render_page(path: Path, page: int, boxes: Sequence[Box] = (), password: str = "", scale: float = 2.0) -> bytes:
    """The page as a PNG, `scale` pixels per point, with the boxes in yellow as by a marker.

    Raises UnreadableDocument: as `locate`.
    """
    from PIL import Image, ImageChops

    with _opened(path, password, ReadOptions()) as document:
        _check_page(document, page, path)
        with opened_page(document, page) as opened:
            scale = min(scale, _MAX_PIXELS / max(1.0, *opened.get_size()))
            bitmap = opened.render(scale=scale)
            image = bitmap.to_pil().convert("RGB")
            place = bitmap.get_posconv(opened)
            corners = [(*place.to_bitmap(box.left, box.bottom), *place.to_bitmap(box.right, box.top)) for box in boxes]
    margin = _MARGIN * scale
    for x1, y1, x2, y2 in corners:
        area = (
            max(0, int(min(x1, x2) - margin)),
            max(0, int(min(y1, y2) - margin)),
            min(image.width, int(max(x1, x2) + margin) + 1),
            min(image.height, int(max(y1, y2) + margin) + 1),
        )
        if area[0] < area[2] and area[1] < area[3]:
            part = image.crop(area)
            image.paste(ImageChops.multiply(part, Image.new("RGB", part.size, _YELLOW)), area)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@contextmanager
def _opened(path: Path, password: str, options: ReadOptions) -> Iterator[pypdfium2.PdfDocument]:
    data = read_bytes(Path(path), Path(path).name, options.max_bytes)
    with native.LOCK:
        document = native.open_pdf(data, Path(path).name, password)
    try:
        yield document
    finally:
        with native.LOCK:
            document.close()


def _check_page(document: Any, page: int, path: Path) -> None:
    if not 1 <= page <= len(document):
        raise UnreadableDocument(f"{Path(path).name}: has no page {page}, only 1 to {len(document)}")


def _boxes(document: Any, number: int, first: int, last: int, options: ReadOptions) -> list[Box]:
    found = []
    with opened_page(document, number) as page, visible_text_page(page, options) as text_page:
        for index in range(text_page.count_rects(first, last - first)):
            left, bottom, right, top = text_page.get_rect(index)
            if right > left and top > bottom:
                found.append(Box(left, bottom, right, top))
    return found


def _ocr_boxes(content: PageText, start: int, end: int) -> list[Box]:
    """The part of each line's box that the span takes, as if all its characters had one width."""
    found, at = [], 0
    for text, (left, bottom, right, top) in content.ocr_lines:
        first, last = max(start - at, 0), min(end - at, len(text))
        if first < last:
            width = (right - left) / len(text)
            found.append(Box(left + first * width, bottom, left + last * width, top))
        at += len(text) + 1
    return found
