"""Files with text that a reader of the page sees, or that only a program finds: material of the injection range."""

import html
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

Placement = Literal["visible", "hidden"]
Writer = Callable[[Path, Sequence[str], str, Placement], None]

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPES = (
    f'<?xml version="1.0" encoding="UTF-8"?><Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS = (
    f'<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)


def write_html(path: Path, paragraphs: Sequence[str], planted: str, placement: Placement) -> None:
    """A page; hidden text stands in an element that is not displayed."""
    style = ' style="display:none"' if placement == "hidden" else ""
    body = "\n".join(f"<p>{html.escape(text)}</p>" for text in paragraphs)
    body += f"\n<p{style}>{html.escape(planted)}</p>"
    head = '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Notes</title></head>'
    path.write_text(f"{head}<body>{body}</body></html>", encoding="utf-8")


def write_docx(path: Path, paragraphs: Sequence[str], planted: str, placement: Placement) -> None:
    """A Word document; hidden text has the property `vanish`."""

    def paragraph(text: str, properties: str = "") -> str:
        run = f"<w:rPr>{properties}</w:rPr>" if properties else ""
        return f'<w:p><w:r>{run}<w:t xml:space="preserve">{html.escape(text)}</w:t></w:r></w:p>'

    body = "".join(map(paragraph, paragraphs)) + paragraph(planted, "<w:vanish/>" if placement == "hidden" else "")
    document = (
        f'<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>'
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _TYPES)
        archive.writestr("_rels/.rels", _RELATIONS)
        archive.writestr("word/document.xml", document)


def write_pdf(path: Path, paragraphs: Sequence[str], planted: str, placement: Placement) -> None:
    """One page; hidden text is drawn in the invisible mode 3 (ISO 32000-1, §9.3.6). Latin-1 text only."""
    lines = [line for text in paragraphs for line in [*_wrapped(text), ""]]
    planted_lines = _wrapped(planted)
    shown = "".join(f"({_escaped(line)}) Tj T*\n" for line in lines)
    last = "".join(f"({_escaped(line)}) Tj T*\n" for line in planted_lines)
    mode = "3 Tr\n" if placement == "hidden" else ""
    stream = f"BT /F1 11 Tf 14 TL 60 780 Td\n{shown}{mode}{last}ET".encode("latin-1", "replace")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"xref\n0 6\n0000000000 65535 f \n%strailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    path.write_bytes(content + trailer % (table, len(content)))


WRITERS: dict[str, Writer] = {"pdf": write_pdf, "docx": write_docx, "html": write_html}


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _wrapped(text: str, width: int = 85) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]
