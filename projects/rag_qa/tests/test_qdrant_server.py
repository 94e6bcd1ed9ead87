"""The Qdrant store over HTTP: the common suite on a double of the server, and all that a server can refuse."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("qdrant_client", reason="the extra qdrant is not installed")

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor import server_attempts
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import add_documents, delete
from rag_qa.document_processor.store_owner import StoreOwner
from rag_qa.document_processor.vector_store import build_store
from rag_qa.protocols import VectorStore
from roadmap_shared.errors import UserError

from .qdrant_double import QdrantDouble, Refusal, serving
from .store_suite import DIMENSION, VectorStoreSuite, about, id_array, unit_vectors
from .tiny_index import CHUNKING, HashingEncoder, check_consistent, document, found_sources, sentences

MINE = StoreOwner(index="mine", encoder="minilm", fingerprint="f")
THEIRS = StoreOwner(index="theirs", encoder="bge", fingerprint="g")


@pytest.fixture
def server() -> Iterator[QdrantDouble]:
    with serving(QdrantDouble()) as double:
        yield double


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that are not made."""
    made: list[float] = []
    monkeypatch.setattr(server_attempts.time, "sleep", made.append)
    return made


def config(double: QdrantDouble, **settings: object) -> StoreConfig:
    return StoreConfig(backend="qdrant", url=double.url, **settings)  # pyright: ignore[reportArgumentType]


def refusal(settings: StoreConfig, owner: StoreOwner | None = None, dimension: int = DIMENSION) -> str:
    with pytest.raises(UserError) as raised:
        build_store(settings, None, dimension, owner=owner)
    return str(raised.value)


class TestSuite(VectorStoreSuite):
    keeps_unsaved = True

    @pytest.fixture
    def store(self, server: QdrantDouble) -> Iterator[VectorStore]:
        self.config = config(server)
        store = build_store(self.config, None, DIMENSION)
        yield store
        store.close()

    def reopened(self, store: VectorStore) -> VectorStore:
        return build_store(self.config, None, DIMENSION)


def test_fields_of_permissions_are_indexed_even_if_the_first_attempt_was_killed(server: QdrantDouble) -> None:
    build_store(config(server), None, DIMENSION).close()
    assert {name: kind.value for name, kind in server.indexed.items()} == {
        "groups": "keyword",
        "source": "keyword",
        "page": "integer",
    }
    del server.indexed["groups"]
    build_store(config(server), None, DIMENSION).close()
    assert "groups" in server.indexed


def test_an_index_over_it_and_a_second_one_in_the_same_collection(server: QdrantDouble, tmp_path: Path) -> None:
    encoder = HashingEncoder()
    with Index.create(tmp_path / "one", encoder, CHUNKING, config(server)) as index:
        add_documents(index, [document("owls.txt", sentences("owl")), document("bears.txt", sentences("bear"))])
        certificate = delete(index, ["bears.txt"])
        assert certificate.clean
        assert certificate.vector_patterns > 0
    with pytest.raises(UserError) as raised:
        Index.create(tmp_path / "two", encoder, CHUNKING, config(server))
    assert str(raised.value) == (
        f"Qdrant at {server.url}: its collection rag_qa holds 6 vectors of another index: give another "
        "--store.collection, or, if nobody needs them, delete it: curl -X DELETE "
        f"{server.url}/collections/rag_qa"
    )
    assert not (tmp_path / "two" / "index.sqlite").exists()
    with Index.open(tmp_path / "one", encoder) as index:
        check_consistent(index)
        assert found_sources(index, "owl") == ["owls.txt"] * 3


def test_a_collection_made_by_another_encoder_is_refused_by_name(server: QdrantDouble) -> None:
    store = build_store(config(server), None, DIMENSION, owner=THEIRS)
    store.add(id_array(1), unit_vectors(1), [about()])
    store.close()
    assert "holds 1 vectors of another index, made by another encoder (bge): give another" in refusal(
        config(server), MINE
    )


def test_an_empty_collection_is_taken_over(server: QdrantDouble) -> None:
    build_store(config(server), None, DIMENSION, owner=THEIRS).close()
    store = build_store(config(server), None, DIMENSION, owner=MINE)
    store.add(id_array(1), unit_vectors(1), [about()])
    store.close()
    build_store(config(server), None, DIMENSION, owner=MINE).close()
    assert "of another index" in refusal(config(server), THEIRS)


