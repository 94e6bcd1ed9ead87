"""Text of a PDF page that a person does not see: a way to plant instructions in an index.

Render mode 3, sizes below what can be read, and places off the page are seen from the text objects. For white,
transparent, outlined and clipping text, and for text that a picture or an area covers or that has the colour of what it
stands on, the page decides: it is rendered with and without them, and what changes nothing is hidden. White letters on
a dark field are thereby kept. Text beyond a clipping path is not noticed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_qa.document_processor import pdf_native as native
from rag_qa.document_processor.pdf_covers import in_doubt
from rag_qa.document_processor.pdf_native import Bounds, PageObject, PageObjects

_TINY = 1.5
"""Points: half a millimetre for a line and its gap, which nobody reads on paper."""

_INVISIBLE_MODE = 3
_INVISIBLE, _WHITE, _COVERED = "invisible", "white or transparent", "covered or in the colour of what it stands on"
_OF_SCANS = (_INVISIBLE, _COVERED)
"""How the software of scanners puts what it read below or above the picture."""

_BRIGHT = 225
_FAINT = 40
_VISIBLE_CHANGE = 24
"""Change of red, green or blue, 0 to 255, of the most changed pixel from which a text counts as seen."""

_SCAN_COVER = 0.6


@dataclass(frozen=True)
class PageLook:
    """What the objects of a page say of it."""

    hidden: tuple[tuple[PageObject, str], ...]
    """Texts that are not seen, with the reason."""

    image_cover: float
    """Share of the page that images cover, overlaps counted twice, at most 1."""

    ocr_layer: bool
    """The invisible text is what a scanner's software read in the picture: it is the text of the page."""


def look_at(page: Any) -> PageLook:
    """Find the hidden texts of a page. Invisible text, and text under a picture, is the page's own where pictures cover
    the page and next to nothing else is written there."""
    box = page.get_bbox()
    found = native.page_objects(page, box, _BRIGHT, _FAINT, 2 * _TINY)
    covered = sum(_overlap(image.bounds, box) for image in found.images)
    cover = min(1.0, covered / max(1.0, (box[2] - box[0]) * (box[3] - box[1])))
    certain = [(text, reason) for text in found.suspects if (reason := _certainly_hidden(text, box))]
    known = {text.handle for text, _ in certain}
    bright = [text for text in found.suspects if text.handle not in known and _doubtful(text)]
    known.update(text.handle for text in bright)
    doubtful = [*bright, *(text for text in _under_or_alike(found) if text.handle not in known)]
    unseen = {text.handle for text in _unseen(page, box, doubtful)} if doubtful else set()
    hidden = [*certain, *((text, _WHITE if place < len(bright) else _COVERED) for place, text in enumerate(doubtful)
                          if text.handle in unseen)]  # fmt: skip
    scanned = sum(reason in _OF_SCANS for _, reason in hidden)
    ocr_layer = scanned > 0 and cover >= _SCAN_COVER and scanned >= 0.9 * len(found.texts)
    if ocr_layer:
        hidden = [(text, reason) for text, reason in hidden if reason not in _OF_SCANS]
    return PageLook(tuple(hidden), cover, ocr_layer)


def _under_or_alike(found: PageObjects) -> list[PageObject]:
    """Texts that a picture or an area may hide."""
    if not found.covers or not found.texts:
        return []
    orders, _, bounds, _, _, fills = zip(*found.texts, strict=True)
    mask = in_doubt(orders, bounds, fills, found.covers)
    chosen = (found.texts[place] for place in np.flatnonzero(mask).tolist())
    return [
        PageObject(handle, native.TEXT, at, matrix, mode, fill, order)
        for order, handle, at, matrix, mode, fill in chosen
        if mode != _INVISIBLE_MODE and at[2] > at[0] and at[3] > at[1]
    ]


def _certainly_hidden(text: PageObject, box: Bounds) -> str:
    if text.render_mode == _INVISIBLE_MODE:
        return _INVISIBLE
    left, bottom, right, top = text.bounds
    if right <= box[0] or left >= box[2] or top <= box[1] or bottom >= box[3]:
        # Spaces have no extent, and may stand anywhere.
        return "off the page" if right > left and top > bottom else ""
    # A full stop is small at any size: ask for the font's size only where the ink is tiny.
    return "tiny" if top - bottom < 2 * _TINY and native.text_size(text) < _TINY else ""


def _doubtful(text: PageObject) -> bool:
    red, green, blue, alpha = text.fill
    # Of outlines, clipping paths and the like the filling says nothing.
    return text.render_mode not in (0, 2) or alpha <= _FAINT or min(red, green, blue) >= _BRIGHT


def _unseen(page: Any, box: Bounds, texts: list[PageObject]) -> list[PageObject]:
    region = _region(page, box, texts)
    with_texts = _rendered(page, box, region)
    for text in texts:
        native.set_active(text, False)
    without = _rendered(page, box, region)
    for text in texts:
        native.set_active(text, True)
    change = np.abs(with_texts.astype(np.int16) - without).max(axis=2)
    scale = _scale(region)
    return [text for text in texts if _area(change, text.bounds, region, scale).max(initial=0) < _VISIBLE_CHANGE]


def _region(page: Any, box: Bounds, texts: list[PageObject]) -> Bounds:
    """The part of the page to render: around the texts, because PDFium leaves out quickly what is elsewhere."""
    if page.get_rotation():  # a crop would be one of the turned page
        return box
    lefts, bottoms, rights, tops = zip(*(text.bounds for text in texts), strict=True)
    return (
        max(box[0], min(lefts) - 1),
        max(box[1], min(bottoms) - 1),
        min(box[2], max(rights) + 1),
        min(box[3], max(tops) + 1),
    )


def _rendered(page: Any, box: Bounds, region: Bounds) -> NDArray[np.uint8]:
    """Colours (H, W, 3) of a region of the unrotated page, one pixel per point or, on huge pages, fewer."""
    crop = (region[0] - box[0], region[1] - box[1], box[2] - region[2], box[3] - region[3])
    turned_back = -page.get_rotation() % 360
    return np.array(page.render(scale=_scale(region), crop=crop, rotation=turned_back).to_numpy()[:, :, :3])


def _scale(region: Bounds) -> float:
    return min(1.0, 2000 / max(region[2] - region[0], region[3] - region[1]))


def _area(change: NDArray[np.int16], bounds: Bounds, region: Bounds, scale: float) -> NDArray[np.int16]:
    left, right = ((x - region[0]) * scale for x in (bounds[0], bounds[2]))
    top, bottom = ((region[3] - y) * scale for y in (bounds[3], bounds[1]))
    return change[max(0, int(top)) : max(0, int(bottom) + 1), max(0, int(left)) : max(0, int(right) + 1)]


def _overlap(first: Bounds, second: Bounds) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, width) * max(0.0, height)
