"""Tables of an index's database, its connection, and its errors in one line."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roadmap_shared.errors import UserError, one_line

SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    pages TEXT NOT NULL,          -- JSON: [[number, start, end], …]
    headings TEXT NOT NULL,       -- JSON: [[level, title, start, end], …]
    notes TEXT NOT NULL,          -- JSON: [note, …]
    metadata TEXT NOT NULL,       -- JSON object
    content_hash TEXT NOT NULL,
    groups TEXT NOT NULL,         -- JSON: [group, …]
    characters INTEGER NOT NULL,
    root TEXT,                    -- the ingested folder, where the document came from one
    path TEXT,                    -- its file, as found
    size INTEGER,                 -- of the file in bytes, and …
    mtime_ns INTEGER,             -- … when it was changed: while both are the same, it is not read again
    added TEXT NOT NULL           -- UTC
);
CREATE INDEX documents_by_hash ON documents (content_hash);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- so an id is never used twice
    document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    text TEXT NOT NULL,
    page INTEGER NOT NULL,
    headings TEXT NOT NULL        -- JSON: [title, …]
);
CREATE INDEX chunks_by_document ON chunks (document);
"""

_BUSY_MILLISECONDS = 15_000


def connect(path: Path | None) -> sqlite3.Connection:
    """Open the database file, or one in memory.

    A rollback journal instead of a write-ahead log, and zeros over whatever is deleted: no copy of a deleted text
    stays in a file. Pages are not spilt to the file before a commit, so readers are shut out for that moment only.
    """
    connection = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    for pragma in (
        f"busy_timeout = {_BUSY_MILLISECONDS}",
        "journal_mode = DELETE",
        "secure_delete = ON",
        "temp_store = MEMORY",
        "cache_spill = OFF",
        "foreign_keys = ON",
        "synchronous = FULL",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextmanager
def plain_errors(path: Path | None) -> Iterator[None]:
    """Turn what SQLite reports of a full disk, a lock or a damaged file into a `UserError`."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a bug, or a duplicate that the caller knows about
    except sqlite3.DatabaseError as error:
        text = one_line(error)
        if "full" in text or "readonly" in text or "unable to open" in text or "disk I/O" in text:
            advice = f"cannot be written ({text}): the index is as it was before; make room or give rights, and repeat"
        elif "locked" in text:
            advice = "is being written by another process for long: wait for it to end, then repeat"
        else:
            advice = f"damaged ({text}): restore it from a backup, or ingest again into an empty folder"
        raise UserError(f"{path or 'the index in memory'}: {advice}") from None
