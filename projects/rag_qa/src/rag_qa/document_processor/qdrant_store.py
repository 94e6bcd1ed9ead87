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
from rag_qa.document_processor.metadata_filter import server_record, server_text
from rag_qa.document_processor.qdrant_calls import calling
from rag_qa.document_processor.store_owner import StoreOwner, still_mine, takes_over
from rag_qa.document_processor.vector_store import check_batch, check_queries
from rag_qa.protocols import Condition, FloatArray, IdArray, Metadata, Where
from roadmap_shared.errors import UserError

try:
    from qdrant_client import QdrantClient, models
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
_OWNER = "rag_qa_index"


class QdrantStore:
    """One collection. Safe to use from several threads."""

    def __init__(
        self, config: StoreConfig, folder: Path | None, dimension: int, owner: StoreOwner | None = None
    ) -> None:
        """Connect, and make the collection if it is not there.

        Args:
            config: where the server is; without a url Qdrant runs in this process.
            folder: where it keeps its files then; None: in memory.
            dimension: D of the vectors.
            owner: the index whose collection on a server it must be; None: anybody's. A folder is the index's own.

        Raises:
            UserError: the server is not reached or refuses, the folder is in use, or the collection has another
                dimension or another index's vectors.
        """
        self.dimension = dimension
        self._config, self._folder, self._name = config, folder, config.collection
        self._mine = owner if config.url is not None else None
        self._lock = threading.RLock()
        self._client = self._connect()
        try:
            self._prepare()
        except BaseException:
            self._client.close()
            raise

    def add(self, ids: IdArray, vectors: FloatArray, metadata: Sequence[Metadata]) -> None:
        ids, vectors = check_batch(ids, vectors, metadata, self.dimension)
        with self._lock:
            self._check_still_mine()
            known = self._present(ids)
            if known:
                raise ValueError(f"id {known[0]} is in the store already")
            for first in range(0, len(ids), _BATCH):
                part = slice(first, first + _BATCH)
                points = [
                    models.PointStruct(id=id, vector=vector, payload=server_record(record))
                    for id, vector, record in zip(
                        ids[part].tolist(), vectors[part].tolist(), metadata[part], strict=True
                    )
                ]
                self._call(lambda points=points: self._client.upsert(self._name, points, wait=True))

    def remove(self, ids: IdArray) -> int:
        with self._lock:
            self._check_still_mine()
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
        if not self._call(lambda: self._client.collection_exists(self._name)):
            self._create()
        info = self._call(lambda: self._client.get_collection(self._name))
        self._check_vectors(info.config.params.vectors)
        if self._config.url is None:
            return
        if self._mine is not None:
            self._claim(self._mine, _owner_of(info))
        for field, kind in _INDEXED.items():  # the embedded one has no such indexes
            if field not in info.payload_schema:
                self._call(
                    lambda field=field, kind=kind: self._client.create_payload_index(self._name, field, kind, wait=True)
                )

    def _create(self) -> None:
        parameters = models.VectorParams(size=self.dimension, distance=models.Distance.DOT)
        metadata = None if self._mine is None else {_OWNER: self._mine.to_json()}
        try:
            self._call(lambda: self._client.create_collection(self._name, vectors_config=parameters, metadata=metadata))
        except UserError:
            # Another process was quicker, or an earlier attempt whose answer was lost.
            if not self._call(lambda: self._client.collection_exists(self._name)):
                raise

    def _check_vectors(self, vectors: Any) -> None:
        fits = isinstance(vectors, models.VectorParams)
        if not fits or vectors.distance not in (models.Distance.DOT, models.Distance.COSINE):
            raise UserError(f"{self._place} is a collection of something else: give another --store.collection")
        if vectors.size != self.dimension:
            raise UserError(
                f"{self._place} holds vectors of {vectors.size} dimensions, but the encoder makes {self.dimension}: "
                "give another --store.collection"
            )

    def _claim(self, owner: StoreOwner, found: StoreOwner | None) -> None:
        """Write the owner on an empty collection. Raises UserError: it is another's, or the server cannot keep it."""
        remedy = f"delete it: curl -X DELETE {(self._config.address or '').rstrip('/')}/collections/{self._name}"
        if takes_over(owner, found, self._count, place=self._place, remedy=remedy):
            self._call(lambda: self._client.update_collection(self._name, metadata={_OWNER: owner.to_json()}))
            if self._owner() is None:
                raise UserError(
                    f"{self._server}: does not keep to which index a collection belongs, as servers before 1.16 do "
                    "not: update it"
                )

    def _check_still_mine(self) -> None:
        if self._mine is not None:
            still_mine(self._mine, self._owner(), place=self._place)

    def _owner(self) -> StoreOwner | None:
        return _owner_of(self._call(lambda: self._client.get_collection(self._name)))

    @property
    def _place(self) -> str:
        return f"{self._server}: its collection {self._name}"

    def _count(self) -> int:
        return self._call(lambda: self._client.count(self._name, exact=True)).count

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
        return calling(call, self._config, self._server)


def _owner_of(info: models.CollectionInfo) -> StoreOwner | None:
    return StoreOwner.from_json((info.config.metadata or {}).get(_OWNER))


def _condition(condition: Condition) -> models.Filter:
    """One value is enough; Qdrant keeps strings and whole numbers apart, so each kind is asked for on its own."""
    # A name with a dot would be taken for a path.
    key = condition.field if condition.field.isidentifier() else f'"{server_text(condition.field)}"'
    words = [server_text(value) for value in condition.any_of if isinstance(value, str)]
    numbers = [value for value in condition.any_of if not isinstance(value, str)]
    kinds: list[Any] = [values for values in (words, numbers) if values]
    return models.Filter(should=[models.FieldCondition(key=key, match=models.MatchAny(any=values)) for values in kinds])


def _id(id: Any) -> int:
    return int(id)
