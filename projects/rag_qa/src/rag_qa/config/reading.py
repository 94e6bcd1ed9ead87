"""How files become documents."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

MEBIBYTE = 1 << 20


@dataclass(kw_only=True, frozen=True)
class ReadOptions:
    """Limits and choices of the readers of PDF, DOCX, HTML, Markdown, text and CSV."""

    password: Annotated[str, arg(aliases=["--password"])] = ""
    """Opens encrypted PDFs; tried on each that asks for one. The index does not keep it; the config.yaml of a `run`
    does, with all its settings."""

    ocr: Literal["auto", "off"] = "auto"
    """Pages of a PDF that are images without text. auto: read by RapidOCR where it is installed (the extra 'ocr'), else
    named in the document's notes; off: only named."""

    tables: bool = False
    """Add the tables of a PDF to the text of their page, as Markdown. pdfplumber finds them; it takes about a second
    per page, a hundred times as long as the text. Tables of DOCX and HTML are always read."""

    hidden_text: Literal["drop", "keep"] = "drop"
    """Text that a person does not see (white, tiny, off the page, w:vanish, display:none): instructions hide there.
    drop: left out, and its amount named in the document's notes; keep: read like any other."""

    max_bytes: int = 256 * MEBIBYTE
    """Files above this many bytes are refused."""

    max_pages: int = 10_000
    """Pages of a PDF that are read; the note of a longer one says how many were left out."""

    max_unpacked_bytes: int = 512 * MEBIBYTE
    """A DOCX that unpacks to more bytes than this is refused, as a zip bomb."""

    max_ratio: int = 200
    """A DOCX with a part of over one MiB that unpacks to more than this many times its packed size is refused."""

    encoding: str = ""
    """Encoding of text, Markdown, CSV and HTML files, such as gb18030. Empty: found out for each file."""

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pages", "max_unpacked_bytes", "max_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"--reading.{name} {getattr(self, name)} must be at least 1")
        if self.encoding:
            try:
                "".encode(self.encoding)
            except LookupError:
                raise ValueError(f"--reading.encoding {self.encoding} is no encoding that Python knows") from None
