"""Vectors in PostgreSQL with the extension pgvector: one table, filtered by JSON containment.

A change lasts as soon as it is made. Up to `exact_up_to` rows every vector that the filter lets through is compared;
beyond that `save` makes an HNSW index, whose search is approximate. HNSW looks at the filter only after the walk
through its graph, so a search that comes back with fewer than k rows is done again without it.
"""

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, LiteralString, TypeVar

import numpy as np

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.server_attempts import attempt
from rag_qa.document_processor.vector_store import check_batch, check_queries
from rag_qa.protocols import Condition, FloatArray, IdArray, Metadata, Where
from roadmap_shared.errors import UserError, one_line

try:
    import psycopg  # type: ignore[import-not-found]
    from psycopg import sql  # type: ignore[import-not-found]
except ImportError:
    raise UserError("--store.backend pgvector needs the package psycopg: pip install 'psycopg[binary]'") from None

Result = TypeVar("Result")

_EF_SEARCH = 200  # candidates of an HNSW search; pgvector's own 40 loses a few percent of the neighbours
_HNSW_DIMENSIONS = 2000  # pgvector indexes no longer vectors


class PgVectorStore:
    """One table. Safe to use from several threads, which take turns."""

    column_type: LiteralString = "vector({dimension})"
    """SQL type of the vectors."""

    def __init__(self, config: StoreConfig, dimension: int) -> None:
        """Connect, and make the table if it is not there.

        Raises:
            UserError: the server is not reached or lacks the extension, or the table has another dimension.
        """
        self.dimension = dimension
        self._config = config
        self._table = sql.Identifier(config.collection)
        self._lock = threading.RLock()
        self._connection = self._connect()
        try:
            self._call(self._prepare)
        except BaseException:
            self._connection.close()
            raise

    def add(self, ids: IdArray, vectors: FloatArray, metadata: Sequence[Metadata]) -> None:
        ids, vectors = check_batch(ids, vectors, metadata, self.dimension)
        rows = [
            (id, self.literal(vector), json.dumps(dict(record)))
            for id, vector, record in zip(ids.tolist(), vectors, metadata, strict=True)
        ]
        insert = self._sql("INSERT INTO {table} (id, embedding, metadata) VALUES (%s, %s, %s)")

        def change() -> None:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                known = self._rows("SELECT id FROM {table} WHERE id = ANY(%s) ORDER BY id LIMIT 1", (ids.tolist(),))
                if known:
                    raise ValueError(f"id {known[0][0]} is in the store already")
                cursor.executemany(insert, rows)

        self._call(change)

    def remove(self, ids: IdArray) -> int:
        wanted = np.asarray(ids, dtype=np.int64).tolist()
        return len(self._call(lambda: self._rows("DELETE FROM {table} WHERE id = ANY(%s) RETURNING id", (wanted,))))

    def search(self, queries: FloatArray, k: int, where: Where = ()) -> list[list[tuple[int, float]]]:
        queries = check_queries(queries, k, self.dimension)
        if any(not condition.any_of for condition in where):
            return [[] for _ in queries]
        return [self._call(lambda query=query: self._nearest(query, k, where)) for query in queries]

    def ids(self) -> IdArray:
        rows = self._call(lambda: self._rows("SELECT id FROM {table} ORDER BY id"))
        return np.array([id for (id,) in rows], dtype=np.int64)

    def save(self) -> None:
        """Make the HNSW index once the table is large; everything else lasts already."""
        (count,) = self._call(lambda: self._rows("SELECT count(*) FROM {table}"))[0]
        if count > self._config.exact_up_to and self.dimension <= _HNSW_DIMENSIONS:
            statement = "CREATE INDEX IF NOT EXISTS {hnsw} ON {table} USING hnsw (embedding vector_ip_ops)"
            self._call(lambda: self._connection.execute(self._sql(statement)))

    def compact(self) -> None:
        """Have the server write the table afresh, without what was deleted from it."""
        self._call(lambda: self._connection.execute(self._sql("VACUUM FULL {table}")))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @staticmethod
    def literal(vector: FloatArray) -> str:
        """A vector as the server reads it."""
        return f"[{','.join(map(repr, vector.tolist()))}]"

    @property
    def _server(self) -> str:
        return f"PostgreSQL at {self._config.address}"

    def _connect(self) -> psycopg.Connection[Any]:
        url, seconds = self._config.url or "", max(2, round(self._config.timeout))
        return attempt(
            lambda: psycopg.connect(url, autocommit=True, connect_timeout=seconds),
            retries=self._config.retries,
            unreachable=psycopg.OperationalError,
            server=self._server,
            remedy="start it, check user and password (PGPASSWORD or ~/.pgpass), or give another --store.url",
        )

    def _prepare(self) -> None:
        try:
            self.install()
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
            raise UserError(
                f"{self._server}: lacks the extension vector ({one_line(error)}): install pgvector on the server, as "
                "with the image pgvector/pgvector"
            ) from None
        kind = sql.SQL(self.column_type).format(dimension=sql.Literal(self.dimension))
        self._connection.execute(
            self._sql("CREATE TABLE IF NOT EXISTS {table} (id bigint PRIMARY KEY, embedding {kind} NOT NULL, "
                      "metadata jsonb NOT NULL)", kind=kind)
        )  # fmt: skip
        self._connection.execute(
            self._sql("CREATE INDEX IF NOT EXISTS {gin} ON {table} USING gin (metadata jsonb_path_ops)")
        )
        size = self.declared_dimension()
        if size != self.dimension:
            raise UserError(
                f"{self._server}: its table {self._config.collection} holds vectors of {size} dimensions, but the "
                f"encoder makes {self.dimension}: give another --store.collection"
            )

    def install(self) -> None:
        """Make sure that the extension is there."""
        self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")

    def declared_dimension(self) -> int:
        """D of the table's column."""
        rows = self._rows(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = {name}::regclass AND attname = 'embedding'"
        )
        return int(rows[0][0])

    def _nearest(self, query: FloatArray, k: int, where: Where) -> list[tuple[int, float]]:
        conditions, values = _conditions(where)
        literal = self.literal(query)
        select = "SELECT id, -(embedding <#> %s) FROM {table} WHERE {where} ORDER BY embedding <#> %s LIMIT %s"
        statement = self._sql(select, where=conditions)
        with self._connection.transaction():
            self._connection.execute(
                "SELECT set_config('hnsw.ef_search', %s, true)", (str(min(1000, max(_EF_SEARCH, k))),)
            )
            rows = self._connection.execute(statement, (literal, *values, literal, k)).fetchall()
            if len(rows) < k:
                self._connection.execute("SET LOCAL enable_indexscan = off")
                rows = self._connection.execute(statement, (literal, *values, literal, k)).fetchall()
        return sorted(((int(id), float(cosine)) for id, cosine in rows), key=lambda one: (-one[1], one[0]))

    def _sql(self, text: LiteralString, **parts: sql.Composable) -> sql.Composed:
        name = self._config.collection
        names: dict[str, sql.Composable] = {
            "table": self._table,
            "name": sql.Literal(f'"{name}"'),
            "gin": sql.Identifier(f"{name}_metadata"),
            "hnsw": sql.Identifier(f"{name}_embedding"),
        }
        return sql.SQL(text).format(**names, **parts)

    def _rows(self, text: LiteralString, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(self._sql(text), values).fetchall()

    def _call(self, call: Callable[[], Result]) -> Result:
        """One call at a time; a lost connection is made again, and the call repeated once."""
        with self._lock:
            try:
                return call()
            except psycopg.OperationalError:
                if not self._connection.broken:
                    raise
                self._connection = self._connect()
                return call()


def _conditions(where: Where) -> tuple[sql.Composable, list[str]]:
    """SQL of a filter with its values. A field may hold a value or a list of them: both forms are asked for."""
    if not where:
        return sql.SQL("true"), []
    values = [form for condition in where for value in condition.any_of for form in _forms(condition, value)]
    groups = [sql.SQL("({})").format(_any(2 * len(condition.any_of))) for condition in where]
    return sql.SQL(" AND ").join(groups), values


def _any(count: int) -> sql.Composed:
    return sql.SQL(" OR ").join([sql.SQL("metadata @> %s::jsonb")] * count)


def _forms(condition: Condition, value: str | int) -> tuple[str, str]:
    return json.dumps({condition.field: value}), json.dumps({condition.field: [value]})
