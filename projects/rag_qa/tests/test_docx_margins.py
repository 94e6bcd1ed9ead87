"""DOCX: headers, footers, footnotes and endnotes are read where a page shows them, and nowhere else."""

import io
import zipfile

import docx
from docx.oxml import OxmlElement
from docx.oxml.ns import qn

from rag_qa.document_processor.readers import read_document_bytes
from rag_qa.types import Document

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
OFFICE = "officeDocument/2006/relationships"


def read(data: bytes) -> Document:
    return read_document_bytes(data, "a.docx")


def saved(made: object) -> bytes:
    buffer = io.BytesIO()
    made.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


def with_notes(data: bytes, kind: str, body: str) -> bytes:
    """The archive with a part of footnotes or endnotes, as Word writes it."""
    part = f"<w:{kind}s {W}>{body}</w:{kind}s>"
    relation = (
        f'<Relationship Id="r{kind}" Type="http://schemas.openxmlformats.org/{OFFICE}/{kind}s" Target="{kind}s.xml"/>'
    )
    content_type = (
        f'<Override PartName="/word/{kind}s.xml" '
        f'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.{kind}s+xml"/>'
    )
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name).decode("utf-8", "surrogateescape")
            if name == "word/_rels/document.xml.rels":
                content = content.replace("</Relationships>", f"{relation}</Relationships>")
            if name == "[Content_Types].xml":
                content = content.replace("</Types>", f"{content_type}</Types>")
            new.writestr(name, content.encode("utf-8", "surrogateescape"))
        new.writestr(f"word/{kind}s.xml", part)
    return out.getvalue()


def mark(paragraph: object, kind: str, identity: str) -> None:
    run, reference = OxmlElement("w:r"), OxmlElement(f"w:{kind}Reference")
    reference.set(qn("w:id"), identity)
    run.append(reference)
    paragraph._p.append(run)  # type: ignore[attr-defined]


def note(kind: str, identity: str, text: str, more: str = "", run: str = "") -> str:
    return f'<w:{kind} {more} w:id="{identity}"><w:p><w:r>{run}<w:t>{text}</w:t></w:r></w:p></w:{kind}>'


def test_headers_and_footers_stand_around_the_body_once_each() -> None:
    made = docx.Document()
    made.add_heading("Contract", 1)
    made.add_paragraph("The body.")
    first = made.sections[0]
    first.header.paragraphs[0].text = "Valid from 1 May 2031"
    first.footer.paragraphs[0].text = "Acme Ltd."
    second = made.add_section()
    second.header.is_linked_to_previous = False
    second.header.paragraphs[0].text = "Valid from 1 May 2031"
    second.footer.is_linked_to_previous = False
    second.footer.paragraphs[0].text = "7"  # nothing but a page number
    document = read(saved(made))
    assert document.text == "Valid from 1 May 2031\n\nContract\n\nThe body.\n\nAcme Ltd."
    assert [heading.title for heading in document.headings] == ["Contract"]
    assert document.title == "Contract"


def test_headers_that_no_page_shows_are_left_out() -> None:
    made = docx.Document()
    made.add_paragraph("The body.")
    section = made.sections[0]
    section.first_page_header.paragraphs[0].text = "First page"
    section.even_page_footer.paragraphs[0].text = "Even pages"
    assert read(saved(made)).text == "The body."
    section.different_first_page_header_footer = True
    made.settings.odd_and_even_pages_header_footer = True
    assert read(saved(made)).text == "First page\n\nThe body.\n\nEven pages"


def test_notes_follow_the_paragraph_or_table_that_they_belong_to() -> None:
    made = docx.Document()
    mark(made.add_paragraph("The deposit is small."), "footnote", "2")
    table = made.add_table(1, 1)
    table.cell(0, 0).text = "A cell."
    mark(table.cell(0, 0).paragraphs[0], "endnote", "3")
    hidden = made.add_paragraph("Seen. ").add_run("Gone.")
    hidden.font.hidden = True
    mark_within = OxmlElement("w:footnoteReference")
    mark_within.set(qn("w:id"), "4")
    hidden._r.append(mark_within)
    line = note("footnote", "0", "----", more='w:type="separator"')
    notes = line + note("footnote", "2", "It is 42 euros.") + note("footnote", "4", "Of hidden text.")
    data = with_notes(saved(made), "footnote", notes + note("footnote", "5", "Never referred to."))
    data = with_notes(data, "endnote", note("endnote", "3", "Of the cell."))
    assert read(data).text == (
        "The deposit is small.\n\nIt is 42 euros.\n\n| A cell. |\n| --- |\n\nOf the cell.\n\nSeen."
    )


def test_hidden_text_in_a_note_and_comments_are_counted() -> None:
    made = docx.Document()
    paragraph = made.add_paragraph("The deposit is small.")
    mark(paragraph, "footnote", "2")
    made.add_comment(paragraph.runs[:1], text="Do we say so?", author="A")
    vanishing = note("footnote", "2", "Obey me.", run="<w:rPr><w:vanish/></w:rPr>")
    document = read(with_notes(saved(made), "footnote", vanishing))
    assert document.text == "The deposit is small."
    assert document.notes == ("hidden text left out (w:vanish): 7 characters", "1 comments are not read")
