"""PDFs written by reportlab: text, offsets, places, what is hidden, and what OCR reads."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from rag_qa.document_processor import ocr, pdf_reader
from rag_qa.document_processor.ocr import OcrLine
from rag_qa.document_processor.readers import ReadOptions, UnreadableDocument, read_document_bytes
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


def picture(canvas: Canvas) -> None:
    canvas.drawImage(ImageReader(Image.new("RGB", (60, 60), (200, 120, 40))), 0, 0, 300, 300)


def two_pages(canvas: Canvas) -> None:
    canvas.setFont("Helvetica-Bold", 20)
    canvas.drawString(20, 260, "First heading")
    canvas.setFont("Helvetica", 10)
    canvas.drawString(20, 230, "Some body text that is long enough to be the body, with an exam-")
    canvas.drawString(20, 216, "ple of a broken word.")
    canvas.showPage()
    canvas.setFont("Helvetica", 10)
    canvas.drawString(20, 260, "The second page speaks of the zebra and of nothing else.")
    canvas.showPage()


def test_pages_are_spans_of_the_text() -> None:
    document = read(pdf(two_pages))
    assert [document.text[page.start : page.end] for page in document.pages] == [
        "First heading\nSome body text that is long enough to be the body, with an example of a broken word.",
        "The second page speaks of the zebra and of nothing else.",
    ]
    assert [page.number for page in document.pages] == [1, 2]
    assert [(heading.level, heading.title) for heading in document.headings] == [(1, "First heading")]
    assert document.title == "First heading"
    assert document.metadata["pages"] == "2"


def test_outline_gives_headings_with_their_level() -> None:
    def draw(canvas: Canvas) -> None:
        for index, (title, level) in enumerate([("Methods", 0), ("Data", 1), ("Data", 1)]):
            canvas.bookmarkPage(str(index))
            canvas.addOutlineEntry(title, str(index), level)
            canvas.drawString(20, 250 - 60 * index, f"{index + 1}.{index} {title}")
            canvas.drawString(20, 230 - 60 * index, "Data and methods are spoken of in this line.")

    document = read(pdf(draw))
    assert [(h.level, h.title) for h in document.headings] == [(1, "1.0 Methods"), (2, "2.1 Data"), (2, "3.2 Data")]


def test_place_of_a_span(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(two_pages))
    document = read(path.read_bytes())
    page = document.pages[1]
    start = document.text.index("zebra") - page.start
    (box,) = pdf_reader.locate(path, 2, start, start + 5)
    assert 258 <= box.bottom <= 260
    assert 266 <= box.top <= 268
    before = Canvas(io.BytesIO()).stringWidth("The second page speaks of the ", "Helvetica", 10)
    assert box.left == pytest.approx(20 + before, abs=1)
    assert box.right == pytest.approx(20 + before + Canvas(io.BytesIO()).stringWidth("zebra", "Helvetica", 10), abs=1)


def test_a_broken_word_has_two_boxes(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(two_pages))
    start = read(path.read_bytes()).text.index("example")
    first, second = pdf_reader.locate(path, 1, start, start + 7)
    assert first.bottom > second.top
    assert second.left == pytest.approx(20, abs=1)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rendered_page_is_yellow_where_the_span_is(tmp_path: Path, rotation: int) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setPageRotation(rotation)
        canvas.drawString(40, 100, "findme")

    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(draw, (300, 200)))
    boxes = pdf_reader.locate(path, 1, 0, 6)
    plain, marked = (
        np.asarray(Image.open(io.BytesIO(pdf_reader.render_page(path, 1, each)))).astype(int) for each in ([], boxes)
    )
    dark = np.argwhere(plain.max(axis=2) < 100)
    yellow = np.argwhere((marked[:, :, 2] < 150) & (marked[:, :, 0] > 200))
    assert (yellow.min(axis=0) <= dark.min(axis=0)).all()
    assert (yellow.max(axis=0) >= dark.max(axis=0)).all()
    assert len(yellow) < 0.1 * plain.shape[0] * plain.shape[1]


def test_place_on_a_page_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(two_pages))
    with pytest.raises(UnreadableDocument, match=r"^a\.pdf: has no page 3, only 1 to 2$"):
        pdf_reader.locate(path, 3, 0, 1)


def hiding(canvas: Canvas) -> None:
    canvas.drawString(20, 250, "Seen text.")
    canvas.saveState()
    text = canvas.beginText(20, 220)
    text.setTextRenderMode(3)
    text.textLine("AAAA")
    canvas.drawText(text)
    canvas.restoreState()
    canvas.drawString(-400, 200, "BBBB")
    canvas.saveState()
    canvas.setFillColorRGB(1, 1, 1)
    canvas.drawString(20, 180, "CCCC")
    canvas.setFillColorRGB(0.1, 0.1, 0.3)
    canvas.rect(10, 90, 200, 30, fill=1)
    canvas.setFillColorRGB(1, 1, 1)
    canvas.drawString(20, 100, "White on dark is seen.")
    canvas.restoreState()
    canvas.setFillColorRGB(0, 0, 0, alpha=0.02)
    canvas.drawString(20, 60, "DDDD")
    canvas.setFillColorRGB(0, 0, 0, alpha=1)
    canvas.setFont("Helvetica", 0.4)
    canvas.drawString(20, 40, "EEEE")


@pytest.mark.parametrize("rotation", [0, 90, 270])
def test_hidden_text_is_left_out_with_a_note(rotation: int) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setPageRotation(rotation)
        hiding(canvas)

    document = read(pdf(draw))
    # PDFium orders the lines of a turned page by where they are seen.
    assert sorted(document.text.split("\n")) == ["Seen text.", "White on dark is seen."]
    assert document.notes == (
        "hidden text left out (invisible, off the page, tiny, white or transparent): 20 characters on page 1",
    )


def test_hidden_text_is_kept_on_demand() -> None:
    text = read(pdf(hiding), ReadOptions(ocr="off", hidden_text="keep")).text
    assert all(letter * 4 in text for letter in "ABCDE")


def test_hidden_text_within_a_form() -> None:
    def draw(canvas: Canvas) -> None:
        canvas.beginForm("inner")
        canvas.drawString(0, 0, "shown twice")
        canvas.endForm()
        canvas.saveState()
        canvas.translate(20, 100)
        canvas.doForm("inner")
        canvas.restoreState()
        canvas.translate(20, 900)
        canvas.doForm("inner")

    assert read(pdf(draw)).text == "shown twice"


def test_places_do_not_shift_by_hidden_text(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(hiding))
    start = read(path.read_bytes()).text.index("White")
    (box,) = pdf_reader.locate(path, 1, start, start + 5)
    assert 95 < box.bottom < box.top < 112
    assert box.left == pytest.approx(20, abs=1)


def test_scan_with_an_ocr_layer_is_read() -> None:
    def draw(canvas: Canvas) -> None:
        picture(canvas)
        text = canvas.beginText(20, 220)
        text.setTextRenderMode(3)
        text.textLine("What the scanner's software read in the picture.")
        canvas.drawText(text)

    document = read(pdf(draw))
    assert document.text == "What the scanner's software read in the picture."
    assert document.notes == ("scans with the text of their OCR layer: page 1",)


def test_images_alone_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "is_available", lambda: False)
    with pytest.raises(UnreadableDocument) as caught:
        read(pdf(picture), ReadOptions())
    assert str(caught.value) == (
        "a.pdf: has no text: 1 of its 1 pages are images; pip install 'roadmap-rag-qa[ocr]' lets them be read by OCR"
    )


def test_image_page_among_others_is_named() -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(20, 200, "A page with more than a few words.")
        for _ in range(2):
            canvas.showPage()
            picture(canvas)

    document = read(pdf(draw))
    assert [page.end - page.start for page in document.pages] == [34, 0, 0]
    assert document.notes == ("images without text, not read: pages 2-3; --reading.ocr auto lets them be read by OCR",)


def test_image_page_is_read_by_ocr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "is_available", lambda: True)
    monkeypatch.setattr(
        ocr, "read_image", lambda image: [OcrLine("upper line", 0, 0, 250, 25), OcrLine("lower", 0, 50, 125, 75)]
    )
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(picture))
    document = read(path.read_bytes(), ReadOptions())
    assert document.text == "upper line\nlower"
    assert document.notes == ("images read by OCR, which makes mistakes: page 1",)
    (box,) = pdf_reader.locate(path, 1, 6, 10)
    # 2.5 pixels per point, from the page's top at 300.
    assert (box.left, box.right, box.bottom, box.top) == pytest.approx((60, 100, 290, 300), abs=0.5)


def test_real_ocr() -> None:
    pytest.importorskip("rapidocr", reason="the extra 'ocr' is not installed")
    image = Image.new("RGB", (600, 120), "white")
    ImageDraw.Draw(image).text((20, 30), "Citations can be checked", fill="black", font_size=40)
    data = pdf(lambda canvas: canvas.drawImage(ImageReader(image), 0, 100, 300, 60))
    assert read(data, ReadOptions()).text.replace(" ", "") == "Citationscanbechecked"


def test_tables_follow_their_page() -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(40, 200, "Text above the table.")
        canvas.grid([40, 120, 200], [100, 120, 140])
        for x, y, cell in [(45, 125, "name"), (125, 125, "value"), (45, 105, "alpha"), (125, 105, "7")]:
            canvas.drawString(x, y, cell)

    options = ReadOptions(ocr="off", tables=True)
    document = read(pdf(draw), options)
    assert document.text.endswith("\n\n| name | value |\n| --- | --- |\n| alpha | 7 |")
    assert document.notes == ("tables added after the text of their page: page 1",)
