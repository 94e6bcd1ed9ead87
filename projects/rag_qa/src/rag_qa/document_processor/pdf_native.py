"""PDFium's page objects and characters, called without pypdfium2's objects around each of them.

A page has hundreds of text objects, of which five things are asked, and thousands of characters. A foreign function
that takes and returns plain addresses, and keeps the GIL, answers twice as fast as the binding's typed one.
"""

import ctypes
import threading
from collections.abc import Callable
from ctypes import c_double, c_float, c_int, c_uint, c_void_p
from dataclasses import dataclass
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium
from pypdfium2._helpers.misc import PdfiumError

from rag_qa.document_processor.pdf_covers import Colour, Cover, is_large
from rag_qa.document_processor.unreadable import PasswordNeeded, UnreadableDocument

LOCK = threading.RLock()
"""PDFium is not safe for threads: whoever calls it holds this lock, documents of its own or not."""

Matrix = tuple[float, float, float, float, float, float]
Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top in points, origin at the page's lower left corner."""

TEXT, IMAGE, FORM = pdfium.FPDF_PAGEOBJ_TEXT, pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_FORM
PATH, SHADING = pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_SHADING
_MAX_DEPTH = 8
_UNIT: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def _function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    address = ctypes.cast(getattr(pdfium, name), c_void_p).value or 0
    prototype: Callable[[int], Callable[..., Any]] = ctypes.PYFUNCTYPE(result, *arguments)  # type: ignore[assignment]
    return prototype(address)


_count = _function("FPDFPage_CountObjects", c_int, c_void_p)
_get = _function("FPDFPage_GetObject", c_void_p, c_void_p, c_int)
_form_count = _function("FPDFFormObj_CountObjects", c_int, c_void_p)
_form_get = _function("FPDFFormObj_GetObject", c_void_p, c_void_p, c_uint)
_type = _function("FPDFPageObj_GetType", c_int, c_void_p)
_bounds = _function("FPDFPageObj_GetBounds", c_int, *[c_void_p] * 5)
_matrix = _function("FPDFPageObj_GetMatrix", c_int, c_void_p, c_void_p)
_fill = _function("FPDFPageObj_GetFillColor", c_int, *[c_void_p] * 5)
_draw_mode = _function("FPDFPath_GetDrawMode", c_int, *[c_void_p] * 3)
_mode = _function("FPDFTextObj_GetTextRenderMode", c_int, c_void_p)
_size = _function("FPDFTextObj_GetFontSize", c_int, c_void_p, c_void_p)
_activate = _function("FPDFPageObj_SetIsActive", c_int, c_void_p, c_int)
_unicode = _function("FPDFText_GetUnicode", c_uint, c_void_p, c_int)
_is_hyphen = _function("FPDFText_IsHyphen", c_int, c_void_p, c_int)
_char_size = _function("FPDFText_GetFontSize", c_double, c_void_p, c_int)
_char_matrix = _function("FPDFText_GetMatrix", c_int, c_void_p, c_int, c_void_p)


@dataclass(slots=True)
class PageObject:
    """A text or an image as it stands on the page."""

    handle: int
    kind: int
    bounds: Bounds
    matrix: Matrix
    """From the space of the form that the object lies in to the page."""

    render_mode: int = 0
    fill: Colour = (0, 0, 0, 255)
    order: int = 0
    """Place in the order of drawing."""


def open_pdf(data: bytes, source: str, password: str = "") -> pypdfium2.PdfDocument:
    """Raises PasswordNeeded: the password is missing or wrong; UnreadableDocument: damaged, or without pages."""
    try:
        return pypdfium2.PdfDocument(data, password=password or None)
    except PdfiumError:
        code = _error_of(data, password)
        if code == pdfium.FPDF_ERR_PASSWORD:
            what = "the password given does not open it" if password else "give its password with --password"
            raise PasswordNeeded(f"{source}: is encrypted: {what}") from None
        if code == pdfium.FPDF_ERR_SECURITY:
            raise UnreadableDocument(
                f"{source}: is encrypted by a scheme that PDFium does not know; save it without protection"
            ) from None
        if code == pdfium.FPDF_ERR_SUCCESS:
            raise UnreadableDocument(f"{source}: is a PDF without pages") from None
        raise UnreadableDocument(f"{source}: is damaged: PDFium finds no PDF document in it") from None


def _error_of(data: bytes, password: str) -> int:
    """Why these bytes cannot be opened. PDFium's last error may be that of an earlier file, because a document without
    pages is opened without one; so the bytes are opened again, after a failure that is known."""
    pdfium.FPDF_LoadMemDocument64(b"", 0, None)
    document = pdfium.FPDF_LoadMemDocument64(data, len(data), password.encode() + b"\0" if password else None)
    if document:
        pdfium.FPDF_CloseDocument(document)
        return pdfium.FPDF_ERR_SUCCESS
    return pdfium.FPDF_GetLastError()


def address(binding_object: Any) -> int:
    """Address of a page or text page of pypdfium2."""
    return ctypes.cast(binding_object.raw, c_void_p).value or 0


@dataclass(slots=True)
class PageObjects:
    """What is on a page, as far as it can be told cheaply."""

    n_objects: int
    texts: list[tuple[int, int, Bounds, Matrix, int, Colour]]
    """Order of drawing, handle, bounds, matrix, render mode and filling of each."""

    suspects: list[PageObject]
    """Texts in an unusual mode, very bright or faint, with ink lower than `low` points, or not within the page."""

    images: list[PageObject]
    covers: list[Cover]
    """Pictures and filled areas."""


