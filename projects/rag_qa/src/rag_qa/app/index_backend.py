"""The served index: `library.Backend` over an `Assistant`."""

import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_qa.app.library import Entry
from rag_qa.config.serving import ServeConfig
from rag_qa.document_processor import ingestion
from rag_qa.document_processor.database import DocumentInfo
from rag_qa.document_processor.readers import read_document
from rag_qa.protocols import Retriever
from rag_qa.retrieval.hybrid import HybridRetriever
from rag_qa.types import Document
from roadmap_shared.errors import UserError

if TYPE_CHECKING:
    from rag_qa.assistant import Assistant

logger = logging.getLogger("rag_qa.app")
_REFRESH_SECONDS = 1.0


class IndexBackend:
    """Asks and changes one index. The caller lets one thread at a time change it."""

    def __init__(self, assistant: "Assistant", config: ServeConfig) -> None:
        """Args:
        assistant: the index, open, with its retriever and generator.
        config: how uploads are read, and what a search with another weight keeps.
        """
        self.assistant = assistant
        self._config = config
        self._looked = time.monotonic()

    def entries(self) -> list[Entry]:
        """All documents."""
        return [_entry(info) for info in self.assistant.index.documents()]

    def refresh(self) -> bool:
        """Take up what another process has written; looks once a second at most. True where there was something."""
        if (now := time.monotonic()) - self._looked < _REFRESH_SECONDS:
            return False
        self._looked = now
        return self.assistant.index.refresh()

    def document(self, source: str) -> Document:
        """A document with its text. Raises KeyError: there is none."""
        try:
            return self.assistant.index.document(source)
        except UserError:
            raise KeyError(source) from None

    def read(self, path: Path, source: str) -> Document:
        """A file as a document. Raises UserError: it cannot be read; one line says why."""
        return read_document(path, source, self._config.reading)

    def put(self, document: Document, groups: Sequence[str]) -> str | None:
        """Add a document, or replace the one of its name; returns the name of one with the same groups and bytes, in
        whose favour it was left out."""
        report = ingestion.add_documents(self.assistant.index, [document], tuple(groups))
        return report.duplicates[0].same_as if report.duplicates else None

    def delete(self, source: str) -> Mapping[str, Any]:
        """Remove a document; returns the certificate of it, which is kept beside the index, too."""
        certificate = ingestion.delete(self.assistant.index, [source])
        name = f"{certificate.time.replace(':', '')}-{secrets.token_hex(4)}.json"
        folder = self._config.certificates
        try:
            folder.mkdir(parents=True, exist_ok=True)
            certificate.save(folder / name)
        except OSError as error:
            logger.error("the certificate of a deletion cannot be written: %s", error.strerror)
            name = ""
        return {
            **asdict(certificate),
            "clean": certificate.clean,
            "traces_left": certificate.hits + certificate.ids_left,
            "kept_as": name or None,
        }

    def retriever(self, dense_weight: float) -> Retriever:
        """The hybrid retriever with another weight in the fusion."""
        used = self.assistant.retriever
        config = replace(self._config.retrieval, mode="hybrid", dense_weight=dense_weight)
        if isinstance(used, HybridRetriever):
            return used.with_config(config)
        return HybridRetriever.over(self.assistant.index, config)

    def page_image(self, path: Path, document: Document, page: int, start: int, end: int) -> bytes:
        """A PDF's page as PNG, with a span of the document's text highlighted."""
        from rag_qa.document_processor.pdf_view import locate, render_page

        reading = self._config.reading
        first = next(known.start for known in document.pages if known.number == page)
        boxes = locate(path, page, start - first, end - first, reading.password, reading) if end > start else []
        return render_page(path, page, boxes, reading.password)


def _entry(info: DocumentInfo) -> Entry:
    return Entry(
        source=info.source,
        title=info.title,
        groups=info.groups,
        content_hash=info.content_hash,
        n_chunks=info.chunks,
        n_pages=info.pages,
        n_characters=info.characters,
        notes=info.notes,
        path=None if info.file is None else info.file.path,
    )
