"""Index: what it holds, what it refuses, and readers beside a writer."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.index_lock import writer_lock
from rag_qa.document_processor.ingestion import add_documents, delete
from rag_qa.protocols import Condition
from rag_qa.types import Document, Heading, Page
from roadmap_shared.errors import UserError

from .tiny_index import CHUNKING, HashingEncoder, check_consistent, document, empty_index, found_sources, sentences


def message(function: object, *args: object) -> str:
    assert callable(function)
    with pytest.raises(UserError) as raised:
        function(*args)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of two documents."""
    folder = tmp_path / "index"
    with empty_index(folder) as index:
        add_documents(index, [document("owls.txt", sentences("owl")), document("bears.txt", sentences("bear"))])
    return folder


class TestContents:
    def test_a_document_comes_back_as_it_was(self, tmp_path: Path) -> None:
        text = "标题\n\nFirst page, naïve 🦉.\n\x00\fSecond page."
        original = Document(
            source="a/b c.pdf",
            title='Ein "Titel"',
            text=text,
            pages=(Page(number=1, start=0, end=26), Page(number=3, start=27, end=len(text))),
            content_hash="ab" * 32,
            headings=(Heading(level=1, title="标题", start=0, end=2),),
            metadata={"author": "O'Brien", "language": "de"},
            notes=("page 2 has no text",),
        )
        with empty_index(tmp_path) as index:
            add_documents(index, [original], groups=("staff", "board"))
        with Index.open(tmp_path) as index:
            assert index.document("a/b c.pdf") == original
            (info,) = index.documents()
            assert (info.pages, info.characters, info.groups) == (2, len(text), ("board", "staff"))
            assert (info.notes, info.metadata, info.file) == (original.notes, original.metadata, None)
            assert info.chunks == len(index.all_chunks()) > 0
            assert all(text[one.start : one.end] == one.text for one in index.all_chunks())

    def test_chunks_come_in_the_order_of_the_ids_and_missing_ones_are_left_out(self, folder: Path) -> None:
        with Index.open(folder) as index:
            all_chunks = index.all_chunks()
            assert [chunk.id for chunk in all_chunks] == sorted(chunk.id for chunk in all_chunks)
            first, last = all_chunks[0], all_chunks[-1]
            assert index.chunks([last.id, 9999, first.id, last.id]) == [last, first, last]
            assert index.chunks(index.store.ids()) == all_chunks

    def test_more_chunks_than_the_database_takes_parameters(self, tmp_path: Path) -> None:
        with empty_index(None) as index:
            add_documents(index, [document("long.txt", sentences("whale", 1200))])
            assert len(index.chunks(index.store.ids())) == len(index.all_chunks()) > 1000

    def test_metadata_of_a_document_cannot_stand_in_for_its_groups(self, tmp_path: Path) -> None:
        forged = document("forged.txt", sentences("fox"))
        forged = Document(**{**vars(forged), "metadata": {"groups": "public", "source": "else", "language": "en"}})
        with empty_index(None) as index:
            add_documents(index, [forged], groups=("board",))
            query = index.encoder.encode(["fox"])
            for field, value, seen in (
                ("groups", "public", False),
                ("groups", "board", True),
                ("source", "else", False),
                ("language", "en", True),
            ):
                assert bool(index.store.search(query, 1, (Condition(field=field, any_of=(value,)),))[0]) is seen

    def test_ids_are_never_used_twice(self, folder: Path) -> None:
        with Index.open(folder, HashingEncoder()) as index:
            last = index.all_chunks()[-1].id
            delete(index, ["bears.txt", "owls.txt"])
            add_documents(index, [document("new.txt", sentences("newt"))])
            assert index.all_chunks()[0].id == last + 1

    def test_in_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with empty_index(None) as index:
            add_documents(index, [document("owls.txt", sentences("owl"))])
            check_consistent(index)
            assert found_sources(index, "owl") == ["owls.txt"] * 3
        assert list(tmp_path.iterdir()) == []

    def test_files_are_those_of_one_generation(self, folder: Path) -> None:
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["index.sqlite", "lock", "sparse-000001", "vectors-000001.npz"]


