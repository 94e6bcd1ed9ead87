"""PDFs that are encrypted, damaged, cut, empty or long, and many at a time."""

import contextlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from reportlab.lib import pdfencrypt
from reportlab.pdfgen.canvas import Canvas

from rag_qa.document_processor.readers import PasswordNeeded, ReadOptions, UnreadableDocument, read_document_bytes
from rag_qa.types import Document

NO_OCR = ReadOptions(ocr="off")


def pdf(draw: Callable[[Canvas], object], size: tuple[float, float] = (300, 300), **canvas: object) -> bytes:
    buffer = io.BytesIO()
    page = Canvas(buffer, pagesize=size, **canvas)  # type: ignore[arg-type]
    draw(page)
    page.save()
    return buffer.getvalue()


def read(data: bytes, options: ReadOptions = NO_OCR) -> Document:
    return read_document_bytes(data, "a.pdf", options)


def two_pages(canvas: Canvas) -> None:
    canvas.drawString(20, 260, "The first page speaks of the lion.")
    canvas.showPage()
    canvas.drawString(20, 260, "The second page speaks of the zebra.")
    canvas.showPage()


def encrypted() -> bytes:
    return pdf(two_pages, encrypt=pdfencrypt.StandardEncryption("secret", canPrint=0))


def test_encrypted() -> None:
    with pytest.raises(PasswordNeeded) as caught:
        read(encrypted())
    assert str(caught.value) == "a.pdf: is encrypted: give its password with --password"
    with pytest.raises(PasswordNeeded) as caught:
        read(encrypted(), ReadOptions(password="wrong"))
    assert str(caught.value) == "a.pdf: is encrypted: the password given does not open it"
    assert "zebra" in read(encrypted(), ReadOptions(password="secret", ocr="off")).text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"%PDF-1.7\nnothing else", "a.pdf: is damaged: PDFium finds no PDF document in it"),
        (b"just words", "a.pdf: is no PDF: it does not begin with %PDF-; it may be damaged or cut"),
        (b"", "a.pdf: is empty (0 bytes)"),
        (pdf(lambda canvas: canvas.showPage()), "a.pdf: has no text on any of its 1 pages"),
    ],
)
def test_unreadable(data: bytes, message: str) -> None:
    with pytest.raises(UnreadableDocument) as caught:
        read(data)
    assert str(caught.value) == message


def test_a_document_without_pages_is_told_from_the_encrypted_one_before_it() -> None:
    head = b"%PDF-1.4\n"
    objects = [b"1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n", b"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"]
    table = b"".join(b"%010d 00000 n \n" % place for place in (len(head), len(head + objects[0])))
    body = head + b"".join(objects)
    tail = b"xref\n0 3\n0000000000 65535 f \n%strailer<</Root 1 0 R/Size 3>>\nstartxref\n%d\n%%%%EOF"
    data = body + tail % (table, len(body))
    for _ in range(2):
        with pytest.raises(UnreadableDocument) as caught:
            read(data)
        assert str(caught.value) == "a.pdf: is a PDF without pages"
        with pytest.raises(PasswordNeeded):
            read(encrypted())


def test_cut_file_is_read_or_refused() -> None:
    data = pdf(two_pages)
    for share in (0.3, 0.6, 0.9):
        with contextlib.suppress(UnreadableDocument):
            assert read(data[: int(share * len(data))]).text


def test_a_thousand_pages() -> None:
    def draw(canvas: Canvas) -> None:
        for number in range(1000):
            canvas.drawString(20, 200, f"This is page number {number + 1}.")
            canvas.showPage()

    data = pdf(draw)
    document = read(data)
    assert len(document.pages) == 1000
    last = document.pages[-1]
    assert document.text[last.start : last.end] == "This is page number 1000."
    short = read(data, ReadOptions(max_pages=3))
    assert len(short.pages) == 3
    assert short.notes == ("only the first 3 of 1,000 pages were read; raise --reading.max_pages for the rest",)


def test_threads_take_turns() -> None:
    data = pdf(two_pages)
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda _: read(data).text, range(24)))
    assert set(texts) == {read(data).text}
