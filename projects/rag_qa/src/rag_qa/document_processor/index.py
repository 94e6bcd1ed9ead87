"""An index: documents and chunks in SQLite, their vectors, and their words, opened as one.

Files of a folder::

    index.sqlite            texts, and the number of the generation that counts
    vectors-000012.npz      vectors of generation 12 (FAISS; a server keeps them otherwise)
    sparse-000012/          words of generation 12
    lock                    held by the process that writes

A writer puts the files of the next generation beside those of the last, and then commits the database, which names the
generation: whatever kills it, the folder holds one whole index. Readers keep the generation that they opened until
`refresh`.
"""

import json
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

from rag_qa.config.chunking import ChunkingConfig
from rag_qa.config.sparse import SparseConfig
from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.database import Database, DocumentInfo
from rag_qa.document_processor.database_schema import SCHEMA_VERSION
from rag_qa.document_processor.index_files import database_path, existing_database, sparse_folder
from rag_qa.document_processor.store_owner import StoreOwner
from rag_qa.document_processor.vector_store import build_store
from rag_qa.protocols import Encoder, IdArray, VectorStore
from rag_qa.retrieval.sparse_retrieval import SparseIndex
from rag_qa.types import Chunk, Document
from roadmap_shared.errors import UserError, did_you_mean

_ATTEMPTS = 5


class Index:
    """What is searched. Read `store` and `sparse` from here for each query: a change replaces them.

    Make one by `Index.create` or `Index.open`; change it by `rag_qa.document_processor.ingestion`.
    """

    def __init__(self, folder: Path | None, database: Database, encoder: Encoder | None, store: StoreConfig) -> None:
        meta = database.meta()
        self.folder = folder
        self.database = database
        self.chunking = ChunkingConfig(**json.loads(meta["chunking"]))
        self.sparse_config = SparseConfig(**json.loads(meta["sparse"]))
        self.store_config = store
        self.encoder_name, self.dimension = meta["encoder"], int(meta["dimension"])
        self.encoder_or_none = encoder
        owner = StoreOwner(index=meta.get("id", ""), encoder=self.encoder_name, fingerprint=meta["fingerprint"])
        self._owner = owner if owner.index else None
        self.generation, self.store, self.sparse = self._read_generation()

    @classmethod
    def create(
        cls,
        folder: Path | None,
        encoder: Encoder,
        chunking: ChunkingConfig | None = None,
        store: StoreConfig | None = None,
        sparse: SparseConfig | None = None,
    ) -> Self:
        """An empty index in a folder, which is made where it is missing; `folder` None keeps it in memory.

        Raises:
            UserError: the folder holds an index, or cannot be written, or the store cannot be had.
        """
        store = store or StoreConfig()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{folder}: cannot be made ({error.strerror})") from None
            if database_path(folder).exists():
                raise UserError(f"{folder}: holds an index already: ingest into it, or give another folder")
        meta = {
            "encoder": encoder.name,
            "fingerprint": encoder.fingerprint,
            "dimension": str(encoder.dimension),
            "chunking": json.dumps(asdict(chunking or ChunkingConfig())),
            "sparse": json.dumps(asdict(sparse or SparseConfig())),
            "store": json.dumps({"backend": store.backend, "url": store.address, "collection": store.collection}),
            "generation": "0",
            "id": secrets.token_hex(16),
        }
        database = _new_database(folder, meta)
        try:
            return cls(folder, database, encoder, store)
        except BaseException:
            # Without its store it would be an index that cannot be opened, with a store that cannot be changed.
            database.close()
            if folder is not None:
                database_path(folder).unlink(missing_ok=True)
            raise

    @classmethod
    def open(cls, folder: Path, encoder: Encoder | None = None, store: StoreConfig | None = None) -> Self:
        """The index of a folder. Without an encoder it can be listed, read and deleted from, but not asked.

        The store that the index was made with is used; `store` may say other threads, time-outs, or a server's
        new address.

        Raises:
            UserError: there is none, it was made by another encoder or a newer version, or a file is damaged.
        """
        database = Database(existing_database(folder))
        try:
            meta = _checked_meta(database, folder)
            if encoder is not None:
                _check_encoder(meta, encoder, folder)
            return cls(folder, database, encoder, _store_of(meta, store or StoreConfig(), folder))
        except BaseException:
            database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def encoder(self) -> Encoder:
        """What makes the vectors. Raises UserError: the index was opened without one."""
        if self.encoder_or_none is None:
            raise UserError(f"{self.folder}: opened without an encoder: it takes {self.encoder_name} to search or add")
        return self.encoder_or_none

    def chunks(self, ids: Sequence[int] | IdArray) -> list[Chunk]:
        """Chunks in the order of their ids. Those that were deleted since the search are left out."""
        return self.database.chunks(ids)

    def all_chunks(self) -> list[Chunk]:
        """All chunks by id."""
        return self.database.chunks()

    def document(self, source: str) -> Document:
        """A document with its text. Raises UserError: it is not in the index."""
        document = self.database.document(source)
        if document is None:
            raise self.unknown(source)
        return document

    def documents(self) -> list[DocumentInfo]:
        """What is in the index, by source, without texts."""
        return self.database.documents()

    def unknown(self, source: str) -> UserError:
        """The error that names a document which is not there."""
        hint = did_you_mean(source, (info.source for info in self.documents()))
        return UserError(f"{source}: not in the index. {hint or '`rag-qa documents` lists what is.'}")

    def refresh(self) -> bool:
        """Take up what another process has written since; returns whether there was anything."""
        if self.folder is None or int(self.database.meta()["generation"]) == self.generation:
            return False
        self.reload()
        return True

    def reload(self) -> None:
        """Read the last committed generation afresh, in place of what is in memory."""
        old = self.store
        if self.store_config.backend != "faiss":
            old.close()  # an embedded database lets nobody else in while it is open
        self.generation, self.store, self.sparse = self._read_generation()

    def close(self) -> None:
        """Free files, memory and connections."""
        self.store.close()
        self.database.close()

    def _read_generation(self) -> tuple[int, VectorStore, SparseIndex]:
        """Files of the generation that the database names."""
        for attempt in range(_ATTEMPTS):
            generation = int(self.database.meta()["generation"])
            try:
                store = build_store(self.store_config, self.folder, self.dimension, generation, self._owner)
                return generation, store, self._read_sparse(generation)
            except UserError:
                # A writer may have replaced the files between the two looks.
                if attempt + 1 == _ATTEMPTS or int(self.database.meta()["generation"]) == generation:
                    raise
        raise AssertionError

    def _read_sparse(self, generation: int) -> SparseIndex:
        if self.folder is None or not generation:
            return SparseIndex.build([], [], self.sparse_config)
        try:
            return SparseIndex.load(sparse_folder(self.folder, generation))
        except UserError:
            if int(self.database.meta()["generation"]) != generation:
                raise
            # Lost or damaged: the database has all the words. What is made here stays in memory; a reader that wrote
            # could bring back what a deletion is just taking away.
            return SparseIndex.build(*self.database.chunk_texts(), self.sparse_config)