class TestRefused:
    def test_no_index(self, tmp_path: Path) -> None:
        assert message(Index.open, tmp_path) == (
            f"{tmp_path}: holds no index: make one with `rag-qa ingest DOCUMENTS --index {tmp_path}`"
        )

    def test_an_index_is_not_made_over_another(self, folder: Path) -> None:
        assert message(empty_index, folder) == (
            f"{folder}: holds an index already: ingest into it, or give another folder"
        )

    def test_another_encoder_is_named(self, folder: Path) -> None:
        assert message(Index.open, folder, HashingEncoder("bge-small")) == (
            f"{folder}: its vectors were made by the encoder hashing and cannot be compared with those of bge-small: "
            "open it with --encoder.model hashing, or ingest again into an empty folder"
        )

    def test_the_same_encoder_with_other_weights_is_told_apart(self, folder: Path) -> None:
        encoder = HashingEncoder()
        encoder.fingerprint = "0123456789abcdef"
        assert message(Index.open, folder, encoder) == (
            f"{folder}: its vectors were made by the encoder hashing (hashing-32) and cannot be compared with those of "
            "hashing (0123456789ab): open it with the same weights and the same --encoder.backend, or ingest again "
            "into an empty folder"
        )

    def test_a_newer_schema(self, folder: Path) -> None:
        with Index.open(folder) as index:
            index.database.set_meta("schema", "7")
        assert message(Index.open, folder) == (
            f"{folder}: written by a newer version of rag-qa (schema 7, this one reads up to 1): update rag-qa, "
            "or ingest again into an empty folder"
        )

    def test_another_store(self, folder: Path) -> None:
        given = StoreConfig(backend="pgvector", url="postgresql://localhost/x")
        assert message(Index.open, folder, None, given) == (
            f"{folder}: its vectors are kept by faiss, not by pgvector: leave --store.backend away, or ingest "
            "into an empty folder"
        )

    def test_a_damaged_database(self, folder: Path) -> None:
        path = folder / "index.sqlite"
        path.write_bytes(b"not a database at all, but long enough to be looked at" * 100)
        assert message(Index.open, folder) == (
            f"{path}: damaged (file is not a database): restore it from a backup, or ingest again into an empty folder"
        )
        path.write_bytes(b"")
        assert message(Index.open, folder) == (
            f"{path}: damaged (no such table: meta): restore it from a backup, or ingest again into an empty folder"
        )

    def test_missing_vectors(self, folder: Path) -> None:
        (folder / "vectors-000001.npz").unlink()
        assert message(Index.open, folder).startswith(f"{folder / 'vectors-000001.npz'}: missing: restore it")

    @pytest.mark.parametrize("harm", ["gone", "cut"])
    def test_missing_words_are_those_of_the_database(self, folder: Path, harm: str) -> None:
        words = folder / "sparse-000001"
        if harm == "gone":
            shutil.rmtree(words)
        else:
            (words / "sparse.npz").write_bytes((words / "sparse.npz").read_bytes()[:200])
        with Index.open(folder, HashingEncoder()) as index:
            check_consistent(index)
            assert words.exists() == (harm == "cut")  # a reader writes nothing
            add_documents(index, [])
            assert words.exists()
            add_documents(index, [document("foxes.txt", sentences("fox"))])
        with Index.open(folder, HashingEncoder()) as index:
            check_consistent(index)

    def test_an_unknown_document_with_the_nearest_name(self, folder: Path) -> None:
        with Index.open(folder) as index:
            assert message(index.document, "owl.txt") == "owl.txt: not in the index. Did you mean 'owls.txt'?"
            assert message(index.document, "zzz") == "zzz: not in the index. `rag-qa documents` lists what is."

    def test_without_an_encoder_it_can_be_listed_and_deleted_from(self, folder: Path) -> None:
        with Index.open(folder) as index:
            assert [info.source for info in index.documents()] == ["bears.txt", "owls.txt"]
            assert delete(index, ["owls.txt"]).clean
            assert message(lambda: index.encoder) == (
                f"{folder}: opened without an encoder: it takes hashing to search or add"
            )

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        path = tmp_path / "file/index"
        assert message(empty_index, path) == f"{path}: cannot be made (Not a directory)"


