"""What the tests of the Streamlit page share: an index of four documents, one a PDF and one not for everybody."""

import io
from pathlib import Path

from rag_qa.assistant import Assistant
from rag_qa.config import ApiConfig, GenerationConfig, ServeConfig
from rag_qa.document_processor import ingestion
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.readers import find_files
from rag_qa.protocols import Encoder

from .tiny_index import CHUNKING, HashingEncoder

MILL = "The north tower of the mill is 40 metres high."
EVIL = "evil <img src=x onerror=alert(1)> ![x](http://elsewhere.example/y.png) words of the tower."
BRIDGE = "The old bridge was opened in 1904 by the mayor."
SECRET = "The vault code of the tower is 9174."


def pdf(text: str) -> bytes:
    """A PDF of one page with a line of text."""
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(300, 200), invariant=1)
    canvas.drawString(20, 150, text)
    canvas.save()
    return out.getvalue()


def make_index(folder: Path, encoder: Encoder | None = None) -> ServeConfig:
    """Documents, an index of them, and settings for whoever is in the group `lab`."""
    documents, hidden = folder / "documents", folder / "hidden"
    documents.mkdir()
    hidden.mkdir()
    (documents / "mill.txt").write_text(MILL, encoding="utf-8")
    (documents / "evil_*notes*.txt").write_text(EVIL, encoding="utf-8")
    (documents / "bridge.pdf").write_bytes(pdf(BRIDGE))
    (hidden / "vault.txt").write_text(SECRET, encoding="utf-8")
    with Index.create(folder / "index", encoder or HashingEncoder(), CHUNKING) as index:
        ingestion.ingest(index, find_files(documents))
        ingestion.ingest(index, find_files(hidden), groups=("hr",))
    limits = ApiConfig(max_upload_bytes=20_000, max_body_bytes=60_000, max_upload_files=3, max_question_characters=300)
    return ServeConfig(index=folder / "index", groups=("lab",), analytics=folder / "analytics.sqlite", api=limits)


def tiny_assistant(config: ServeConfig) -> Assistant:
    """That index with an encoder that hashes words, answering whatever it is sure of."""
    index = Index.open(config.index, HashingEncoder())
    return Assistant.over(index, config.retrieval, GenerationConfig(refuse_below=0.0))