def page_objects(page: Any, box: Bounds, bright: int, faint: int, low: float) -> PageObjects:
    """Go through the texts and images of a page, those within forms too, in drawing order."""
    handle = address(page)
    found = PageObjects(0, [], [], [], [])
    _walk([_get(handle, index) for index in range(_count(handle))], _UNIT, 0, found, (box, bright, faint, low))
    return found


def _walk(
    handles: list[int], to_page: Matrix, depth: int, found: PageObjects, limits: tuple[Bounds, int, int, float]
) -> None:
    (page_left, page_bottom, page_right, page_top), bright, faint, low = limits
    colour, box = (c_uint * 4)(), (c_float * 4)()
    at_red, at_green, at_blue, at_alpha = (ctypes.addressof(colour) + 4 * index for index in range(4))
    boxes = [ctypes.addressof(box) + 4 * index for index in range(4)]
    for handle in handles:
        found.n_objects += 1
        mode = _mode(handle)
        if mode >= 0:  # -1 for all but texts: asked first, because most objects are texts
            _fill(handle, at_red, at_green, at_blue, at_alpha)
            _bounds(handle, *boxes)
            bounds: Bounds = tuple(box) if to_page is _UNIT else _transformed(box, to_page)  # type: ignore[assignment]
            left, bottom, right, top = bounds
            red, green, blue, alpha = fill = tuple(colour)
            found.texts.append((found.n_objects, handle, bounds, to_page, mode, fill))
            if (
                (mode != 0 and mode != 2)
                or (red >= bright and green >= bright and blue >= bright)
                or alpha <= faint
                or (right <= page_left or left >= page_right or top <= page_bottom or bottom >= page_top)
                or top - bottom < low
            ):
                found.suspects.append(PageObject(handle, TEXT, bounds, to_page, mode, fill, found.n_objects))
            continue
        kind = _type(handle)
        if kind == FORM and depth < _MAX_DEPTH:
            own = (c_float * 6)()
            _matrix(handle, ctypes.addressof(own))
            children = [_form_get(handle, index) for index in range(_form_count(handle))]
            _walk(children, multiply(tuple(own), to_page), depth + 1, found, limits)
        elif kind in (IMAGE, PATH, SHADING):
            _note_area(handle, kind, to_page, found, colour, box)


def _note_area(handle: int, kind: int, to_page: Matrix, found: PageObjects, colour: Any, box: Any) -> None:
    """Put an image, and whatever may hide a text, among what was found. `colour` and `box` are written over."""
    places = [ctypes.addressof(colour) + 4 * index for index in range(4)]
    if kind == PATH:
        _draw_mode(handle, *places[:2])  # whether it is filled, and whether it has an outline
        if not colour[0]:
            return
    _bounds(handle, *(ctypes.addressof(box) + 4 * index for index in range(4)))
    bounds = _transformed(box, to_page)
    if kind == IMAGE:
        found.images.append(PageObject(handle, kind, bounds, to_page, order=found.n_objects))
    if kind == IMAGE or is_large(*bounds):
        # Pictures, gradients and patterns have no colour of their own.
        known = kind == PATH and _fill(handle, *places)
        found.covers.append(Cover(found.n_objects, bounds, tuple(colour) if known else None))


def text_size(text: PageObject) -> float:
    """Font size on the page in points: that of the text state times the scale of the matrices."""
    size, own = c_float(), (c_float * 6)()
    _size(text.handle, ctypes.addressof(size))
    _matrix(text.handle, ctypes.addressof(own))
    a, b, c, d, _, _ = multiply(tuple(own), text.matrix)
    return abs(size.value) * abs(a * d - b * c) ** 0.5


def set_active(found: PageObject, active: bool) -> None:
    """Whether an object takes part in rendering and in text pages that are loaded from then on."""
    _activate(found.handle, int(active))


def raw_text(text_page: Any) -> str:
    """A text page's characters, so that index i of the result is PDFium's character i.

    PDFium's own text leaves some characters out and is cut short where one lies beyond the first plane; then
    the characters are asked for one by one. A hyphen that PDFium takes for a word's break is U+FFFE.
    """
    text = text_page.get_text_range()
    n_chars = text_page.count_chars()
    if len(text) == n_chars and not any("\ud800" <= char <= "\udfff" for char in text[-1:]):
        return text
    handle = address(text_page)
    codes = [_unicode(handle, index) for index in range(n_chars)]
    if 2 in codes:
        codes = [0xFFFE if code == 2 and _is_hyphen(handle, index) else code for index, code in enumerate(codes)]
    return "".join(map(chr, codes)) if max(codes, default=0) <= 0x10FFFF else "".join(map(_character, codes))


def character_size(text_page_address: int, index: int) -> float:
    """Font size of a character on the page in points."""
    matrix = (c_float * 6)()
    if not _char_matrix(text_page_address, index, ctypes.addressof(matrix)):
        return 0.0
    a, b, c, d, _, _ = matrix
    return float(_char_size(text_page_address, index) * abs(a * d - b * c) ** 0.5)


def _character(code: int) -> str:
    return chr(code) if code <= 0x10FFFF else "\ufffd"


def multiply(first: Matrix, second: Matrix) -> Matrix:
    """The matrix that applies `first`, then `second` (PDF 32000-1, 8.3.4)."""
    a, b, c, d, e, f = first
    p, q, r, s, t, u = second
    return (a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u)


def _transformed(bounds: Any, matrix: Matrix) -> Bounds:
    left, bottom, right, top = bounds
    a, b, c, d, e, f = matrix
    xs = [a * x + c * y + e for x in (left, right) for y in (bottom, top)]
    ys = [b * x + d * y + f for x in (left, right) for y in (bottom, top)]
    return (min(xs), min(ys), max(xs), max(ys))
