"""The guides of this project: its documentation, and a part of the corpus that it answers questions about."""

import hashlib
import re
from importlib import resources

from rag_qa.types import Document, Heading, Page
from roadmap_shared.errors import UserError

_HEADING = re.compile(r"^(?P<marks>#{1,6}) +(?P<title>\S.*?) *$", re.MULTILINE)
_ORIGIN = "A guide written for this project, Apache-2.0."


def guide_documents() -> list[Document]:
    """One document `guides/<name>.md` for each guide that is shipped with the package, by name.

    Raises:
        UserError: the installation lacks them.
    """
    folder = resources.files("rag_qa") / "guides"
    files = [file for file in folder.iterdir() if file.name.endswith(".md")] if folder.is_dir() else []
    if not files:
        raise UserError("the guides are missing from this installation of rag_qa: install the package again")
    return [
        _document(file.name, file.read_text(encoding="utf-8")) for file in sorted(files, key=lambda file: file.name)
    ]


def _document(name: str, text: str) -> Document:
    headings = tuple(
        Heading(level=len(match["marks"]), title=match["title"], start=match.start("title"), end=match.end("title"))
        for match in _HEADING.finditer(text)
    )
    return Document(
        source=f"guides/{name}",
        title=headings[0].title,
        text=text,
        pages=(Page(number=1, start=0, end=len(text)),),
        content_hash=hashlib.sha256(text.encode()).hexdigest(),
        headings=headings,
        metadata={"format": "markdown", "language": "zh" if name.startswith("zh-") else "en", "origin": _ORIGIN},
    )
