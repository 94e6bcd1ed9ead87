"""The user's embedding cache: used while passages are indexed, shown, and cleared.

Only what is indexed goes through it. Sentences that answers are read from, and questions, are encoded without it: of
them the file holds nothing, and so a deletion, which knows the passages, can empty it of a document.
"""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rag_qa.config.embedding_cache import EmbeddingCacheConfig
from rag_qa.document_processor.index import Index
from rag_qa.machine import cache_folder
from rag_qa.retrieval.embedding_cache import CachedEncoder
from rag_qa.wording import counted
from roadmap_shared.errors import UserError

_BESIDE = ("-journal", "-wal", "-shm", ".damaged")
"""What may stand beside the file."""


@dataclass(frozen=True)
class CacheContents:
    """What an embedding cache holds."""

    path: Path
    bytes: int
    vectors: tuple[int, ...]
    """Numbers of vectors, one for each encoder."""

    def line(self) -> str:
        """For a terminal."""
        if not self.bytes:
            return f"embedding cache {self.path}: empty"
        encoders = counted(len(self.vectors), "encoder")
        return f"embedding cache {self.path}: {sum(self.vectors):,} vectors of {encoders}, {megabytes(self.bytes)}"


def cache_file(config: EmbeddingCacheConfig) -> Path:
    """The file that is configured, or the user's."""
    return default_file() if config.file is None else config.file.resolve()


def default_file() -> Path:
    """In the user's cache folder."""
    return cache_folder() / "embeddings.sqlite"


@contextmanager
def kept_vectors(index: Index, config: EmbeddingCacheConfig) -> Iterator[CachedEncoder | None]:
    """While it is entered, the index takes vectors from the cache and adds those that it lacks.

    Yields the cache, which counts `hits` and `misses`; None where it is switched off, or where the user's own folder
    cannot be written, which is said on stderr.

    Raises:
        UserError: a file that was named cannot be opened.
    """
    encoder, cache = index.encoder, _opened(index, config)
    if cache is None:
        yield None
        return
    index.encoder_or_none = cache
    try:
        yield cache
    finally:
        index.encoder_or_none = encoder
        if cache.note:
            print(cache.note, file=sys.stderr)
        cache.close()


def _opened(index: Index, config: EmbeddingCacheConfig) -> CachedEncoder | None:
    if not config.enabled:
        return None
    path = cache_file(config)
    try:
        if path.is_file() and path.stat().st_size > config.max_bytes:
            print(f"embedding cache {path}: above --embedding_cache.max_bytes, emptied", file=sys.stderr)
            clear(path)
        return CachedEncoder(index.encoder, path)
    except UserError as error:
        if config.file is not None:
            raise
        print(f"{error}; nothing is kept", file=sys.stderr)
        return None


def contents(path: Path) -> CacheContents:
    """What the file holds; nothing where there is none.

    Raises:
        UserError: it is no embedding cache, or cannot be read.
    """
    if not path.exists():
        return CacheContents(path, 0, ())
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            rows = connection.execute("SELECT COUNT(*) FROM vectors GROUP BY fingerprint ORDER BY 1 DESC").fetchall()
        return CacheContents(path, path.stat().st_size, tuple(count for (count,) in rows))
    except sqlite3.Error as error:
        raise UserError(f"{path}: is no embedding cache that can be read ({error})") from None


def clear(path: Path) -> None:
    """Remove the file, and what stands beside it.

    Raises:
        UserError: it is there and is no embedding cache, or cannot be removed.
    """
    contents(path)  # a file that was named by mistake must not be lost
    try:
        for file in (path, *(path.with_name(path.name + suffix) for suffix in _BESIDE)):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be removed ({error.strerror})") from None


def megabytes(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.2f} GB"