def _new_database(folder: Path | None, meta: dict[str, str]) -> Database:
    """A database without documents, made under another name: a killed creation leaves nothing like an index."""
    path = None if folder is None else database_path(folder)
    draft = None if path is None else path.with_name(f".{path.name}.tmp")
    if draft is not None:
        draft.unlink(missing_ok=True)
    database = Database(draft, create=True)
    with database.transaction():
        for key, value in meta.items():
            database.set_meta(key, value)
    if path is None or draft is None:
        return database
    database.close()
    draft.rename(path)
    return Database(path)


def _checked_meta(database: Database, folder: Path) -> dict[str, str]:
    damaged = UserError(
        f"{database_path(folder)}: damaged (not a database of an index): restore it from a backup, or ingest again "
        "into an empty folder"
    )
    try:
        meta = database.meta()
    except sqlite3.OperationalError:
        raise damaged from None
    if (
        not {"schema", "encoder", "fingerprint", "dimension", "chunking", "sparse", "store", "generation"}
        <= meta.keys()
    ):
        raise damaged
    if int(meta["schema"]) > SCHEMA_VERSION:
        raise UserError(
            f"{folder}: written by a newer version of rag-qa (schema {meta['schema']}, this one reads up to "
            f"{SCHEMA_VERSION}): update rag-qa, or ingest again into an empty folder"
        )
    return meta


def _check_encoder(meta: dict[str, str], encoder: Encoder, folder: Path) -> None:
    if meta["fingerprint"] == encoder.fingerprint:
        return
    made, given = meta["encoder"], encoder.name
    if made == given:
        made, given = (f"{made} ({print_[:12]})" for print_ in (meta["fingerprint"], encoder.fingerprint))
        remedy = "open it with the same weights and the same --encoder.backend"
    else:
        remedy = f"open it with --encoder.model {made}"
    raise UserError(
        f"{folder}: its vectors were made by the encoder {made} and cannot be compared with those of {given}: "
        f"{remedy}, or ingest again into an empty folder"
    )


def _store_of(meta: dict[str, str], given: StoreConfig, folder: Path) -> StoreConfig:
    """The store that the index was made with, with the settings given for it."""
    made = json.loads(meta["store"])
    if given.backend == StoreConfig().backend:
        return replace(given, **made)
    if given.backend != made["backend"]:
        raise UserError(
            f"{folder}: its vectors are kept by {made['backend']}, not by {given.backend}: leave --store.backend away, "
            "or ingest into an empty folder"
        )
    if given.url is not None and made["url"] is None:
        raise UserError(f"{folder}: its vectors are in the folder: leave --store.url away, or ingest into an empty one")
    if given.collection not in (made["collection"], StoreConfig().collection):
        raise UserError(
            f"{folder}: its vectors are in the collection {made['collection']}, not in {given.collection}: leave "
            "--store.collection away, or ingest into an empty folder"
        )
    return replace(given, url=given.url or made["url"], collection=made["collection"])