def test_a_collection_on_which_no_index_is_written(server: QdrantDouble) -> None:
    store = build_store(config(server), None, DIMENSION)
    store.add(id_array(1), unit_vectors(1), [about()])
    store.close()
    assert "holds 1 vectors that no index is written on: give another --store.collection" in refusal(
        config(server), MINE
    )


def test_a_server_too_old_to_tell_whose_a_collection_is() -> None:
    with serving(QdrantDouble(keeps_metadata=False)) as server:
        assert refusal(config(server), MINE) == (
            f"Qdrant at {server.url}: does not keep to which index a collection belongs, as servers before 1.16 do "
            "not: update it"
        )


def test_another_dimension_and_another_kind_of_collection(server: QdrantDouble) -> None:
    build_store(config(server), None, DIMENSION).close()
    assert refusal(config(server), None, 8) == (
        f"Qdrant at {server.url}: its collection rag_qa holds vectors of 16 dimensions, but the encoder makes 8: give "
        "another --store.collection"
    )
    server.engine.create_collection("named", vectors_config={})
    assert refusal(config(server, collection="named")) == (
        f"Qdrant at {server.url}: its collection named is a collection of something else: give another "
        "--store.collection"
    )


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(QdrantDouble(key="s3cret")) as server:
        monkeypatch.setenv("MY_KEY", "s3cret")
        build_store(config(server, api_key_env="MY_KEY"), None, DIMENSION).close()
        monkeypatch.setenv("MY_KEY", "wrong")
        before = len(server.asked)
        assert refusal(config(server, api_key_env="MY_KEY")) == (
            f"Qdrant at {server.url}: refused with status 401 (Must provide an API key or an Authorization bearer "
            "token): set its key in the environment variable MY_KEY"
        )
        assert len(server.asked) == before + 1  # not tried again


def test_a_server_that_is_just_starting_is_waited_for(server: QdrantDouble, pauses: list[float]) -> None:
    server.troubles = [Refusal(503, "starting"), Refusal(429, "too many", {"Retry-After": "7"})]
    build_store(config(server), None, DIMENSION).close()
    assert pauses == [0.5, 1.0]


def test_a_server_that_has_no_time(server: QdrantDouble, pauses: list[float]) -> None:
    server.troubles = [Refusal(429, "too many", {"Retry-After": "7"}) for _ in range(2)]
    assert refusal(config(server, retries=1)) == (
        f"Qdrant at {server.url}: cannot be reached (it asks to wait 7 s: too many; tried 2 times): start it, as with "
        "`docker run -p 6333:6333 qdrant/qdrant`, or give another --store.url"
    )


def test_two_that_begin_at_once(server: QdrantDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both see no collection; one of them makes it, and the other one's attempt is refused with status 409."""
    build_store(config(server), None, DIMENSION).close()
    seen: list[bool] = []

    def exists(name: str, body: bytes) -> object:
        seen.append(True)
        return {"exists": len(seen) > 1}

    monkeypatch.setattr(server, "exists", exists)
    build_store(config(server), None, DIMENSION).close()
    assert "PUT /collections/rag_qa" in server.asked


def test_a_server_that_never_answers(pauses: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        message = refusal(StoreConfig(backend="qdrant", url=url, timeout=1, retries=0))
    assert message == (
        f"Qdrant at {url}: cannot be reached (timed out; tried once): start it, as with `docker run -p 6333:6333 "
        "qdrant/qdrant`, or give another --store.url"
    )


def test_a_server_of_another_kind() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<html></html>\n"
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(page)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        message = refusal(StoreConfig(backend="qdrant", url=url))
        thread.join()
    assert message == f"Qdrant at {url}: does not answer as Qdrant does: give another --store.url"


def test_a_server_that_goes_away_in_the_middle(server: QdrantDouble, pauses: list[float]) -> None:
    store = build_store(config(server, retries=1), None, DIMENSION)
    server.troubles = [Refusal(503, "stopping"), Refusal(503, "stopping")]
    with pytest.raises(UserError, match=r": cannot be reached \(status 503; tried 2 times\): "):
        store.search(unit_vectors(1), 1)
    assert store.search(unit_vectors(1), 1) == [[]]
    store.close()