class TestTwoProcesses:
    def test_a_second_writer_is_told_of_the_first(self, folder: Path) -> None:
        program = f"""
import sys; sys.argv = ["/usr/bin/rag-qa", "ingest", "docs", "--reading.password", "secret"]
from pathlib import Path
from rag_qa.document_processor.index_lock import writer_lock
with writer_lock(Path({str(folder)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
        holder = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        with holder:
            assert holder.stdout.readline() == "held\n"
            with Index.open(folder, HashingEncoder()) as index:
                text = message(add_documents, index, [document("x.txt", "x")])
                assert text.startswith(f"{folder}: is being written by process {holder.pid} (rag-qa ingest, since ")
                assert text.endswith("): wait for it to end, then repeat")
                assert found_sources(index, "owl") == ["owls.txt"] * 3
            holder.stdin.close()
            holder.wait()
        with writer_lock(folder):
            pass

    def test_a_reader_keeps_its_generation_until_it_refreshes(self, folder: Path) -> None:
        with Index.open(folder, HashingEncoder()) as reader, Index.open(folder, HashingEncoder()) as writer:
            delete(writer, ["owls.txt"])
            add_documents(writer, [document("foxes.txt", sentences("fox"))])
            assert found_sources(reader, "bear") == ["bears.txt"] * 3
            # Its vectors still know the owls, but nothing shows a deleted text.
            assert "owls.txt" not in found_sources(reader, "owl")
            assert reader.refresh() is True
            assert reader.refresh() is False
            check_consistent(reader)
            assert found_sources(reader, "fox") == ["foxes.txt"] * 3

    def test_a_writer_starts_from_what_another_wrote(self, folder: Path) -> None:
        with Index.open(folder, HashingEncoder()) as first, Index.open(folder, HashingEncoder()) as second:
            add_documents(first, [document("foxes.txt", sentences("fox"))])
            add_documents(second, [document("newts.txt", sentences("newt"))])
            assert first.refresh()
            check_consistent(first)
            assert [info.source for info in first.documents()] == ["bears.txt", "foxes.txt", "newts.txt", "owls.txt"]

    def test_a_reader_that_opens_while_the_files_are_replaced(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the look at the database and the look at the files, a writer commits and cleans up."""
        real, calls = Index._read_sparse, 0

        def late(self: Index, generation: int) -> object:
            nonlocal calls
            calls += 1
            if calls == 1:
                monkeypatch.setattr(Index, "_read_sparse", real)
                with Index.open(folder, HashingEncoder()) as writer:
                    add_documents(writer, [document("foxes.txt", sentences("fox"))])
            return real(self, generation)

        monkeypatch.setattr(Index, "_read_sparse", late)
        with Index.open(folder, HashingEncoder()) as reader:
            assert reader.generation == 2
            check_consistent(reader)


def test_the_database_overwrites_and_keeps_no_log(folder: Path) -> None:
    with Index.open(folder) as index:
        connection = index.database._connection
        assert connection.execute("PRAGMA secure_delete").fetchone()[0] == 1
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    plain = sqlite3.connect(folder / "index.sqlite")
    assert plain.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    plain.close()


def test_chunking_is_the_one_it_was_made_with(folder: Path) -> None:
    with Index.open(folder) as index:
        assert index.chunking == CHUNKING
