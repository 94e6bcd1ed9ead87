"""The pgvector store on a real PostgreSQL: the common suite, large tables, and an index over it.

Where the server lacks the extension, everything but the vector type and its HNSW index is still tested; see
`pg_server.py`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("psycopg", reason="the extra pgvector is not installed")

import psycopg

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import add_documents, delete
from rag_qa.document_processor.pgvector_store import PgVectorStore
from rag_qa.protocols import Condition, VectorStore
from roadmap_shared.errors import UserError

from . import pg_server
from .store_suite import DIMENSION, Model, VectorStoreSuite, about, id_array, unit_vectors
from .tiny_index import CHUNKING, HashingEncoder, check_consistent, document, found_sources, sentences

server, kind, config = pg_server.server, pg_server.kind, pg_server.config


class TestPgVector(VectorStoreSuite):
    keeps_unsaved = True

    @pytest.fixture
    def store(self, config: StoreConfig, kind: type[PgVectorStore]) -> Iterator[VectorStore]:
        self.make = lambda: kind(config, DIMENSION)
        store = self.make()
        yield store
        store.close()

    def reopened(self, store: VectorStore) -> VectorStore:
        return self.make()


@pytest.fixture
def real(kind: type[PgVectorStore]) -> None:
    """For tests of what the stand-in does not have."""
    if kind is pg_server.StandInStore:
        pytest.skip("the PostgreSQL server lacks the extension vector")


@pytest.mark.usefixtures("real")
class TestLargeTables:
    @pytest.fixture
    def store(self, config: StoreConfig) -> Iterator[PgVectorStore]:
        """3,000 vectors of 16 dimensions with an HNSW index; `far` are the 60 that are farthest from the query."""
        store = PgVectorStore(replace(config, exact_up_to=10), DIMENSION)
        self.vectors, self.query, self.model = unit_vectors(3000), unit_vectors(1, seed=9), Model()
        far = set(np.argsort(self.vectors @ self.query[0])[:60].tolist())
        metadata = [about("far" if row in far else "near", page=row % 2) for row in range(3000)]
        store.add(np.arange(3000), self.vectors, metadata)
        self.model.add(np.arange(3000), self.vectors, metadata)
        store.save()
        yield store
        store.close()

    def plan(self, store: PgVectorStore) -> str:
        with psycopg.connect(store._config.url or "") as connection:
            connection.execute("SET enable_seqscan = off")
            statement = f'EXPLAIN SELECT id FROM "{pg_server.TABLE}" ORDER BY embedding <#> %s LIMIT 5'
            return str(connection.execute(statement, (store.literal(self.query[0]),)).fetchall())  # pyright: ignore

    def test_the_search_uses_the_index(self, store: PgVectorStore) -> None:
        assert f'Index Scan using \\"{pg_server.TABLE}_embedding\\"' in self.plan(store).replace('"', '\\"')

    def test_saving_again_keeps_it(self, store: PgVectorStore) -> None:
        store.save()
        names = store._rows("SELECT indexname FROM pg_indexes WHERE tablename = 'Roadmap_test' ORDER BY 1")
        assert [name for (name,) in names] == [f"Roadmap_test_{part}" for part in ("embedding", "metadata", "pkey")]

    @pytest.mark.parametrize("field", ["near", "far", "half"])
    def test_a_filter_costs_no_recall(self, store: PgVectorStore, field: str) -> None:
        """The walk through the graph meets none of the far ones."""
        half = Condition(field="page", any_of=(1,))
        where = (half if field == "half" else Condition(field="source", any_of=(field,)),)
        store._connection.raw.execute("SET enable_bitmapscan = off")  # the other way in which a filter is answered
        self.model.check(store.search(self.query, 10, where)[0], self.query[0], 10, where)

    def test_deleted_vectors_are_not_erased_where_it_would_take_long(self, store: PgVectorStore) -> None:
        store.remove(id_array(1))
        assert store.erase() == (
            'the server\'s files hold the deleted vectors until its administrator runs: VACUUM FULL "Roadmap_test"'
        )


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch, kind: type[PgVectorStore]) -> None:
    """Indexes use the stand-in, too, where the server needs it."""
    monkeypatch.setattr("rag_qa.document_processor.pgvector_store.PgVectorStore", kind)


@pytest.mark.usefixtures("instead")
class TestIndex:
    def test_documents_are_changed_deleted_and_their_vectors_looked_for(
        self, config: StoreConfig, tmp_path: Path
    ) -> None:
        encoder = HashingEncoder()
        with Index.create(tmp_path, encoder, CHUNKING, config) as index:
            add_documents(index, [document("owls.txt", sentences("owl")), document("bears.txt", sentences("bear"))])
            encoder.encoded.clear()
            add_documents(index, [document("owls.txt", sentences("owl") + "\n\nOwls hunt at night.")])
            assert len(encoder.encoded) < 6  # what stayed keeps its vector
            certificate = delete(index, ["bears.txt"])
            assert certificate.clean
            assert certificate.vector_patterns > 0
            assert certificate.remarks[-1] == (
                "the server wrote its table afresh, without the deleted rows; its write-ahead log may hold them"
            )
        with Index.open(tmp_path, encoder, config) as index:
            check_consistent(index)
            assert found_sources(index, "owl")[:3] == ["owls.txt"] * 3

    def test_what_a_killed_writer_left_is_put_right(self, config: StoreConfig, tmp_path: Path) -> None:
        with Index.create(tmp_path, HashingEncoder(), CHUNKING, config) as index:
            add_documents(index, [document("owls.txt", sentences("owl"))])
            index.store.add(id_array(900), unit_vectors(1, dimension=32), [about()])
            index.store.remove(index.store.ids()[:1])
            add_documents(index, [document("bears.txt", sentences("bear"))])
            check_consistent(index)

    def test_two_indexes_do_not_share_a_table(self, config: StoreConfig, tmp_path: Path) -> None:
        with Index.create(tmp_path / "one", HashingEncoder(), CHUNKING, config) as index:
            add_documents(index, [document("owls.txt", sentences("owl"))])
            with pytest.raises(UserError) as raised:
                Index.create(tmp_path / "two", HashingEncoder(), CHUNKING, config)
            assert str(raised.value) == (
                f"PostgreSQL at {config.address}: its table Roadmap_test holds 6 vectors of another index: give "
                'another --store.collection, or, if nobody needs them, drop it: DROP TABLE "Roadmap_test"'
            )
            assert not (tmp_path / "two" / "index.sqlite").exists()
            check_consistent(index)

    def test_of_two_that_begin_at_once_the_first_writer_wins(self, config: StoreConfig, tmp_path: Path) -> None:
        with (
            Index.create(tmp_path / "one", HashingEncoder(), CHUNKING, config) as first,
            Index.create(tmp_path / "two", HashingEncoder(), CHUNKING, config) as second,
        ):
            with pytest.raises(UserError) as raised:
                add_documents(first, [document("owls.txt", sentences("owl"))])
            assert str(raised.value) == (
                f"PostgreSQL at {config.address}: its table Roadmap_test has been taken over by another index: give "
                "another --store.collection to one of them"
            )
            add_documents(second, [document("bears.txt", sentences("bear"))])
            check_consistent(second)

    def test_an_index_keeps_its_collection(self, config: StoreConfig, tmp_path: Path) -> None:
        Index.create(tmp_path, HashingEncoder(), CHUNKING, config).close()
        with pytest.raises(UserError) as raised:
            Index.open(tmp_path, HashingEncoder(), replace(config, collection="elsewhere"))
        assert str(raised.value) == (
            f"{tmp_path}: its vectors are in the collection Roadmap_test, not in elsewhere: leave --store.collection "
            "away, or ingest into an empty folder"
        )
        moved = replace(config, collection=StoreConfig().collection)
        with Index.open(tmp_path, HashingEncoder(), moved) as index:
            assert index.store_config.collection == "Roadmap_test"
