"""Vectors in PostgreSQL with the extension pgvector: one table, filtered by JSON containment.

A change lasts as soon as it is made. Up to `exact_up_to` rows every vector that the filter lets through is compared;
beyond that `save` makes an HNSW index, whose search is approximate. PostgreSQL chooses for each question: a filter
that lets few rows through is answered from the index of the metadata, exactly. Otherwise the 200 candidates of a walk
through HNSW's graph are looked at, and where fewer than k of them pass the filter, the search is done again without the
graph. That keeps the recall of the unfiltered search, which pgvector's own "iterative scan" (0.8) does not: walked on
into far parts of the graph it misses a quarter of the neighbours.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import numpy as np

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.metadata_filter import server_record
from rag_qa.document_processor.pgvector_connection import PgConnection, psycopg
from rag_qa.document_processor.pgvector_filter import conditions
from rag_qa.document_processor.store_owner import StoreOwner, still_mine, takes_over
from rag_qa.document_processor.vector_store import check_batch, check_queries
from rag_qa.protocols import FloatArray, IdArray, Metadata, Where
from roadmap_shared.errors import UserError, one_line

_EF_SEARCH = 200  # candidates of an HNSW search; pgvector's own 40 loses a few percent of the neighbours
_HNSW_DIMENSIONS = 2000  # pgvector indexes no longer vectors
_BUILD_MEMORY = "512MB"  # a graph that does not fit is built far more slowly; the usual 64MB hold 20,000 vectors
_COLUMNS = {"id", "embedding", "metadata"}


class PgVectorStore:
    """One table. Safe to use from several threads, which take turns."""

    column_type: LiteralString = "vector({dimension})"
    """SQL type of the vectors."""

    def __init__(self, config: StoreConfig, dimension: int, owner: StoreOwner | None = None) -> None:
        """Connect, and make the table if it is not there.

        Args:
            config: where the server is.
            dimension: D of the vectors.
            owner: the index whose table it must be; None: anybody's.

        Raises:
            UserError: the server is not reached or refuses, or lacks the extension, or the table has another
                dimension, another index's vectors, or is none of this program's.
        """
        self.dimension = dimension
        self._config, self._mine = config, owner
        self._connection = PgConnection(config)
        self._settings: dict[str, str] = {}
        try:
            self._connection.read(self._prepare)
        except BaseException:
            self._connection.close()
            raise

    def add(self, ids: IdArray, vectors: FloatArray, metadata: Sequence[Metadata]) -> None:
        ids, vectors = check_batch(ids, vectors, metadata, self.dimension)
        records = [json.dumps(server_record(record)) for record in metadata]

        def change() -> None:
            with self._connection.raw.transaction(), self._connection.raw.cursor() as cursor:
                self._lock_to_write()
                known = self._rows("SELECT id FROM {table} WHERE id = ANY(%s) ORDER BY id LIMIT 1", (ids.tolist(),))
                if known:
                    raise ValueError(f"id {known[0][0]} is in the store already")
                with cursor.copy(self._sql("COPY {table} (id, embedding, metadata) FROM STDIN")) as copy:
                    for id, vector, record in zip(ids.tolist(), vectors, records, strict=True):
                        copy.write_row((id, self.literal(vector), record))

        if len(ids):
            self._connection.write(change)

    def remove(self, ids: IdArray) -> int:
        wanted = np.asarray(ids, dtype=np.int64).tolist()

        def change() -> int:
            with self._connection.raw.transaction():
                self._lock_to_write()
                return len(self._rows("DELETE FROM {table} WHERE id = ANY(%s) RETURNING id", (wanted,)))

        return self._connection.write(change) if wanted else 0

    def search(self, queries: FloatArray, k: int, where: Where = ()) -> list[list[tuple[int, float]]]:
        queries = check_queries(queries, k, self.dimension)
        if any(not condition.any_of for condition in where):
            return [[] for _ in queries]
        settings = {**self._settings, "hnsw.ef_search": str(min(1000, max(_EF_SEARCH, k)))}
        return [
            self._connection.read(lambda query=query: self._nearest(query, k, where), settings) for query in queries
        ]

    def ids(self) -> IdArray:
        rows = self._connection.read(lambda: self._rows("SELECT id FROM {table} ORDER BY id"))
        return np.array([id for (id,) in rows], dtype=np.int64)

    def vectors(self, ids: IdArray) -> FloatArray:
        """(N, D) vectors of ids. Raises KeyError: an id is not there."""
        wanted = np.asarray(ids, dtype=np.int64).tolist()
        statement: LiteralString = "SELECT id, embedding::real[] FROM {table} WHERE id = ANY(%s)"
        found = dict(self._connection.read(lambda: self._rows(statement, (wanted,)))) if wanted else {}
        return np.array([found[id] for id in wanted], dtype=np.float32).reshape(len(wanted), self.dimension)

    def save(self) -> None:
        """Make the HNSW index once the table is large, and let the server count afresh; everything lasts already."""
        self._connection.write(self._maintain)

    def compact(self) -> None:
        """Have the server write the table afresh, without what was deleted from it; nobody can search meanwhile."""
        self._connection.write(lambda: self._execute("VACUUM FULL {table}"))

    def erase(self) -> str:
        """Erase what the server's files keep of deleted rows, where that is quick; returns a certificate's remark."""
        try:
            owns, few = self._connection.read(self._may_compact)
            if owns and few:
                self._execute("SET lock_timeout = {limit}", limit=psycopg.sql.Literal(f"{self._config.timeout:g}s"))
                self.compact()
                return "the server wrote its table afresh, without the deleted rows; its write-ahead log may hold them"
        except (UserError, psycopg.Error):
            pass
        return f"the server's files hold the deleted vectors until its administrator runs: VACUUM FULL {self._quoted}"

    def close(self) -> None:
        self._connection.close()

    @staticmethod
    def literal(vector: FloatArray) -> str:
        """A vector as the server reads it: nine digits give every float32 back."""
        return f"[{','.join(['%.9g'] * len(vector)) % tuple(vector.tolist())}]"

    # ------------------------------------------------------------------ table

    def _prepare(self) -> None:
        if not self._columns():
            # Two that begin at once would trip over each other in the catalogue, IF NOT EXISTS or not.
            self._connection.raw.execute("SELECT pg_advisory_xact_lock(hashtext('rag_qa'))")
            self.install()
            self._create()
        self._check_columns()
        if self._mine is not None and self._takes_over(self._mine):
            # Another process may be about to write into it, or to take it over as well.
            self._execute("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
            if self._takes_over(self._mine):
                self._execute("COMMENT ON TABLE {table} IS {owner}", owner=psycopg.sql.Literal(self._mine.to_json()))
        if self._extension() >= (0, 8):
            self._settings["hnsw.iterative_scan"] = "off"  # which a server may have by default

    def install(self) -> None:
        """Make sure that the extension is there.

        Raises:
            UserError: the server does not have it.
        """
        if self._rows("SELECT 1 FROM pg_extension WHERE extname = 'vector'"):
            return
        try:
            self._execute("CREATE EXTENSION vector")
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
            raise UserError(
                f"{self._connection.server}: lacks the extension vector ({one_line(error)}): install pgvector on the "
                "server, as with the image pgvector/pgvector"
            ) from None

    def declared_dimension(self) -> int:
        """D of the table's column."""
        rows = self._rows(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass({name}) AND attname = 'embedding'"
        )
        return int(rows[0][0])

    def _create(self) -> None:
        kind = psycopg.sql.SQL(self.column_type).format(dimension=psycopg.sql.Literal(self.dimension))
        self._execute(
            "CREATE TABLE IF NOT EXISTS {table} (id bigint PRIMARY KEY, embedding {kind} NOT NULL, "
            "metadata jsonb NOT NULL)",
            kind=kind,
        )
        self._execute("CREATE INDEX IF NOT EXISTS {gin} ON {table} USING gin (metadata jsonb_path_ops)")

    def _columns(self) -> set[str]:
        """Names of the table's columns; empty: there is no such table."""
        rows = self._rows(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass({name}) AND attnum > 0 AND NOT attisdropped"
        )
        return {name for (name,) in rows}

    def _check_columns(self) -> None:
        if self._columns() != _COLUMNS:
            raise UserError(f"{self._place} is a table of something else: give another --store.collection")
        size = self.declared_dimension()
        if size != self.dimension:
            raise UserError(
                f"{self._place} holds vectors of {size} dimensions, but the encoder makes {self.dimension}: give "
                "another --store.collection"
            )

    def _takes_over(self, mine: StoreOwner) -> bool:
        remedy = f"drop it: DROP TABLE {self._quoted}"
        return takes_over(mine, self._owner(), self._count, place=self._place, remedy=remedy)

    def _lock_to_write(self) -> None:
        """Until the end of the transaction nobody takes the table over. Raises UserError: somebody has."""
        self._execute("LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        still_mine(self._mine, self._owner(), place=self._place)

    def _owner(self) -> StoreOwner | None:
        ((comment,),) = self._rows("SELECT obj_description(to_regclass({name}), 'pg_class')")
        return StoreOwner.from_json(comment)

    def _may_compact(self) -> tuple[bool, bool]:
        """Whether the table is ours (others are skipped with a mere warning), and without an index that takes long."""
        ((owns,),) = self._rows("SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass({name})")
        return bool(owns), self._count() <= self._config.exact_up_to

    def _count(self) -> int:
        return int(self._rows("SELECT count(*) FROM {table}")[0][0])

    def _extension(self) -> tuple[int, ...]:
        """Version of pgvector; (0,): it is not there."""
        rows = self._rows("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        return tuple(int(part) for part in rows[0][0].split(".")[:2]) if rows else (0,)

    def _maintain(self) -> None:
        many = self._count() > self._config.exact_up_to
        # Asked for first: whoever does not own the table may not even ask for IF NOT EXISTS.
        ((there,),) = self._rows("SELECT to_regclass({hnsw_name}) IS NOT NULL")
        if many and not there and self.dimension <= _HNSW_DIMENSIONS:
            with self._connection.raw.transaction():
                self._execute("SET LOCAL maintenance_work_mem = {memory}", memory=psycopg.sql.Literal(_BUILD_MEMORY))
                self._execute("CREATE INDEX IF NOT EXISTS {hnsw} ON {table} USING hnsw (embedding vector_ip_ops)")
        # Without it the server guesses how many rows a filter lets through, and walks where it should look up.
        self._execute("ANALYZE {table}")

    # ----------------------------------------------------------------- search

    def _nearest(self, query: FloatArray, k: int, where: Where) -> list[tuple[int, float]]:
        chosen, values = conditions(where)
        literal = self.literal(query)
        select: LiteralString = (
            "SELECT id, -(embedding <#> %s) FROM {table} WHERE {where} ORDER BY embedding <#> %s LIMIT %s"
        )
        rows = self._rows(select, (literal, *values, literal, k), where=chosen)
        if len(rows) < k:
            self._execute("SET LOCAL enable_indexscan = off")
            rows = self._rows(select, (literal, *values, literal, k), where=chosen)
        return sorted(((int(id), float(cosine)) for id, cosine in rows), key=lambda one: (-one[1], one[0]))

    # ------------------------------------------------------------- statements

    @property
    def _quoted(self) -> str:
        return f'"{self._config.collection}"'

    @property
    def _place(self) -> str:
        return f"{self._connection.server}: its table {self._config.collection}"

    def _sql(
        self, text: LiteralString, parts: Mapping[str, psycopg.sql.Composable] | None = None
    ) -> psycopg.sql.Composed:
        name = self._config.collection
        names: dict[str, psycopg.sql.Composable] = {
            "table": psycopg.sql.Identifier(name),
            "name": psycopg.sql.Literal(self._quoted),
            "gin": psycopg.sql.Identifier(f"{name}_metadata"),
            "hnsw": psycopg.sql.Identifier(f"{name}_embedding"),
            "hnsw_name": psycopg.sql.Literal(f'"{name}_embedding"'),
        }
        return psycopg.sql.SQL(text).format(**names, **(parts or {}))

    def _execute(self, text: LiteralString, **parts: psycopg.sql.Composable) -> None:
        self._connection.raw.execute(self._sql(text, parts))

    def _rows(
        self, text: LiteralString, values: Sequence[object] = (), **parts: psycopg.sql.Composable
    ) -> list[tuple[Any, ...]]:
        return self._connection.raw.execute(self._sql(text, parts), values or None).fetchall()
