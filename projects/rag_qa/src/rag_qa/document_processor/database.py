"""The documents and chunks of an index, in SQLite."""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from rag_qa.document_processor.database_schema import SCHEMA, SCHEMA_VERSION, connect, plain_errors
from rag_qa.protocols import IdArray
from rag_qa.types import Chunk, Document, Heading, Page

_AT_ONCE = 500  # SQLite takes a limited number of parameters


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """Where a document was found, and what tells without reading whether its file has changed."""

    path: Path
    size: int
    mtime_ns: int
    root: Path | None = None
    """The folder that was ingested; None: a single file."""


@dataclass(frozen=True, kw_only=True)
class DocumentInfo:
    """What an index knows of a document, without its text."""

    source: str
    title: str
    content_hash: str
    groups: tuple[str, ...]
    pages: int
    chunks: int
    characters: int
    notes: tuple[str, ...]
    metadata: dict[str, str]
    added: str
    """When it was indexed, UTC, ISO 8601."""

    file: FileStamp | None
    """None for a document that was not read from a file."""


class Database:
    """One connection, used by one thread at a time. All texts and their places; vectors are elsewhere."""

    def __init__(self, path: Path | None, *, create: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        with plain_errors(path):
            self._connection = connect(path)
            if create:
                self._connection.executescript(SCHEMA)
                self.set_meta("schema", str(SCHEMA_VERSION))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; other connections read the state before until it ends."""
        with self._lock, plain_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def vacuum(self) -> None:
        """Write the file afresh, without pages and fragments that are not in use."""
        self._rows("VACUUM")

    def meta(self) -> dict[str, str]:
        return {row["key"]: row["value"] for row in self._rows("SELECT key, value FROM meta")}

    def set_meta(self, key: str, value: str) -> None:
        self._rows("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def add_document(self, document: Document, groups: Sequence[str], file: FileStamp | None = None) -> int:
        """Insert a document; returns its key. Raises sqlite3.IntegrityError: its source is there already."""
        values = (
            document.source,
            document.title,
            document.text,
            _json([[page.number, page.start, page.end] for page in document.pages]),
            _json([[one.level, one.title, one.start, one.end] for one in document.headings]),
            _json(list(document.notes)),
            _json(dict(document.metadata)),
            document.content_hash,
            _json(list(groups)),
            len(document.text),
            *_file_values(file),
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        with self._lock, plain_errors(self.path):
            cursor = self._connection.execute(
                "INSERT INTO documents (source, title, text, pages, headings, notes, metadata, content_hash, groups, "
                f"characters, root, path, size, mtime_ns, added) VALUES ({', '.join('?' * len(values))})",
                values,
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def add_chunks(self, document: int, chunks: Sequence[Chunk]) -> list[int]:
        """Insert chunks of a document; returns their ids, ascending."""
        ids: list[int] = []
        with self._lock, plain_errors(self.path):
            for chunk in chunks:
                cursor = self._connection.execute(
                    'INSERT INTO chunks (document, start, "end", text, page, headings) VALUES (?, ?, ?, ?, ?, ?)',
                    (document, chunk.start, chunk.end, chunk.text, chunk.page, _json(list(chunk.headings))),
                )
                assert cursor.lastrowid is not None
                ids.append(cursor.lastrowid)
        return ids

    def set_file(self, source: str, file: FileStamp) -> None:
        """Note that a document was found unchanged in this file."""
        self._rows(
            "UPDATE documents SET root = ?, path = ?, size = ?, mtime_ns = ? WHERE source = ?",
            (*_file_values(file), source),
        )

    def remove_document(self, source: str) -> list[int]:
        """Delete a document with its chunks; returns their ids. Raises KeyError: there is none."""
        ids = self.chunk_ids(source)
        if not self._rows("DELETE FROM documents WHERE source = ? RETURNING id", (source,)):
            raise KeyError(source)
        return ids

    def document(self, source: str) -> Document | None:
        rows = self._rows("SELECT * FROM documents WHERE source = ?", (source,))
        if not rows:
            return None
        (row,) = rows
        return Document(
            source=row["source"],
            title=row["title"],
            text=row["text"],
            pages=tuple(Page(number=n, start=start, end=end) for n, start, end in json.loads(row["pages"])),
            content_hash=row["content_hash"],
            headings=tuple(
                Heading(level=level, title=title, start=start, end=end)
                for level, title, start, end in json.loads(row["headings"])
            ),
            metadata=json.loads(row["metadata"]),
            notes=tuple(json.loads(row["notes"])),
        )

    def documents(self) -> list[DocumentInfo]:
        """All documents by source."""
        rows = self._rows(
            "SELECT source, title, content_hash, groups, json_array_length(pages) AS pages, characters, notes, "
            "metadata, root, path, size, mtime_ns, added, "
            "(SELECT count(*) FROM chunks WHERE document = documents.id) AS chunks "
            "FROM documents ORDER BY source"
        )
        return [_info(row) for row in rows]

    def texts(self) -> Iterator[str]:
        """The text of each document, one at a time."""
        for row in self._rows("SELECT id FROM documents ORDER BY id"):
            yield self._rows("SELECT text FROM documents WHERE id = ?", (row["id"],))[0]["text"]

    def chunk_ids(self, source: str | None = None) -> list[int]:
        """Ids of all chunks, or of one document's, ascending."""
        if source is None:
            return [row["id"] for row in self._rows("SELECT id FROM chunks ORDER BY id")]
        rows = self._rows(
            "SELECT chunks.id FROM chunks JOIN documents ON documents.id = document WHERE source = ? ORDER BY 1",
            (source,),
        )
        return [row["id"] for row in rows]

    def chunk_texts(self) -> tuple[list[int], list[str]]:
        """Ids of all chunks, ascending, and their texts."""
        rows = self._rows("SELECT id, text FROM chunks ORDER BY id")
        return [row["id"] for row in rows], [row["text"] for row in rows]

    def chunks(self, ids: Sequence[int] | IdArray | None = None) -> list[Chunk]:
        """Chunks in the order of `ids`, those that are not there left out; None: all, by id."""
        select = (
            'SELECT chunks.id, source, start, "end", chunks.text, page, chunks.headings, groups '
            "FROM chunks JOIN documents ON documents.id = document "
        )
        if ids is None:
            return [_chunk(row) for row in self._rows(f"{select} ORDER BY chunks.id")]
        wanted = [int(id) for id in np.asarray(ids, dtype=np.int64)]
        found: dict[int, Chunk] = {}
        for first in range(0, len(wanted), _AT_ONCE):
            part = wanted[first : first + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            found |= {row["id"]: _chunk(row) for row in self._rows(f"{select} WHERE chunks.id IN ({marks})", part)}
        return [found[id] for id in wanted if id in found]

    def _rows(self, statement: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        with self._lock, plain_errors(self.path):
            return self._connection.execute(statement, values).fetchall()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _file_values(file: FileStamp | None) -> tuple[str | None, str | None, int | None, int | None]:
    if file is None:
        return None, None, None, None
    # A name that is no UTF-8 has lone surrogates, which SQLite cannot store.
    root, path = (
        None if one is None else str(one).encode(errors="backslashreplace").decode() for one in (file.root, file.path)
    )
    return root, path, file.size, file.mtime_ns


def _info(row: sqlite3.Row) -> DocumentInfo:
    file = None
    if row["path"] is not None:
        root = None if row["root"] is None else Path(row["root"])
        file = FileStamp(path=Path(row["path"]), size=row["size"], mtime_ns=row["mtime_ns"], root=root)
    return DocumentInfo(
        source=row["source"],
        title=row["title"],
        content_hash=row["content_hash"],
        groups=tuple(json.loads(row["groups"])),
        pages=row["pages"],
        chunks=row["chunks"],
        characters=row["characters"],
        notes=tuple(json.loads(row["notes"])),
        metadata=json.loads(row["metadata"]),
        added=row["added"],
        file=file,
    )


def _chunk(row: sqlite3.Row) -> Chunk:
    return Chunk(
        source=row["source"],
        start=row["start"],
        end=row["end"],
        text=row["text"],
        page=row["page"],
        headings=tuple(json.loads(row["headings"])),
        id=row["id"],
        groups=tuple(json.loads(row["groups"])),
    )
