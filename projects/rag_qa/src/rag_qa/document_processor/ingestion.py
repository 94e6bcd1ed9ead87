"""Bringing an index up to date with files, and taking documents out of it.

What is unchanged is not read again, and a text that was embedded before keeps its vector. Every commit is whole
(`index_writer.py`), and comes when a good deal has gathered, so that a long ingestion that is killed has to repeat
little and each vector is written to the disk a few times at most.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor.database import DocumentInfo, FileStamp
from rag_qa.document_processor.deletion_certificate import DeletionCertificate, certify
from rag_qa.document_processor.embedding_traces import forget, not_kept
from rag_qa.document_processor.files import FoundFile
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.index_writer import Addition, commit, writing
from rag_qa.document_processor.ingest_report import Duplicate, IngestReport, Refused
from rag_qa.document_processor.ingestion_plan import Plan, make_plan
from rag_qa.document_processor.text_splitter import split_document
from rag_qa.document_processor.unreadable import UnreadableDocument
from rag_qa.protocols import FloatArray
from rag_qa.types import PUBLIC, Chunk, Document
from roadmap_shared.errors import UserError
from roadmap_shared.progress import Progress, progress

__all__ = ["DeletionCertificate", "IngestReport", "add_documents", "delete", "ingest"]

_CHUNKS_PER_BATCH = 128
_LEAST_TO_COMMIT = 2000
_SHARE_TO_COMMIT = 0.5


def ingest(
    index: Index,
    found_files: Iterable[FoundFile],
    options: ReadOptions | None = None,
    groups: Sequence[str] = (PUBLIC,),
    dry_run: bool = False,
    *,
    folder: Path | None = None,
) -> IngestReport:
    """Add and change documents so that the index has these files as they are.

    Args:
        index: what is changed.
        found_files: as `files.find_files` gives them.
        options: how they are read.
        groups: who may see them.
        dry_run: tell what would be done, and do nothing.
        folder: the folder in which they were found, if they are all of its files: documents that came from there
            and are gone are removed. None: nothing is removed.

    Raises:
        UserError: somebody else is writing, the disk is full, or the folder has lost all of its files. A file that
            cannot be read is in the report instead.
    """
    options = options or ReadOptions()
    own = None if index.folder is None else index.folder.resolve()
    files = list({found.source: found for found in found_files}.values())
    files = [found for found in files if own is None or own not in found.path.resolve().parents]
    allowed = _checked_groups(groups)
    if dry_run:
        index.refresh()
        plan = _plan(index, files, allowed, folder, options)
        return _Work(index, allowed, dry_run=True).run(plan, options)
    with writing(index):
        return _Work(index, allowed).run(_plan(index, files, allowed, folder, options), options)


def add_documents(index: Index, documents: Sequence[Document], groups: Sequence[str] = (PUBLIC,)) -> IngestReport:
    """Add documents that are in memory; one whose source, content and groups are in the index is left alone.

    Raises:
        UserError: somebody else is writing, or the disk is full.
    """
    allowed = _checked_groups(groups)
    with writing(index):
        known = {info.source: info for info in index.documents()}
        work = _Work(index, allowed)
        by_hash = {(info.content_hash, info.groups): source for source, info in known.items()}
        with progress(len(documents), "indexing", "document") as work.bar:
            for document in documents:
                same_as = by_hash.setdefault((document.content_hash, allowed), document.source)
                if same_as != document.source:
                    work.duplicates.append(Duplicate(source=document.source, same_as=same_as))
                    work.bar.update()
                elif _same(known.get(document.source), document, allowed):
                    work.unchanged.append(document.source)
                    work.bar.update()
                else:
                    work.take(document, None)
            work.embed()
        return work.finish([])


def delete(index: Index, sources: Sequence[str], *, other_files: Sequence[Path] = ()) -> DeletionCertificate:
    """Take documents out of the index, and look whether anything of them is left in its files.

    Args:
        index: what is changed.
        sources: the documents' names.
        other_files: files and folders outside the index that are searched as well, such as an embedding cache.

    Raises:
        UserError: one of them is not in the index (then none is removed), or somebody else is writing.
    """
    wanted = list(dict.fromkeys(sources))
    with writing(index):
        held = {info.source for info in index.documents()}
        for source in wanted:
            if source not in held:
                raise index.unknown(source)
        return certify(index, wanted, lambda: commit(index, remove=wanted), other_files)


def _same(info: DocumentInfo | None, document: Document, groups: tuple[str, ...]) -> bool:
    return info is not None and info.content_hash == document.content_hash and info.groups == groups


def _checked_groups(groups: Sequence[str]) -> tuple[str, ...]:
    if isinstance(groups, str) or not groups or not all(groups):
        raise UserError(f"groups {groups!r}: name at least one group, such as {PUBLIC}")
    return tuple(sorted(set(groups)))


def _plan(
    index: Index, files: list[FoundFile], groups: tuple[str, ...], folder: Path | None, options: ReadOptions
) -> Plan:
    plan = make_plan(files, index.documents(), groups, folder, options.max_bytes)
    if not files and plan.removed:
        raise UserError(
            f"{folder}: has no files, but {len(plan.removed)} documents of the index came from there: is it mounted? "
            "To remove them, name them in `rag-qa delete`"
        )
    return plan


@dataclass
class _Work:
    """An ingestion under way."""

    index: Index
    groups: tuple[str, ...]
    dry_run: bool = False
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    gone: Sequence[str] = ()
    chunks: int = 0
    embedded: int = 0
    waiting: list[tuple[Document, FileStamp | None, list[Chunk]]] = field(default_factory=list)
    ready: list[Addition] = field(default_factory=list)
    known_groups: dict[str, tuple[str, ...]] = field(init=False)
    bar: Progress[int] = field(init=False)

    def __post_init__(self) -> None:
        self.known_groups = {info.source: info.groups for info in self.index.documents()}
        self._to_commit = max(_LEAST_TO_COMMIT, int(_SHARE_TO_COMMIT * len(self.index.store.ids())))

    def run(self, plan: Plan, options: ReadOptions) -> IngestReport:
        self.unchanged, self.duplicates, self.refused = list(plan.unchanged), plan.duplicates, plan.refused
        self.gone = plan.removed
        n_files = len(plan.read) + sum(map(len, plan.copies.values()))
        try:
            with progress(n_files, "indexing", "file") as self.bar:
                for found, stamp in plan.read:
                    self._read_first_of([(found, stamp), *plan.copies.get(found.source, ())], plan, options)
                self.embed()
        except KeyboardInterrupt:
            if not self.dry_run:
                self._commit([])  # what is embedded is kept
            raise
        return self.finish(plan.removed, plan.unchanged)

    def _read_first_of(self, files: list[tuple[FoundFile, FileStamp]], plan: Plan, options: ReadOptions) -> None:
        """Read one of files with the same bytes, the first that can be; the others are its duplicates."""
        from rag_qa.document_processor.readers import read_document

        for place, (found, stamp) in enumerate(files):
            try:
                self.take(read_document(found.path, found.source, options), stamp)
            except UnreadableDocument as error:
                kept = "; the version that was indexed before stays" * (found.source in self.known_groups)
                self.refused.append(Refused(source=found.source, reason=f"{error}{kept}"))
                self.bar.update()
                continue
            copies = [copy.source for copy, _ in files[place + 1 :]]
            self.duplicates += [Duplicate(source=copy, same_as=found.source) for copy in copies]
            plan.removed += [copy for copy in copies if copy in self.known_groups]
            self.bar.update(len(copies))
            return

    def take(self, document: Document, file: FileStamp | None) -> None:
        """Split a document and put it in the queue."""
        _check_storable(document)
        encoder = self.index.encoder
        # Of what the semantic splitter compares, a cache keeps nothing: a deletion would not know of it.
        chunks = split_document(document, encoder.token_spans, self.index.chunking, not_kept(encoder).encode)
        (self.changed if document.source in self.known_groups else self.added).append(document.source)
        self.notes += [(document.source, note) for note in document.notes]
        self.chunks += len(chunks)
        if self.dry_run:
            self.bar.update()
            return
        self.waiting.append((document, file, chunks))
        if sum(len(chunks) for _, _, chunks in self.waiting) >= _CHUNKS_PER_BATCH:
            self.embed()
        if sum(len(addition.chunks) for addition in self.ready) >= self._to_commit:
            self._commit([])

    def finish(self, removed: Sequence[str], files: dict[str, FileStamp] | None = None) -> IngestReport:
        """Write what is left; what is gone from the folder goes with the last commit."""
        if not self.dry_run:
            self._commit(removed, files)
        return IngestReport(
            added=tuple(self.added),
            changed=tuple(self.changed),
            unchanged=tuple(self.unchanged),
            removed=tuple(removed),
            duplicates=tuple(self.duplicates),
            refused=tuple(self.refused),
            notes=tuple(self.notes),
            chunks=self.chunks,
            embedded=self.embedded,
            dry_run=self.dry_run,
        )

    def embed(self) -> None:
        """Vectors of all that waits: those of texts that the index has in the same documents, and fresh ones."""
        known = self._known_vectors([document.source for document, _, _ in self.waiting])
        texts = list(dict.fromkeys(chunk.text for _, _, chunks in self.waiting for chunk in chunks))
        fresh = [text for text in texts if text not in known]
        if fresh:
            known |= dict(zip(fresh, self.index.encoder.encode(fresh), strict=True))
        for document, file, chunks in self.waiting:
            vectors = np.array([known[chunk.text] for chunk in chunks], dtype=np.float32)
            self.ready.append(
                Addition(
                    document=document,
                    groups=self.groups,
                    file=file,
                    chunks=[replace(chunk, groups=self.groups) for chunk in chunks],
                    vectors=vectors.reshape(len(chunks), self.index.dimension),
                )
            )
        self.embedded += len(fresh)
        self.bar.update(len(self.waiting))
        self.waiting = []

    def _known_vectors(self, sources: list[str]) -> dict[str, FloatArray]:
        """Vectors of the texts of documents that are about to be replaced or removed."""
        read = getattr(self.index.store, "vectors", None)
        ids = [id for source in {*sources, *self.gone} for id in self.index.database.chunk_ids(source)]
        if read is None or not ids:
            return {}
        chunks = self.index.chunks(ids)
        vectors = read(np.array([chunk.id for chunk in chunks], dtype=np.int64))
        return {chunk.text: vector for chunk, vector in zip(chunks, vectors, strict=True)}

    def _commit(self, removed: Sequence[str], files: dict[str, FileStamp] | None = None) -> None:
        # Taken out first: an interruption right after the commit must not bring them a second time.
        ready, self.ready = self.ready, []
        replaced = [source for one in ready if (source := one.document.source) in self.known_groups]
        old = [id for source in (*replaced, *removed) for id in self.index.database.chunk_ids(source)]
        gone = {chunk.text for chunk in self.index.chunks(old)} - {chunk.text for one in ready for chunk in one.chunks}
        commit(self.index, remove=[*replaced, *removed], add=ready, files=files)
        forget(self.index, gone)


def _check_storable(document: Document) -> None:
    """Raises UnreadableDocument: half of a surrogate pair, which UTF-8 cannot express, is in the text."""
    try:
        for text in (document.text, document.title, *document.metadata.values()):
            text.encode()
    except UnicodeEncodeError:
        raise UnreadableDocument(
            f"{document.source}: its text holds lone surrogates, which are no characters"
        ) from None
