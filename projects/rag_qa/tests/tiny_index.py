"""Small indexes for tests: an encoder that hashes words, and documents of a few lines."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rag_qa.config.chunking import ChunkingConfig
from rag_qa.document_processor.files import find_files
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingest_report import IngestReport
from rag_qa.document_processor.ingestion import ingest
from rag_qa.protocols import FloatArray
from rag_qa.types import Document, Page

CHUNKING = ChunkingConfig(splitter="recursive", size=24, overlap=0, minimum=0)


class HashingEncoder:
    """Each word has a random direction, drawn from its hash; a text is their mean. Counts what it encodes."""

    max_tokens = 64

    def __init__(self, name: str = "hashing", dimension: int = 32) -> None:
        self.name, self.dimension = name, dimension
        self.fingerprint = f"{name}-{dimension}"
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> FloatArray:
        self.encoded += texts
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()) or [""]:
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
                row += np.random.default_rng(seed).standard_normal(self.dimension).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


def document(source: str, text: str) -> Document:
    return Document(
        source=source,
        title=source,
        text=text,
        pages=(Page(number=1, start=0, end=len(text)),),
        content_hash=hashlib.sha256(text.encode()).hexdigest(),
    )


def sentences(topic: str, count: int = 6) -> str:
    """A text that no other topic has in common with it."""
    return "\n\n".join(
        f"{topic} number {n} weighs {n * 7 + len(topic)} stones; last seen near {topic}bridge in winter {1900 + n}."
        for n in range(count)
    )


def empty_index(folder: Path | None, encoder: HashingEncoder | None = None) -> Index:
    return Index.create(folder, encoder or HashingEncoder(), CHUNKING)


def found_sources(index: Index, question: str, k: int = 3) -> list[str]:
    """Sources of the nearest chunks."""
    ((*results,),) = index.store.search(index.encoder.encode([question]), k)
    return [chunk.source for chunk in index.chunks([id for id, _ in results])]


def check_consistent(index: Index) -> None:
    """Database, vectors and words speak of the same chunks, and each vector is its text's."""
    chunks = index.all_chunks()
    ids = [chunk.id for chunk in chunks]
    assert index.store.ids().tolist() == ids
    assert sorted(index.sparse.ids.tolist()) == ids
    for chunk in chunks:
        assert index.document(chunk.source).text[chunk.start : chunk.end] == chunk.text
        ((nearest, cosine),) = index.store.search(HashingEncoder().encode([chunk.text]), 1)[0]
        assert cosine > 0.9999
        assert index.chunks([nearest])[0].text == chunk.text
        assert any(id == chunk.id for id, _ in index.sparse.search(chunk.text, len(chunks)))


def written(folder: Path) -> Path:
    """A folder of three documents."""
    (folder / "sub").mkdir(parents=True)
    for name, topic in (("owls.txt", "owl"), ("sub/bears.md", "bear"), ("foxes.txt", "fox")):
        (folder / name).write_text(sentences(topic))
    return folder


def update(index: Index, docs: Path, dry_run: bool = False, groups: tuple[str, ...] = ("public",)) -> IngestReport:
    """Bring the index up to date with a folder."""
    return ingest(index, find_files(docs), None, groups, dry_run, folder=docs)
