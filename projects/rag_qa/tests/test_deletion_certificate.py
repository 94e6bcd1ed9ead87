"""Deletion: gone from answers and from files, and the certificate that says so."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.document_processor import index_files
from rag_qa.document_processor.byte_scan import Patterns
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import add_documents, delete
from rag_qa.retrieval.embedding_cache import CachedEncoder, VectorFile
from roadmap_shared.errors import UserError

from .tiny_index import CHUNKING, HashingEncoder, check_consistent, document, empty_index, found_sources, sentences


@pytest.fixture
def index(tmp_path: Path) -> Index:
    index = empty_index(tmp_path / "index")
    topics = ("owl", "bear", "fox")
    add_documents(index, [document(f"{topic}s.txt", sentences(topic, 60)) for topic in topics])
    return index


class TestDelete:
    def test_nothing_of_it_is_left(self, index: Index, tmp_path: Path) -> None:
        ids = index.database.chunk_ids("owls.txt")
        raw = index.document("owls.txt").text.encode()
        certificate = delete(index, ["owls.txt"])
        assert certificate.clean
        assert (certificate.hits, certificate.ids_left, certificate.chunks) == (0, 0, len(ids))
        assert certificate.text_patterns > 100
        assert certificate.vector_patterns > 100
        assert found_sources(index, "owl number", 500).count("owls.txt") == 0
        check_consistent(index)
        # Independently of the scanner: no line of the text is in any file.
        for path in (tmp_path / "index").rglob("*"):
            data = path.read_bytes() if path.is_file() else b""
            assert not any(line in data for line in raw.split(b"\n\n"))
        names = {Path(file.path).name for file in certificate.files}
        assert names == {"index.sqlite", "lock", "sparse.npz", "vectors-000002.npz"}
        assert certificate.bytes == sum(
            path.stat().st_size for path in (tmp_path / "index").rglob("*") if path.is_file()
        )

    def test_an_unknown_document_removes_none(self, index: Index) -> None:
        with pytest.raises(UserError) as raised:
            delete(index, ["owls.txt", "bear.txt"])
        assert str(raised.value) == "bear.txt: not in the index. Did you mean 'bears.txt'?"
        assert len(index.documents()) == 3

    def test_all_documents_can_go(self, index: Index) -> None:
        assert delete(index, ["owls.txt", "bears.txt", "foxs.txt", "owls.txt"]).clean
        assert index.documents() == []
        check_consistent(index)

    def test_in_memory(self) -> None:
        index = empty_index(None)
        add_documents(index, [document("owls.txt", sentences("owl"))])
        certificate = delete(index, ["owls.txt"])
        assert certificate.clean
        assert certificate.files == ()
        assert certificate.remarks[0] == "the index is in memory: it has no files"

    def test_text_that_another_document_has_too_is_not_a_trace(self, index: Index) -> None:
        shared = "This very long notice about copyright stands at the end of each and every document of ours. " * 3
        add_documents(
            index, [document("a.txt", sentences("newt") + shared), document("b.txt", sentences("eft") + shared)]
        )
        assert delete(index, ["a.txt"]).clean

    def test_the_certificate_is_saved_without_the_text(self, index: Index, tmp_path: Path) -> None:
        text = index.document("owls.txt").text
        certificate = delete(index, ["owls.txt"])
        path = tmp_path / "certificate.json"
        certificate.save(path)
        saved = json.loads(path.read_text())
        assert saved["clean"] is True
        assert saved["sources"] == ["owls.txt"]
        assert all(len(file["sha256"]) == 64 for file in saved["files"])
        assert not any(line in path.read_text() for line in text.split("\n\n"))
        assert re.fullmatch(
            r"searched: 4 files, [\d,]+ bytes, for [\d,]+ pieces of text and [\d,]+ of vectors: nothing of them was "
            r"found",
            certificate.lines()[1],
        )


class TestPlantedLeaks:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "json"])
    def test_a_piece_of_the_text(self, index: Index, tmp_path: Path, encoding: str) -> None:
        add_documents(index, [document("zh.txt", "猫头鹰在冬天的夜里飞过古老的石桥,没有人看见它落在哪里。" * 4)])
        piece = index.document("zh.txt").text[15:80]
        data = json.dumps(piece).encode() if encoding == "json" else piece.encode(encoding)
        leak = tmp_path / "index" / "old.bak"
        leak.write_bytes(b"\x00" * 4321 + data + b"\xff" * 99)
        certificate = delete(index, ["zh.txt"])
        assert not certificate.clean
        (file,) = [file for file in certificate.files if file.text_hits]
        assert file.path == str(leak)
        assert file.first_hit is not None
        assert 4321 <= file.first_hit < 4321 + len(data)
        assert any(line.startswith(f"  LEFT: {leak}: ") for line in certificate.lines())

    @pytest.mark.parametrize("dtype", ["<f4", "<f2"])
    def test_a_part_of_a_vector(self, index: Index, tmp_path: Path, dtype: str) -> None:
        vector = HashingEncoder().encode([index.all_chunks()[3].text])[0]
        leak = tmp_path / "cache.bin"
        leak.write_bytes(b"\x01" * 13 + vector.astype(dtype).tobytes())
        certificate = delete(index, [index.all_chunks()[3].source], other_files=[leak])
        (file,) = [file for file in certificate.files if file.vector_hits]
        assert (file.path, file.text_hits) == (str(leak), 0)
        assert f"{certificate.hits} traces and 0 ids are left" in certificate.lines()[1]

    def test_files_of_an_older_generation(self, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rag_qa.document_processor.index_writer.remove_other_generations", lambda *_: None)
        certificate = delete(index, ["owls.txt"])
        assert {Path(file.path).name for file in certificate.files if file.vector_hits} == {"vectors-000001.npz"}

    def test_traces_in_the_database_are_erased_by_writing_it_afresh(self, index: Index) -> None:
        """As left by a database that did not overwrite."""
        index.database._connection.execute("PRAGMA secure_delete = OFF")
        certificate = delete(index, ["owls.txt"])
        assert certificate.clean
        check_consistent(index)

    def test_without_that_they_would_be_found(self, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        index.database._connection.execute("PRAGMA secure_delete = OFF")
        monkeypatch.setattr(index.database, "vacuum", lambda: None)
        certificate = delete(index, ["owls.txt"])
        (file,) = [file for file in certificate.files if file.text_hits]
        assert Path(file.path) == index_files.database_path(Path(file.path).parent)


class TestEmbeddingCache:
    def test_the_cache_forgets_and_is_searched(self, tmp_path: Path) -> None:
        path = tmp_path / "cache.sqlite"
        cached = CachedEncoder(HashingEncoder(), path)
        index = Index.create(None, cached, CHUNKING)
        add_documents(index, [document("owls.txt", sentences("owl")), document("bears.txt", sentences("bear"))])
        vector = cached.encode([index.all_chunks()[-1].text])
        assert vector.tobytes() in path.read_bytes()
        certificate = delete(index, ["bears.txt"])
        cached.close()
        assert certificate.clean
        assert [file.path for file in certificate.files] == [str(path)]
        assert vector.tobytes() not in path.read_bytes()

    def test_a_cache_that_does_not_forget_is_found_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(VectorFile, "purge", lambda self, texts: 0)
        cached = CachedEncoder(HashingEncoder(), tmp_path / "cache.sqlite")
        index = Index.create(None, cached, CHUNKING)
        add_documents(index, [document("owls.txt", sentences("owl"))])
        certificate = delete(index, ["owls.txt"])
        cached.close()
        assert not certificate.clean


class TestPatterns:
    @given(
        data=st.binary(max_size=200),
        pieces=st.lists(st.tuples(st.integers(0, 200), st.integers(8, 30)), max_size=5),
        absent=st.lists(st.binary(min_size=8, max_size=12), max_size=3),
    )
    def test_equals_a_plain_search(self, data: bytes, pieces: list[tuple[int, int]], absent: list[bytes]) -> None:
        wanted = {data[start : start + length] for start, length in pieces} | set(absent)
        wanted = {one for one in wanted if len(one) >= 8}
        expected = {
            (offset, one) for one in wanted for offset in range(len(data)) if data[offset : offset + len(one)] == one
        }
        found = list(Patterns(wanted).find(data))
        assert len(found) == len(set(found))
        assert set(found) == expected

    def test_blocks_of_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rag_qa.document_processor.byte_scan._BLOCK", 64)
        data = np.random.default_rng(0).integers(256, size=1000, dtype=np.uint8).tobytes()
        (tmp_path / "file").write_bytes(data)
        wanted = {data[start : start + length] for start in range(0, 960, 7) for length in (8, 40)}
        found = list(Patterns(wanted).find_in_file(tmp_path / "file"))
        assert len(found) == len(set(found))
        assert set(found) == {(data.index(one), one) for one in wanted}

    def test_short_patterns_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"^a pattern has 3 bytes, expected at least 8$"):
            Patterns([b"abc"])
