"""DOCX written by python-docx, and archives that no one should unpack."""

import io
import zipfile

import docx
import pytest
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Pt, RGBColor

from rag_qa.document_processor.readers import PasswordNeeded, ReadOptions, UnreadableDocument, read_document_bytes
from rag_qa.types import Document


def saved(document: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


def read(data: bytes, options: ReadOptions | None = None) -> Document:
    return read_document_bytes(data, "a.docx", options)


def test_blocks_in_order() -> None:
    made = docx.Document()
    made.add_heading("The title", 0)
    made.add_paragraph("First paragraph\twith a tab.")
    made.add_heading("方法", 2)
    made.add_paragraph("one", style="List Bullet")
    made.add_paragraph("two", style="List Number")
    table = made.add_table(2, 2)
    for index, text in enumerate(["name", "value", "alpha", "a|b"]):
        table.cell(index // 2, index % 2).text = text
    made.add_paragraph("After the table.")
    document = read(saved(made))
    assert document.text == (
        "The title\n\nFirst paragraph\twith a tab.\n\n方法\n- one\n- two\n\n"
        "| name | value |\n| --- | --- |\n| alpha | a\\|b |\n\nAfter the table."
    )
    assert [(heading.level, heading.title) for heading in document.headings] == [(1, "The title"), (2, "方法")]
    assert document.title == "The title"


def hidden_document() -> bytes:
    made = docx.Document()
    paragraph = made.add_paragraph("Seen ")
    paragraph.add_run("AAAA").font.hidden = True
    paragraph.add_run("BBBB").font.color.rgb = RGBColor(255, 255, 255)
    paragraph.add_run("CCCC").font.size = Pt(1)
    style = made.styles.add_style("Secret", 1)
    style.font.hidden = True  # type: ignore[attr-defined]
    made.add_paragraph("DDDD", style="Secret")
    paragraph.add_run("and said.")
    return saved(made)


def test_hidden_runs_are_left_out_with_a_note() -> None:
    document = read(hidden_document())
    assert document.text == "Seen and said."
    assert document.notes == ("hidden text left out (tiny, w:vanish, white): 16 characters",)
    assert read(hidden_document(), ReadOptions(hidden_text="keep")).text == "Seen AAAABBBBCCCCand said.\n\nDDDD"


def test_insertions_and_links_are_read_and_deletions_are_not() -> None:
    made = docx.Document()
    paragraph = made.add_paragraph("kept ")
    for wrapper, tag, text in [
        ("w:ins", "w:t", "inserted "),
        ("w:hyperlink", "w:t", "linked"),
        ("w:del", "w:delText", "X"),
    ]:
        outer, run, inner = OxmlElement(wrapper), OxmlElement("w:r"), OxmlElement(tag)
        inner.text = text
        inner.set(qn("xml:space"), "preserve")
        run.append(inner)
        outer.append(run)
        paragraph._p.append(outer)
    assert read(saved(made)).text == "kept inserted linked"


def archive(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in parts.items():
            out.writestr(name, content)
    return buffer.getvalue()


def test_zip_bombs_are_refused() -> None:
    bomb = archive({"word/document.xml": b"0" * (8 << 20)})
    with pytest.raises(UnreadableDocument) as caught:
        read(bomb)
    assert str(caught.value) == (
        "a.docx: its part word/document.xml unpacks to over 200 times its size, as a zip bomb does; "
        "raise --reading.max_ratio if you trust it"
    )
    with pytest.raises(UnreadableDocument) as caught:
        read(bomb, ReadOptions(max_unpacked_bytes=1 << 20, max_ratio=10_000))
    assert str(caught.value) == (
        "a.docx: unpacks to more than 1,048,576 bytes, as a zip bomb does; "
        "raise --reading.max_unpacked_bytes if you trust it"
    )


def test_an_archive_that_lies_about_its_size_is_refused() -> None:
    data = archive({"word/document.xml": b"0" * (8 << 20)})
    true, false = (8 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    assert data.count(true) == 2
    with pytest.raises(UnreadableDocument, match=r"^a\.docx: is a damaged DOCX: "):
        read(data.replace(true, false))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive({"word/document.xml": b"<broken"}), None),
        (archive({"xl/workbook.xml": b"<x/>"}), "a.docx: is an Excel workbook: save its sheets as CSV"),
        (archive({"a.txt": b"x"}), "a.docx: is a zip archive without a Word document; unpack it"),
        (b"PK\x03\x04 cut", "a.docx: is a damaged or cut zip archive (DOCX is one)"),
        (b"words", "a.docx: is no DOCX: it is not a zip archive; it may be damaged or cut"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old",
            "a.docx: is an Office document of before 2007; save it as DOCX or PDF",
        ),
        (saved(docx.Document()), "a.docx: has no visible text"),
    ],
)
def test_unreadable(data: bytes, message: str | None) -> None:
    with pytest.raises(UnreadableDocument) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    assert message is None or str(caught.value) == message


def test_encrypted_office_file() -> None:
    data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")
    with pytest.raises(PasswordNeeded, match=r"^a\.docx: is an encrypted Office document; save it without a password$"):
        read(data)


def test_cut_files() -> None:
    data = hidden_document()
    for share in (0.2, 0.5, 0.95):
        with pytest.raises(UnreadableDocument) as caught:
            read(data[: int(share * len(data))])
        assert "\n" not in str(caught.value)
