"""Vectors in Qdrant: inside this process in a folder, or on a server or cluster.

A change lasts as soon as it is made. The server's search is approximate (HNSW), with filters within the walk through
the graph; the embedded one compares with every vector and is meant for small collections.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.server_attempts import attempt
from rag_qa.document_processor.vector_store import check_batch, check_queries
from rag_qa.protocols import Condition, FloatArray, IdArray, Metadata, Where
from roadmap_shared.errors import UserError, one_line

try:
    from qdrant_client import QdrantClient, models
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
except ImportError:
    raise UserError("--store.backend qdrant needs the package qdrant-client: pip install qdrant-client") from None

Result = TypeVar("Result")

_BATCH = 500
_PAGE = 10_000
_INDEXED = {
    "groups": models.PayloadSchemaType.KEYWORD,
    "source": models.PayloadSchemaType.KEYWORD,
    "page": models.PayloadSchemaType.INTEGER,
}
_REMEDY = "start it, as with `docker run -p 6333:6333 qdrant/qdrant`, or give another --store.url"


class QdrantStore:
    """One collection. Safe to use from several threads."""

    def __init__(self, config: StoreConfig, folder: Path | None, dimension: int) -> None:
        """Connect, and make the collection if it is not there.

        Args:
            config: where the server is; without a url Qdrant runs in this process.
            folder: where it keeps its files then; None: in memory.
            dimension: D of the vectors.

        Raises:
            UserError: the server is not reached or refuses, the folder is in use, or the collection has another
                dimension.
        """
        self.dimension = dimension
        self._config, self._folder, self._name = config, folder, config.collection
        self._lock = threading.RLock()
        self._client = self._connect()
        try:
            self._call(self._prepare)
        except BaseException:
            self._client.close()
            raise

    def add(self, ids: IdArray, vectors: FloatArray, metadata: Sequence[Metadata]) -> None:
        ids, vectors = check_batch(ids, vectors, metadata, self.dimension)
        with self._lock:
            known = self._present(ids)
            if known:
                raise ValueError(f"id {known[0]} is in the store already")
            for first in range(0, len(ids), _BATCH):
                part = slice(first, first + _BATCH)
                points = [
                    models.PointStruct(id=id, vector=vector, payload=_payload(record))
                    for id, vector, record in zip(
                        ids[part].tolist(), vectors[part].tolist(), metadata[part], strict=True
                    )
                ]
                self._call(lambda points=points: self._client.upsert(self._name, points, wait=True))

    def remove(self, ids: IdArray) -> int:
        with self._lock:
            present = self._present(np.unique(np.asarray(ids, dtype=np.int64)))
            for first in range(0, len(present), _BATCH):
                selector = models.PointIdsList(points=[*present[first : first + _BATCH]])
                self._call(lambda selector=selector: self._client.delete(self._name, selector, wait=True))
            return len(present)

    def search(self, queries: FloatArray, k: int, where: Where = ()) -> list[list[tuple[int, float]]]:
        queries = check_queries(queries, k, self.dimension)
        if not len(queries) or any(not condition.any_of for condition in where):
            return [[] for _ in queries]
        chosen = models.Filter(must=[_condition(condition) for condition in where]) if where else None
        requests = [models.QueryRequest(query=query, limit=k, filter=chosen) for query in queries.tolist()]
        with self._lock:
            answers = self._call(lambda: self._client.query_batch_points(self._name, requests))
        return [
            sorted(((_id(point.id), float(point.score)) for point in answer.points), key=lambda one: (-one[1], one[0]))
            for answer in answers
        ]

    def ids(self) -> IdArray:
        found: list[int] = []
        offset: Any = None
        with self._lock:
            while True:
                points, offset = self._call(
                    lambda offset=offset: self._client.scroll(
                        self._name, limit=_PAGE, offset=offset, with_payload=False, with_vectors=False
                    )
                )
                found += [_id(point.id) for point in points]
                if offset is None:
                    return np.sort(np.array(found, dtype=np.int64))

    def vectors(self, ids: IdArray) -> FloatArray:
        """(N, D) vectors of ids. Raises KeyError: an id is not there."""
        wanted = np.asarray(ids, dtype=np.int64).tolist()
        with self._lock:
            points = self._call(lambda: self._client.retrieve(self._name, wanted, with_vectors=True)) if wanted else []
        found = {_id(point.id): point.vector for point in points}
        return np.array([found[id] for id in wanted], dtype=np.float32).reshape(len(wanted), self.dimension)

    def save(self) -> None:
        """Nothing is left to do: each change lasts at once."""

    def compact(self) -> None:
        """Write the embedded database's file afresh, without what was deleted from it."""
        if self._folder is None or self._config.url is not None:
            return
        with self._lock:
            self._client.close()
            for path in self._folder.rglob("*.sqlite"):
                connection = sqlite3.connect(path)
                connection.execute("VACUUM")
                connection.close()
            self._client = self._connect()

    def close(self) -> None:
        with self._lock:
            self._client.close()

    @property
    def _server(self) -> str:
        return f"Qdrant at {self._config.address}" if self._config.url else f"Qdrant in {self._folder}"

    def _connect(self) -> QdrantClient:
        config = self._config
        if config.url is not None:
            return QdrantClient(
                url=config.url,
                api_key=os.environ.get(config.api_key_env),
                timeout=max(1, round(config.timeout)),
                check_compatibility=False,  # it would warn of a server that is not there before we can say so
            )
        if self._folder is None:
            return QdrantClient(location=":memory:")
        try:
            return QdrantClient(path=str(self._folder), force_disable_check_same_thread=True)
        except RuntimeError as error:
            if "already accessed" not in str(error):
                raise
            raise UserError(
                f"{self._folder}: in use by another process, and embedded Qdrant serves one at a time: end the other, "
                "or run a server and give its --store.url"
            ) from None

    def _prepare(self) -> None:
        if self._client.collection_exists(self._name):
            vectors = self._client.get_collection(self._name).config.params.vectors
            size = vectors.size if isinstance(vectors, models.VectorParams) else None
            if size != self.dimension:
                raise UserError(
                    f"{self._server}: its collection {self._name} holds vectors of {size} dimensions, but the encoder "
                    f"makes {self.dimension}: give another --store.collection"
                )
            return
        parameters = models.VectorParams(size=self.dimension, distance=models.Distance.DOT)
        self._client.create_collection(self._name, vectors_config=parameters)
        if self._config.url is not None:  # the embedded one has no such indexes
            for field, kind in _INDEXED.items():
                self._client.create_payload_index(self._name, field, kind)

    def _present(self, ids: IdArray) -> list[int]:
        found: list[int] = []
        for first in range(0, len(ids), _PAGE):
            part = [id for id in ids[first : first + _PAGE].tolist() if id >= 0]
            points = self._call(
                lambda part=part: self._client.retrieve(self._name, part, with_payload=False, with_vectors=False)
            )
            found += [_id(point.id) for point in points]
        return sorted(found)

    def _call(self, call: Callable[[], Result]) -> Result:
        try:
            return attempt(
                call,
                retries=self._config.retries,
                unreachable=ResponseHandlingException,
                server=self._server,
                remedy=_REMEDY,
            )
        except UnexpectedResponse as error:
            advice = (
                f"set its key in the environment variable {self._config.api_key_env}"
                if error.status_code in (401, 403)
                else "see the server's log"
            )
            reason = one_line(error.content.decode(errors="replace"))[:200] or error.reason_phrase
            raise UserError(f"{self._server}: refused with status {error.status_code} ({reason}): {advice}") from None


def _payload(metadata: Metadata) -> dict[str, Any]:
    return {field: list(value) if isinstance(value, tuple) else value for field, value in metadata.items()}


def _condition(condition: Condition) -> models.Filter:
    """One value is enough; Qdrant keeps strings and whole numbers apart, so each kind is asked for on its own."""
    # A name with a dot would be taken for a path.
    key = condition.field if condition.field.isidentifier() else f'"{condition.field}"'
    words = [value for value in condition.any_of if isinstance(value, str)]
    numbers = [value for value in condition.any_of if not isinstance(value, str)]
    kinds: list[Any] = [values for values in (words, numbers) if values]
    return models.Filter(should=[models.FieldCondition(key=key, match=models.MatchAny(any=values)) for values in kinds])


def _id(id: Any) -> int:
    return int(id)
