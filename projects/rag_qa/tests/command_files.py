"""A small folder of documents of every kind, and questions about it, for the tests of the commands."""

import io
from collections.abc import Callable
from pathlib import Path

import yaml
from reportlab.lib import pdfencrypt
from reportlab.pdfgen.canvas import Canvas

from rag_qa.cli import main

HANDBOOK = """# Uploads

Files of up to 20 megabytes are accepted by the upload form. Larger files are turned away with an error.

# Opening hours

The reading room opens at nine in the morning and closes at six in the evening. It is closed on Mondays.
"""
FACTS = {
    "lighthouse.txt": "The lighthouse of Brixen was built in 1873 by the engineer Maria Holt. "
    "Its lamp burns whale oil.\n",
    "ferry.txt": "The ferry to the island leaves from pier seven every second Thursday of the month.\n",
}


def pdf(text: str, **canvas: object) -> bytes:
    """A page with one line."""
    buffer = io.BytesIO()
    page = Canvas(buffer, pagesize=(500, 300), **canvas)  # type: ignore[arg-type]
    page.drawString(20, 260, text)
    page.save()
    return buffer.getvalue()


def write_folder(folder: Path) -> Path:
    """Markdown, text, HTML, CSV and PDF, and two PDFs that cannot be read."""
    folder.mkdir(parents=True)
    (folder / "handbook.md").write_text(HANDBOOK)
    for name, text in FACTS.items():
        (folder / name).write_text(text)
    (folder / "museum.html").write_text(
        "<html><title>Museum</title><body><h1>Museum</h1><p>The museum owns forty-two marble statues, "
        "all of them found in the harbour.</p></body></html>"
    )
    (folder / "prices.csv").write_text("ticket,price in euros\nadult,12\nchild,5\nfamily pass,28\n")
    (folder / "bridge.pdf").write_bytes(pdf("The old bridge carries loads of at most eleven tonnes."))
    secret = pdfencrypt.StandardEncryption("secret", canPrint=0)
    (folder / "locked.pdf").write_bytes(pdf("The vault code is 4711.", encrypt=secret))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing else")
    return folder


def ingested(folder: Path, *flags: str) -> Path:
    """An index of `write_folder` beside it."""
    index = folder / "index"
    assert main(["ingest", str(write_folder(folder / "docs")), "--index", str(index), *flags]) == 0
    return index


def facts(count: int, number: Callable[[int], int] = lambda n: 3 * n + 11) -> list[tuple[str, str, str]]:
    """(source, sentence, question) about islands that differ in name and number."""
    names = [
        a + b
        for a in ("Ar", "Bel", "Cor", "Dun", "Esk", "Far", "Gor", "Hal")
        for b in ("mora", "vik", "stead", "ness", "holm")
    ]
    return [
        (
            f"{name.lower()}.txt",
            f"The harbour of {name} shelters {number(n)} fishing boats during the winter storms, says the pilot book.",
            f"How many fishing boats does the harbour of {name} shelter?",
        )
        for n, name in enumerate(names[:count])
    ]  # fmt: skip


def write_questions(path: Path, rows: list[tuple[str, str, str]], part: Callable[[int], str]) -> Path:
    """Questions in YAML, and one in five that cannot be answered."""
    entries: list[dict[str, object]] = []
    for n, (source, sentence, question) in enumerate(rows):
        answer = next(word for word in sentence.split() if word.isdigit())
        gold = [{"source": source, "quote": sentence}]
        about = {"id": f"q{n}", "part": part(n), "kind": "fact", "question": question}
        entries.append({**about, "answers": [answer], "gold": gold})
        if n % 5 == 0:
            text = f"Which composer was born in {source.removesuffix('.txt').title()}?"
            entries.append({"id": f"u{n}", "part": part(n // 5), "kind": "unanswerable-near", "question": text})
    path.write_text(yaml.safe_dump(entries, allow_unicode=True))
    return path


def write_facts(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """One text file for each fact."""
    folder.mkdir(parents=True)
    for source, sentence, _ in rows:
        (folder / source).write_text(f"{sentence}\n")
    return folder
