"""The Qdrant store: the common suite on the embedded one, and its folder."""

import gc
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("qdrant_client", reason="the extra qdrant is not installed")

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor import server_attempts
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import add_documents, delete
from rag_qa.document_processor.qdrant_store import QdrantStore
from rag_qa.document_processor.vector_store import build_store
from rag_qa.protocols import Condition, VectorStore
from roadmap_shared.errors import UserError

from .store_suite import DIMENSION, VectorStoreSuite, about, id_array, unit_vectors
from .tiny_index import CHUNKING, HashingEncoder, check_consistent, document, found_sources, sentences

EMBEDDED = StoreConfig(backend="qdrant")


class TestInMemory(VectorStoreSuite):
    keeps_unsaved = True

    @pytest.fixture
    def store(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[VectorStore]:
        self.folder = tmp_path
        lasting = "later" in request.node.name or "sav" in request.node.name
        store = build_store(EMBEDDED, tmp_path if lasting else None, DIMENSION)
        yield store
        store.close()

    def reopened(self, store: VectorStore) -> VectorStore:
        store.close()  # one process, one client
        return build_store(EMBEDDED, self.folder, DIMENSION)


def test_a_field_with_a_dot_is_no_path() -> None:
    store = build_store(EMBEDDED, None, DIMENSION)
    store.add(id_array(1, 2), unit_vectors(2), [{"a.b": "x"}, {"a.b": "y"}])
    assert [id for id, _ in store.search(unit_vectors(1), 5, (Condition(field="a.b", any_of=("y",)),))[0]] == [2]


def test_an_index_over_it(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    with Index.create(tmp_path, encoder, CHUNKING, EMBEDDED) as index:
        add_documents(index, [document("owls.txt", sentences("owl")), document("bears.txt", sentences("bear"))])
        add_documents(index, [document("owls.txt", sentences("eagle"))])
    with Index.open(tmp_path, encoder) as index:
        check_consistent(index)
        assert found_sources(index, "eagle") == ["owls.txt"] * 3


def test_vectors_are_erased_from_the_embedded_database(tmp_path: Path) -> None:
    with Index.create(tmp_path, HashingEncoder(), CHUNKING, EMBEDDED) as index:
        add_documents(index, [document("owls.txt", sentences("owl")), document("bears.txt", sentences("bear"))])
        certificate = delete(index, ["owls.txt"])
        assert certificate.clean
        assert any(file.path.endswith("storage.sqlite") for file in certificate.files)
        check_consistent(index)


def test_without_that_they_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QdrantStore, "compact", lambda self: None)
    with Index.create(tmp_path, HashingEncoder(), CHUNKING, EMBEDDED) as index:
        add_documents(index, [document("owls.txt", sentences("owl")), document("bears.txt", sentences("bear"))])
        # Debian's SQLite overwrites what it deletes, others do not: what they leave is put there by hand.
        (path,) = tmp_path.rglob("storage.sqlite")
        with sqlite3.connect(path) as connection:
            blob = connection.execute("SELECT point FROM points LIMIT 1").fetchone()[0]
        connection.close()
        (tmp_path / "leak").write_bytes(blob)
        certificate = delete(index, ["owls.txt"])
        assert str(tmp_path / "leak") in {file.path for file in certificate.files if file.vector_hits}


def test_what_a_killed_writer_left_is_put_right(tmp_path: Path) -> None:
    with Index.create(tmp_path, HashingEncoder(), CHUNKING, EMBEDDED) as index:
        add_documents(index, [document("owls.txt", sentences("owl"))])
        index.store.add(id_array(900), unit_vectors(1, dimension=32), [about()])
        index.store.remove(index.store.ids()[:1])
        add_documents(index, [document("bears.txt", sentences("bear"))])
        check_consistent(index)


def test_another_dimension_is_refused(tmp_path: Path) -> None:
    build_store(EMBEDDED, tmp_path, DIMENSION).close()
    with pytest.raises(UserError) as raised:
        build_store(EMBEDDED, tmp_path, 384)
    assert str(raised.value) == (
        f"Qdrant in {tmp_path / 'qdrant'}: its collection rag_qa holds vectors of 16 dimensions, but the encoder makes "
        "384: give another --store.collection"
    )


# qdrant-client leaves the lock file open that it did not get.
@pytest.mark.filterwarnings("ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    store = build_store(EMBEDDED, tmp_path, DIMENSION)
    with pytest.raises(UserError) as raised:
        build_store(EMBEDDED, tmp_path, DIMENSION)
    store.close()
    message = str(raised.value)
    del raised
    gc.collect()
    assert message == (
        f"{tmp_path / 'qdrant'}: in use by another process, and embedded Qdrant serves one at a time: end the other, "
        "or run a server and give its --store.url"
    )


def test_an_unreachable_server_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(server_attempts.time, "sleep", pauses.append)
    config = StoreConfig(backend="qdrant", url="http://127.0.0.1:9", retries=3)
    with pytest.raises(UserError) as raised:
        build_store(config, None, DIMENSION)
    assert str(raised.value) == (
        "Qdrant at http://127.0.0.1:9: cannot be reached ([Errno 111] Connection refused; tried 4 times): start it, as "
        "with `docker run -p 6333:6333 qdrant/qdrant`, or give another --store.url"
    )
    assert pauses == [0.5, 1.0, 2.0]
