"""Real PDFs and Markdown files: each is read or refused with its reason, and the words are those of docling's reading.

They are py-pdf's sample files, docling's test files with its ground truth, and Chinese books in PDF and Markdown.
"""

import os
import re
from pathlib import Path

import pytest

from rag_qa.document_processor import pdf_reader
from rag_qa.document_processor.readers import ReadOptions, UnreadableDocument, find_files, read_document

FOLDER = Path(os.environ.get("ROADMAP_DATA", ""), "pdf_samples")
pytestmark = pytest.mark.skipif(
    "ROADMAP_DATA" not in os.environ or not FOLDER.is_dir(), reason="ROADMAP_DATA names no folder with pdf_samples"
)
OPTIONS = ReadOptions(ocr="off")
SAMPLES = find_files(FOLDER) if FOLDER.is_dir() and "ROADMAP_DATA" in os.environ else []
REFUSED = {
    "is encrypted: give its password with --password": {"libreoffice-writer-password.pdf"},
    "pages are images; --reading.ocr auto lets them be read by OCR": {
        "imagemagick-ASCII85Decode.pdf",
        "imagemagick-CCITTFaxDecode.pdf",
        "imagemagick-images.pdf",
        "imagemagick-lzw.pdf",
        "grayscale-image.pdf",
        "cmyk-image.pdf",
    },
}


def test_every_file_is_read_or_refused_with_its_reason() -> None:
    n_read, refused = 0, {reason: set[str]() for reason in REFUSED}
    for found in SAMPLES:
        try:
            document = read_document(found.path, found.source, OPTIONS)
        except UnreadableDocument as error:
            reason = next(reason for reason in REFUSED if str(error).endswith(reason))
            refused[reason].add(found.source.rpartition("__")[2])
        else:
            n_read += 1
            assert document.text.strip()
    assert refused == REFUSED
    assert n_read == len(SAMPLES) - sum(map(len, REFUSED.values()))


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]{3,}", text.lower()))


# Right-to-left pages are left out: docling turns their words round, PDFium gives them as they are stored.
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("2305.03393v1-pg9", 0.95),
        ("amt_handbook_sample", 0.95),
        ("code_and_formula", 0.95),
        ("multi_page", 0.95),
        ("normal_4pages", 0.9),
        ("picture_classification", 0.95),
        ("redp5110_sampled", 0.95),
        ("table_mislabeled_as_picture", 0.9),
    ],
)
def test_words_are_those_of_the_ground_truth(name: str, share: float) -> None:
    truth = words((FOLDER / "docling_groundtruth" / f"{name}.md").read_text(encoding="utf-8"))
    text = read_document(FOLDER / "docling" / f"{name}.pdf", f"{name}.pdf", OPTIONS).text
    found = len(truth & words(text)) / len(truth)
    assert found >= share, f"{found:.3f}"


@pytest.mark.parametrize("name", ["docling/redp5110_sampled.pdf", "zh/pumpkin_book.pdf"])
def test_places_hold_their_words(name: str) -> None:
    """PDFium's text within the boxes of a word is that word."""
    import pypdfium2

    path = FOLDER / name
    document = read_document(path, name, OPTIONS)
    file = pypdfium2.PdfDocument(path)
    for number in (3, 9, 15):
        page = document.pages[number - 1]
        text = document.text[page.start : page.end]
        found = re.compile(r"[\u4e00-\u9fff]{4}|[A-Za-z]{5,}").search(text, len(text) // 2)
        assert found is not None
        text_page = file[number - 1].get_textpage()
        boxes = pdf_reader.locate(path, number, found.start(), found.end())
        inside = "".join(text_page.get_text_bounded(box.left, box.bottom, box.right, box.top) for box in boxes)
        assert found.group() in inside.replace("\r\n", "")
        text_page.close()
    file.close()
