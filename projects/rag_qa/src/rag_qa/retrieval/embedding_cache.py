"""Vectors of texts that were encoded before, in one SQLite file."""

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np

from rag_qa.protocols import Encoder, FloatArray
from rag_qa.retrieval.language import Spelling
from roadmap_shared.errors import UserError, one_line

Result = TypeVar("Result")

_BATCH = 500
"""Keys of one statement: SQLite takes 999 in its oldest builds."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    fingerprint TEXT NOT NULL, text_hash BLOB NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (fingerprint, text_hash)
) WITHOUT ROWID
"""


class CachedEncoder:
    """Implements `Encoder` by another one and a file that several processes may share.

    Only passages are kept: questions are short, hardly ever the same, and their owner's business.
    """

    def __init__(self, encoder: Encoder, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            UserError: the file cannot be made, opened or written.
        """
        self.inner = encoder
        self.name, self.fingerprint = encoder.name, encoder.fingerprint
        self.dimension, self.max_tokens = encoder.dimension, encoder.max_tokens
        self.path = path
        self.hits = self.misses = 0
        self._file = VectorFile(path)

    @property
    def note(self) -> str | None:
        """One line about a damaged file that was put aside."""
        return self._file.note

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """(N, dimension) unit vectors; texts that are not in the cache are encoded, each once, and kept."""
        keys = [_key(text) for text in texts]
        known = self._file.read(self.fingerprint, self.dimension, set(keys))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        self.misses += len(missing)
        self.hits += len(texts) - len(missing)
        if missing:
            vectors = np.ascontiguousarray(self.inner.encode(list(missing.values())), dtype=np.float32)
            made = dict(zip(missing, vectors, strict=True))
            known |= made
            self._file.write(self.fingerprint, made)
        rows = [known[key] for key in keys]
        return np.stack(rows) if rows else np.empty((0, self.dimension), dtype=np.float32)

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of questions, which are not kept."""
        return getattr(self.inner, "encode_queries", self.inner.encode)(texts)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """As the encoder gives them."""
        return self.inner.token_spans(text)

    def unknown_share(self, text: str) -> float:
        """As the encoder gives it; 0 from one that cannot tell."""
        return self.inner.unknown_share(text) if isinstance(self.inner, Spelling) else 0.0

    def close(self) -> None:
        """Free the file."""
        self._file.close()


class VectorFile:
    """Vectors under an encoder's fingerprint and the sha256 of their text; the text itself is not kept.

    Safe to use from several threads and processes. A damaged file is put aside under another name and begun again:
    `note` says so.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            UserError: the file cannot be made, opened or written.
        """
        self.path = path
        self.note: str | None = None
        """One line about a damaged file that was put aside."""
        self._lock = threading.RLock()
        self._connection = self._open()

    def read(self, fingerprint: str, dimension: int, keys: set[bytes]) -> dict[bytes, FloatArray]:
        """Vectors of `dimension` floats by key, without those that the file does not hold."""
        with self._lock:
            return self._mended(lambda: self._read(fingerprint, dimension, keys))

    def write(self, fingerprint: str, vectors: Mapping[bytes, FloatArray]) -> None:
        """Keep vectors by key."""
        with self._lock:
            self._mended(lambda: self._write(fingerprint, vectors))

    def purge(self, texts: Sequence[str]) -> int:
        """Remove the vectors of these texts, of every encoder, and overwrite their place; returns their number."""
        keys = list(dict.fromkeys(_key(text) for text in texts))
        with self._lock:
            return self._mended(lambda: self._delete(keys))

    def close(self) -> None:
        """Free the file."""
        with self._lock:
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self._connected()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise UserError(f"embedding cache {self.path}: cannot be opened: {one_line(error)}") from None
            return self._begun_again(error)
        except OSError as error:
            raise UserError(f"embedding cache {self.path}: cannot be made: {error.strerror}") from None

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
        try:
            # What is deleted is overwritten with zeros, and no log beside the file keeps a copy of it.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute(_SCHEMA)
            connection.execute("SELECT fingerprint, text_hash, vector FROM vectors LIMIT 1").fetchone()
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    def _begun_again(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        aside = self.path.with_name(f"{self.path.name}.damaged")
        self.path.replace(aside)
        for suffix in ("-journal", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.note = f"embedding cache {self.path}: damaged ({one_line(error)}); kept as {aside.name} and begun again"
        return self._connected()

    def _mended(self, work: Callable[[], Result]) -> Result:
        """Do it; if the file turns out to be damaged, do it again with an empty one."""
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise UserError(f"embedding cache {self.path}: {one_line(error)}") from None
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = self._begun_again(error)
            return work()

    def _read(self, fingerprint: str, dimension: int, keys: set[bytes]) -> dict[bytes, FloatArray]:
        found: dict[bytes, FloatArray] = {}
        wanted = sorted(keys)
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            marks = ",".join("?" * len(batch))
            rows = self._connection.execute(
                f"SELECT text_hash, vector FROM vectors WHERE fingerprint = ? AND text_hash IN ({marks})",
                (fingerprint, *batch),
            )
            for key, blob in rows:
                if len(blob) == 4 * dimension:  # anything else is encoded again
                    found[key] = np.frombuffer(blob, dtype="<f4").astype(np.float32)
        return found

    def _write(self, fingerprint: str, vectors: Mapping[bytes, FloatArray]) -> None:
        rows = [(fingerprint, key, vector.astype("<f4").tobytes()) for key, vector in vectors.items()]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)

    def _delete(self, keys: list[bytes]) -> int:
        with self._connection:
            cursor = self._connection.executemany("DELETE FROM vectors WHERE text_hash = ?", [(key,) for key in keys])
            return max(cursor.rowcount, 0)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is bad, rather than locked, read-only or on a full disk."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    missing_column = isinstance(error, sqlite3.OperationalError) and "no such column" in str(error)
    return primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or missing_column
