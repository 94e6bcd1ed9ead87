"""Vectors of an index's passages in embedding caches: which files hold some, and how they are made to forget them."""

import json
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Protocol

from rag_qa.document_processor.database import Database
from rag_qa.protocols import Encoder
from rag_qa.retrieval.embedding_cache import CachedEncoder, VectorFile

_KEY = "embedding_caches"


class _Indexed(Protocol):
    """Of `Index`, what is needed here."""

    database: Database

    @property
    def encoder_or_none(self) -> Encoder | None: ...


def not_kept(encoder: Encoder) -> Encoder:
    """The encoder without its cache, for texts that are no passages."""
    return encoder.inner if isinstance(encoder, CachedEncoder) else encoder


def note_cache(index: _Indexed) -> None:
    """Have the index remember the cache through which it is being filled, so that a deletion finds it."""
    path = _cache_of(index.encoder_or_none)
    known = cache_files(index)
    if path is not None and path not in known:
        index.database.set_meta(_KEY, json.dumps([*map(str, known), str(path)]))


def cache_files(index: _Indexed) -> list[Path]:
    """Files of the caches through which the index was filled, whether they are still there or not."""
    return [Path(name) for name in json.loads(index.database.meta().get(_KEY, "[]"))]


def forget(index: _Indexed, texts: Iterable[str]) -> list[Path]:
    """Remove the vectors of passages from the caches of the index; returns the files that should hold none.

    Raises:
        UserError: a cache cannot be written.
    """
    gone = list(texts)
    known, own = cache_files(index), _cache_of(index.encoder_or_none)
    if own is not None and own not in known:
        known.append(own)
    paths = [path for path in known if path.exists()]
    for path in paths if gone else ():
        with closing(VectorFile(path)) as cache:
            cache.purge(gone)
    aside = (path.with_name(f"{path.name}.damaged") for path in paths)
    return [*paths, *(path for path in aside if path.exists())]


def _cache_of(encoder: Encoder | None) -> Path | None:
    return encoder.path.resolve() if isinstance(encoder, CachedEncoder) else None
