"""PostgreSQL servers that are away, refuse, are lost, or hold something else."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

pytest.importorskip("psycopg", reason="the extra pgvector is not installed")

import psycopg
from psycopg.conninfo import conninfo_to_dict

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor import server_attempts
from rag_qa.document_processor.pgvector_store import PgVectorStore
from rag_qa.document_processor.store_owner import StoreOwner
from rag_qa.document_processor.vector_store import build_store
from roadmap_shared.errors import UserError

from . import pg_server
from .store_suite import DIMENSION, about, id_array, unit_vectors

server, kind, config = pg_server.server, pg_server.kind, pg_server.config


def refusal(make: type[PgVectorStore], config: StoreConfig, dimension: int = DIMENSION) -> str:
    with pytest.raises(UserError) as raised:
        make(config, dimension)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_another_dimension_is_refused(config: StoreConfig, kind: type[PgVectorStore]) -> None:
    if kind is pg_server.StandInStore:
        pytest.skip("the PostgreSQL server lacks the extension vector")
    kind(config, DIMENSION).close()
    assert refusal(kind, config, 8) == (
        f"PostgreSQL at {config.address}: its table Roadmap_test holds vectors of 16 dimensions, but the encoder makes "
        "8: give another --store.collection"
    )


def test_a_table_made_by_another_encoder_is_refused_by_name(config: StoreConfig, kind: type[PgVectorStore]) -> None:
    store = kind(config, DIMENSION, StoreOwner(index="theirs", encoder="bge", fingerprint="g"))
    store.add(id_array(1), unit_vectors(1), [about()])
    store.close()
    with pytest.raises(UserError, match=r"holds 1 vectors of another index, made by another encoder \(bge\): give "):
        kind(config, DIMENSION, StoreOwner(index="mine", encoder="minilm", fingerprint="f"))


def test_a_table_of_something_else(config: StoreConfig, kind: type[PgVectorStore], server: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute('CREATE TABLE "Roadmap_test" (id integer, name text)')
    assert refusal(kind, config) == (
        f"PostgreSQL at {config.address}: its table Roadmap_test is a table of something else: give another "
        "--store.collection"
    )


def test_a_server_without_the_extension(config: StoreConfig, kind: type[PgVectorStore]) -> None:
    if kind is PgVectorStore:
        pytest.skip("this PostgreSQL server has the extension vector")
    message = refusal(PgVectorStore, config)
    assert message.startswith(f"PostgreSQL at {config.address}: lacks the extension vector (")
    assert message.endswith("): install pgvector on the server, as with the image pgvector/pgvector")


def test_a_lost_connection_is_made_again(config: StoreConfig, kind: type[PgVectorStore], server: str) -> None:
    store = kind(config, DIMENSION)
    store.add(id_array(1), unit_vectors(1), [about()])
    for ask in (store.ids, lambda: store.search(unit_vectors(1), 1), lambda: store.remove(id_array(1))):
        with psycopg.connect(server, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (store._connection.raw.info.backend_pid,))
        ask()
    assert store.ids().tolist() == []
    store.close()


class TestRights:
    @pytest.fixture
    def reader(self, config: StoreConfig, kind: type[PgVectorStore], server: str) -> Iterator[StoreConfig]:
        """Somebody who may search the table, and nothing else."""
        store = kind(config, DIMENSION)
        store.add(id_array(1), unit_vectors(1), [about()])
        store.close()
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("DROP ROLE IF EXISTS roadmap_reader; CREATE ROLE roadmap_reader LOGIN PASSWORD 'r'")
            connection.execute('GRANT SELECT ON "Roadmap_test" TO roadmap_reader')
            yield replace(config, url=url_for(server, "roadmap_reader", "r"))
            connection.execute("DROP OWNED BY roadmap_reader; DROP ROLE roadmap_reader")

    def test_searching_takes_the_right_to_read_only(self, reader: StoreConfig, kind: type[PgVectorStore]) -> None:
        store = kind(reader, DIMENSION)
        assert store.search(unit_vectors(1), 1)[0][0][0] == 1
        with pytest.raises(UserError, match=r": failed \(permission denied for table Roadmap_test\): grant the user"):
            store.remove(id_array(1))
        assert "until its administrator runs: VACUUM FULL" in store.erase()
        assert store.ids().tolist() == [1]
        store.close()


def url_for(server: str, user: str, password: str) -> str:
    """The same server for somebody else."""
    given = conninfo_to_dict(server)
    wanted = {key: value for key, value in given.items() if key in ("host", "port", "sslmode")}
    query = "&".join(f"{key}={value}" for key, value in {**wanted, "user": user, "password": password}.items())
    return f"postgresql:///{given['dbname']}?{query}"


class TestTimeLimits:
    def test_a_search_that_waits_too_long(self, config: StoreConfig, kind: type[PgVectorStore], server: str) -> None:
        store = kind(replace(config, timeout=0.2), DIMENSION)
        with psycopg.connect(server) as other:
            other.execute('LOCK TABLE "Roadmap_test" IN ACCESS EXCLUSIVE MODE')
            with pytest.raises(UserError) as raised:
                store.search(unit_vectors(1), 1)
        assert str(raised.value) == (
            f"PostgreSQL at {config.address}: failed (canceling statement due to statement timeout): it was ended, or "
            "took longer than 0.2 s: raise --store.timeout, or repeat"
        )
        assert store.search(unit_vectors(1), 1) == [[]]
        store.close()

    def test_a_server_that_falls_silent_is_hung_up_on(
        self, config: StoreConfig, kind: type[PgVectorStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The client's limit comes before the server's here, as if the server were paused."""
        store = kind(replace(config, timeout=0.5), DIMENSION)
        monkeypatch.setattr("rag_qa.document_processor.pgvector_connection._GRACE", -0.4)
        rows = store._rows

        def sleeping(*args: object, **parts: object) -> object:
            return rows("SELECT pg_sleep(60)")

        first = store._connection.raw
        monkeypatch.setattr(store, "_rows", sleeping)
        with pytest.raises(UserError, match=r": failed \(.*\): it was ended, or took longer than 0\.5 s: raise "):
            store.ids()
        monkeypatch.undo()
        assert store._connection.raw is not first
        assert store.ids().tolist() == []
        store.close()


