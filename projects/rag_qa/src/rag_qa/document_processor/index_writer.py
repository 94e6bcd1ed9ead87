"""Changes of an index, each whole or not at all."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from rag_qa.document_processor.database import FileStamp
from rag_qa.document_processor.embedding_traces import note_cache
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.index_files import remove_other_generations, sparse_folder
from rag_qa.document_processor.index_lock import writer_lock
from rag_qa.document_processor.vector_store import FaissStore
from rag_qa.protocols import FloatArray, Metadata
from rag_qa.retrieval.sparse_retrieval import SparseIndex
from rag_qa.types import Chunk, Document
from roadmap_shared.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Addition:
    """A document with everything that the index stores of it."""

    document: Document
    groups: tuple[str, ...]
    file: FileStamp | None
    chunks: Sequence[Chunk]
    vectors: FloatArray
    """(N, D), one row for each chunk."""


@contextmanager
def writing(index: Index) -> Iterator[None]:
    """Be the only writer of the index, from its last state on.

    Raises:
        UserError: somebody else is writing.
    """
    if index.folder is None:
        yield
        return
    with writer_lock(index.folder):
        index.refresh()
        remove_other_generations(index.folder, index.generation)
        words = sparse_folder(index.folder, index.generation)
        if index.generation and not words.exists():
            index.sparse.save(words)
        if not isinstance(index.store, FaissStore):
            _reconcile(index)
        yield


def commit(
    index: Index,
    *,
    remove: Sequence[str] = (),
    add: Sequence[Addition] = (),
    files: Mapping[str, FileStamp] | None = None,
) -> None:
    """Remove documents by source, add others, and note where unchanged ones were found, in one step.

    Whatever fails, the index is in memory and on the disk as it was before. The caller is in `writing`.
    """
    change = _Change(index)
    try:
        with index.database.transaction():
            for source, file in (files or {}).items():
                index.database.set_file(source, file)
            if not remove and not add:
                return
            change.make(remove, add)
    except OSError as error:
        change.undo()
        raise UserError(
            f"{index.folder}: cannot be written ({error.strerror or error}): the index is as it was before; make room "
            "and repeat"
        ) from None
    except BaseException:
        change.undo()
        raise
    change.finish()


class _Change:
    """One transaction over the database, the store and the word index."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.generation = index.generation + 1
        self.gone: list[int] = []
        self.new: list[int] = []
        self.sparse: SparseIndex | None = None
        self.lost: tuple[list[int], FloatArray, list[Metadata]] | None = None

    def make(self, remove: Sequence[str], add: Sequence[Addition]) -> None:
        """Everything up to the commit of the database."""
        index, store = self.index, self.index.store
        self.gone = [id for source in remove for id in index.database.chunk_ids(source)]
        if isinstance(store, FaissStore):
            self._remember(store)
            store.remove(np.array(self.gone, dtype=np.int64))
        for source in remove:
            index.database.remove_document(source)
        for addition in add:
            self._add(addition)
        self.sparse = SparseIndex.build(*index.database.chunk_texts(), index.sparse_config)
        if index.folder is not None:
            if isinstance(store, FaissStore):
                store.write_generation(self.generation)
            self.sparse.save(sparse_folder(index.folder, self.generation))
        note_cache(index)
        index.database.set_meta("generation", str(self.generation))

    def finish(self) -> None:
        """What follows the commit. Interrupted here, the next writer cleans up."""
        index = self.index
        if self.sparse is None:
            return
        index.generation, index.sparse = self.generation, self.sparse
        if not isinstance(index.store, FaissStore):
            # Only now: a server forgets at once, and the commit might have failed.
            index.store.remove(np.array(self.gone, dtype=np.int64))
            index.store.save()
        if index.folder is not None:
            remove_other_generations(index.folder, self.generation)

    def undo(self) -> None:
        """The state in memory as the database, which has rolled back, has it."""
        index = self.index
        if index.folder is not None and isinstance(index.store, FaissStore):
            index.reload()
            return
        index.store.remove(np.array(self.new, dtype=np.int64))
        if self.lost is not None:
            ids, vectors, metadata = self.lost
            present = set(index.store.ids().tolist())
            rows = [row for row, id in enumerate(ids) if id not in present]
            index.store.add(np.array(ids, dtype=np.int64)[rows], vectors[rows], [metadata[row] for row in rows])

    def _add(self, addition: Addition) -> None:
        key = self.index.database.add_document(addition.document, addition.groups, addition.file)
        ids = self.index.database.add_chunks(key, addition.chunks)
        self.new += ids
        metadata = [_metadata(addition.document, chunk, addition.groups) for chunk in addition.chunks]
        self.index.store.add(np.array(ids, dtype=np.int64), addition.vectors, metadata)

    def _remember(self, store: FaissStore) -> None:
        """In memory there is no file to read the old state from."""
        if self.index.folder is None:
            ids = np.array(self.gone, dtype=np.int64)
            chunks = self.index.chunks(ids)
            documents = {chunk.source: self.index.document(chunk.source) for chunk in chunks}
            metadata = [_metadata(documents[chunk.source], chunk, chunk.groups) for chunk in chunks]
            self.lost = self.gone, store.vectors(ids), metadata


def _metadata(document: Document, chunk: Chunk, groups: Sequence[str]) -> Metadata:
    """What searches can filter by. The document's own fields never stand in for ours: `groups` is a permission."""
    return {**document.metadata, "source": document.source, "page": chunk.page, "groups": tuple(groups)}


def _reconcile(index: Index) -> None:
    """Make a server's vectors match the database, where a killed process left them apart."""
    held, wanted = index.store.ids(), np.array(index.database.chunk_ids(), dtype=np.int64)
    index.store.remove(np.setdiff1d(held, wanted))
    missing = index.chunks(np.setdiff1d(wanted, held))
    if missing:
        documents = {source: index.document(source) for source in {chunk.source for chunk in missing}}
        index.store.add(
            np.array([chunk.id for chunk in missing], dtype=np.int64),
            index.encoder.encode([chunk.text for chunk in missing]),
            [_metadata(documents[chunk.source], chunk, chunk.groups) for chunk in missing],
        )
