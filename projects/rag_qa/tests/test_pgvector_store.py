"""The pgvector store on a real PostgreSQL.

The server is the one of the environment variable ROADMAP_PG (a URL of a database that the tests may fill), or a cluster
started for the tests where PostgreSQL's programs are found. Where it lacks the extension, plain arrays and a function
written in SQL stand in for the vector type: everything but the extension itself and its HNSW index is then tested.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import pytest

pytest.importorskip("psycopg", reason="the extra pgvector is not installed")

import psycopg

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor import server_attempts
from rag_qa.document_processor.pgvector_store import PgVectorStore
from rag_qa.document_processor.vector_store import build_store
from rag_qa.protocols import FloatArray, VectorStore
from roadmap_shared.errors import UserError

from .store_suite import DIMENSION, VectorStoreSuite, about, id_array, unit_vectors

STAND_IN = """
CREATE OR REPLACE FUNCTION negative_inner_product(real[], real[]) RETURNS float8 LANGUAGE sql IMMUTABLE AS
    'SELECT -sum(a::float8 * b::float8) FROM unnest($1, $2) AS both_of(a, b)';
DO $$ BEGIN
    CREATE OPERATOR <#> (LEFTARG = real[], RIGHTARG = real[], FUNCTION = negative_inner_product);
EXCEPTION WHEN duplicate_function THEN NULL; END $$;
"""


class StandInStore(PgVectorStore):
    """The same store where the server has no extension."""

    column_type: LiteralString = "real[] CHECK (cardinality(embedding) = {dimension})"

    def install(self) -> None:
        self._connection.execute(STAND_IN)

    def declared_dimension(self) -> int:
        return self.dimension

    @staticmethod
    def literal(vector: FloatArray) -> str:
        return f"{{{','.join(map(repr, vector.tolist()))}}}"


def programs() -> Path | None:
    """Folder of initdb and postgres."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a database."""
    if url := os.environ.get("ROADMAP_PG"):
        yield url
        return
    folder = programs()
    if folder is None:
        pytest.skip("no PostgreSQL: neither ROADMAP_PG nor initdb")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="pg") as data:
        if user:
            try:
                shutil.chown(data, user)
            except LookupError:
                pytest.skip("no PostgreSQL: it does not run as root, and there is no user postgres")
        command = [folder / "initdb", "-D", f"{data}/db", "-U", "tester", "-A", "trust", "--no-sync"]
        subprocess.run(command, user=user, cwd=data, check=True, capture_output=True)
        options = f"-c listen_addresses= -c unix_socket_directories={data} -c fsync=off"
        control = [folder / "pg_ctl", "-D", f"{data}/db", "-w", "-l", f"{data}/log"]
        subprocess.run([*control, "-o", options, "start"], user=user, cwd=data, check=True, stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql://tester@/postgres?host={data}"
        finally:
            subprocess.run(
                [*control, "-m", "immediate", "stop"], user=user, cwd=data, check=True, stdout=subprocess.DEVNULL
            )


@pytest.fixture(scope="module")
def kind(server: str) -> type[PgVectorStore]:
    with psycopg.connect(server) as connection:
        known = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchall()
    return PgVectorStore if known else StandInStore


@pytest.fixture
def config(server: str) -> Iterator[StoreConfig]:
    yield StoreConfig(backend="pgvector", url=server, collection="Roadmap_test")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute('DROP TABLE IF EXISTS "Roadmap_test"')


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


def test_an_unsaved_table_is_scanned_and_a_large_one_gets_an_index(
    config: StoreConfig, kind: type[PgVectorStore]
) -> None:
    if kind is StandInStore:
        pytest.skip("the PostgreSQL server lacks the extension vector")
    large = StoreConfig(backend="pgvector", url=config.url, collection=config.collection, exact_up_to=10)
    store = kind(large, DIMENSION)
    store.add(id_array(*range(200)), unit_vectors(200), [about(page=row % 50) for row in range(200)])
    store.save()
    indexes = store._rows("SELECT indexname FROM pg_indexes WHERE tablename = 'Roadmap_test' ORDER BY 1")
    assert ("Roadmap_test_embedding",) in indexes
    assert store.search(unit_vectors(1), 1)[0][0][0] == 0
    store.close()


def test_another_dimension_is_refused(config: StoreConfig, kind: type[PgVectorStore]) -> None:
    if kind is StandInStore:
        pytest.skip("the PostgreSQL server lacks the extension vector")
    kind(config, DIMENSION).close()
    with pytest.raises(
        UserError, match=r"its table Roadmap_test holds vectors of 16 dimensions, but the encoder makes 8"
    ):
        kind(config, 8)


def test_a_server_without_the_extension(config: StoreConfig, kind: type[PgVectorStore]) -> None:
    if kind is PgVectorStore:
        pytest.skip("this PostgreSQL server has the extension vector")
    with pytest.raises(UserError) as raised:
        build_store(config, None, DIMENSION)
    message = str(raised.value)
    assert message.startswith(f"PostgreSQL at {config.address}: lacks the extension vector (")
    assert message.endswith("): install pgvector on the server, as with the image pgvector/pgvector")


def test_a_lost_connection_is_made_again(config: StoreConfig, kind: type[PgVectorStore], server: str) -> None:
    store = kind(config, DIMENSION)
    store.add(id_array(1), unit_vectors(1), [about()])
    with psycopg.connect(server, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (store._connection.info.backend_pid,))
    assert store.ids().tolist() == [1]
    store.close()


def test_an_unreachable_server_is_one_line_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(server_attempts.time, "sleep", pauses.append)
    config = StoreConfig(backend="pgvector", url="postgresql://me:s3cret@127.0.0.1:9/x", retries=1)
    with pytest.raises(UserError) as raised:
        build_store(config, None, DIMENSION)
    message = str(raised.value)
    assert message.startswith("PostgreSQL at postgresql://me@127.0.0.1:9/x: cannot be reached (")
    assert message.endswith(
        "; tried 2 times): start it, check user and password (PGPASSWORD or ~/.pgpass), or give another --store.url"
    )
    assert "s3cret" not in message
    assert "\n" not in message
    assert pauses == [0.5]