@contextmanager
def answering(listener: socket.socket, reply: bytes) -> Iterator[None]:
    """Every connection gets this reply to whatever it says first."""

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(10_000)
                    connection.sendall(reply)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


class TestConnecting:
    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        made: list[float] = []
        monkeypatch.setattr(server_attempts.time, "sleep", made.append)
        return made

    def test_an_unreachable_server_is_one_line_without_the_password(self, pauses: list[float]) -> None:
        config = StoreConfig(backend="pgvector", url="postgresql://me:s3cret@127.0.0.1:9/x", retries=1)
        message = refusal(PgVectorStore, config)
        assert message.startswith("PostgreSQL at postgresql://me@127.0.0.1:9/x: cannot be reached (")
        assert message.endswith("; tried 2 times): start it, or give another --store.url")
        assert "s3cret" not in message
        assert pauses == [0.5]

    def test_a_database_that_is_not_there_is_told_at_once(self, server: str, pauses: list[float]) -> None:
        given = conninfo_to_dict(server)
        url = url_for(server, str(given.get("user")), str(given.get("password", "x"))).replace(
            f"/{given['dbname']}?", "/no_such_database?"
        )
        message = refusal(PgVectorStore, StoreConfig(backend="pgvector", url=url))
        assert ": refused the connection (" in message
        assert 'FATAL:  database "no_such_database" does not exist' in message
        assert message.endswith(
            "): check database, user and password (in the url, PGPASSWORD or ~/.pgpass), or give another --store.url"
        )
        assert pauses == []

    @pytest.mark.parametrize("answer", [b"password authentication failed", b"the database system is starting up"])
    def test_only_what_may_pass_is_tried_again(self, answer: bytes, pauses: list[float]) -> None:
        """A wrong password may lock an account when it is tried again; a server that starts is waited for."""
        fields = b"SFATAL\0VFATAL\0C28P01\0M" + answer + b"\0\0"
        reply = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
        with socket.create_server(("127.0.0.1", 0)) as listener, answering(listener, reply):
            port = listener.getsockname()[1]
            url = f"postgresql://me:s3cret@127.0.0.1:{port}/x?sslmode=disable&gssencmode=disable"
            message = refusal(PgVectorStore, StoreConfig(backend="pgvector", url=url, retries=2))
        starting = b"starting" in answer
        assert (": cannot be reached (" in message) == starting
        assert (": refused the connection (" in message) != starting
        assert pauses == ([0.5, 1.0] if starting else [])

    def test_a_url_that_libpq_does_not_read_keeps_its_password_to_itself(self) -> None:
        message = refusal(PgVectorStore, StoreConfig(backend="pgvector", url="postgresql://me:50%off@host/db"))
        assert message == (
            "PostgreSQL at postgresql://me@host/db: --store.url is not as PostgreSQL's libpq reads it: check its "
            "parameters, and write special characters of user and password as %2F and the like"
        )

    def test_the_factory_builds_it(self) -> None:
        config = StoreConfig(backend="pgvector", url="postgresql://me@127.0.0.1:9/x", retries=0)
        with pytest.raises(UserError, match=r"^PostgreSQL at postgresql://me@127\.0\.0\.1:9/x: cannot be reached "):
            build_store(config, None, DIMENSION)
