"""Ingestion: what changes, what stays, and what is left when it is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rag_qa.document_processor.index_writer as index_writer
from rag_qa.document_processor import ingestion
from rag_qa.document_processor.files import find_files
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingest_report import Duplicate, IngestReport
from rag_qa.document_processor.ingestion import add_documents, ingest
from rag_qa.document_processor.vector_store import FaissStore
from roadmap_shared.errors import UserError

from .tiny_index import HashingEncoder, check_consistent, document, empty_index, found_sources, sentences


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    for name, topic in (("owls.txt", "owl"), ("sub/bears.md", "bear"), ("foxes.txt", "fox")):
        (folder / name).write_text(sentences(topic))
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return empty_index(tmp_path / "index")


def update(index: Index, docs: Path, dry_run: bool = False, groups: tuple[str, ...] = ("public",)) -> IngestReport:
    return ingest(index, find_files(docs), None, groups, dry_run, folder=docs)


def encoder_of(index: Index) -> HashingEncoder:
    assert isinstance(index.encoder, HashingEncoder)
    return index.encoder


class TestIncremental:
    def test_everything_is_added_at_first(self, index: Index, docs: Path) -> None:
        report = update(index, docs)
        assert report.added == ("foxes.txt", "owls.txt", "sub/bears.md")
        assert (report.changed, report.unchanged, report.removed, report.refused) == ((), (), (), ())
        assert report.chunks == report.embedded == len(index.all_chunks())
        check_consistent(index)
        assert found_sources(index, "bear") == ["sub/bears.md"] * 3

    def test_nothing_is_read_or_embedded_when_nothing_changed(
        self, index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        update(index, docs)
        generation, embedded = index.generation, len(encoder_of(index).encoded)
        monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file is read"))
        report = update(index, docs)
        assert report.unchanged == ("foxes.txt", "owls.txt", "sub/bears.md")
        assert (index.generation, len(encoder_of(index).encoded)) == (generation, embedded)

    def test_a_touched_file_is_unchanged_and_looked_at_once(
        self, index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        update(index, docs)
        os.utime(docs / "owls.txt", ns=(1, 1))
        assert update(index, docs).unchanged == ("foxes.txt", "owls.txt", "sub/bears.md")
        monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file is read"))
        assert update(index, docs).unchanged == ("foxes.txt", "owls.txt", "sub/bears.md")

    def test_added_changed_and_removed(self, index: Index, docs: Path) -> None:
        update(index, docs)
        (docs / "owls.txt").write_text(sentences("eagle"))
        (docs / "foxes.txt").unlink()
        (docs / "new.txt").write_text(sentences("newt"))
        report = update(index, docs)
        assert (report.added, report.changed, report.removed) == (("new.txt",), ("owls.txt",), ("foxes.txt",))
        assert report.unchanged == ("sub/bears.md",)
        check_consistent(index)
        assert [info.source for info in index.documents()] == ["new.txt", "owls.txt", "sub/bears.md"]

    def test_the_unchanged_part_of_a_changed_file_keeps_its_vectors(self, index: Index, docs: Path) -> None:
        update(index, docs)
        (docs / "owls.txt").write_text(sentences("owl") + "\n\n" + sentences("lynx", 1))
        encoder_of(index).encoded.clear()
        report = update(index, docs)
        assert report.chunks > report.embedded == len(encoder_of(index).encoded)
        assert all("lynx" in text for text in encoder_of(index).encoded)
        check_consistent(index)

    def test_a_renamed_file_is_not_embedded_again(self, index: Index, docs: Path) -> None:
        update(index, docs)
        (docs / "owls.txt").rename(docs / "strix.txt")
        report = update(index, docs)
        assert (report.added, report.removed, report.embedded) == (("strix.txt",), ("owls.txt",), 0)
        check_consistent(index)

    def test_single_files_remove_nothing(self, index: Index, docs: Path) -> None:
        update(index, docs)
        (docs / "foxes.txt").unlink()
        report = ingest(index, find_files(docs / "owls.txt"))
        assert (report.unchanged, report.removed) == (("owls.txt",), ())

    def test_other_folders_documents_stay(self, index: Index, docs: Path, tmp_path: Path) -> None:
        update(index, docs)
        other = tmp_path / "other"
        other.mkdir()
        (other / "newts.txt").write_text(sentences("newt"))
        assert update(index, other).removed == ()
        (other / "newts.txt").rename(other / "efts.txt")
        assert update(index, other).removed == ("newts.txt",)

    def test_a_name_that_another_folder_has_is_refused(self, index: Index, docs: Path, tmp_path: Path) -> None:
        update(index, docs)
        other = tmp_path / "other"
        other.mkdir()
        (other / "owls.txt").write_text(sentences("eagle"))
        (refused,) = update(index, other).refused
        assert refused.reason == (
            f"owls.txt: the index has a document of this name from {docs / 'owls.txt'}: rename one of the files, or "
            "ingest the folder above both"
        )
        assert "owl number" in index.document("owls.txt").text

    def test_a_folder_that_was_moved_is_recognised(self, index: Index, docs: Path, tmp_path: Path) -> None:
        update(index, docs)
        moved = docs.rename(tmp_path / "moved")
        assert len(update(index, moved).unchanged) == 3
        (moved / "owls.txt").unlink()
        assert update(index, moved).removed == ("owls.txt",)

    def test_a_folder_without_files_does_not_empty_the_index(self, index: Index, docs: Path, tmp_path: Path) -> None:
        update(index, docs)
        docs.rename(tmp_path / "elsewhere")
        docs.mkdir()
        with pytest.raises(UserError) as raised:
            update(index, docs)
        assert str(raised.value) == (
            f"{docs}: has no files, but 3 documents of the index came from there: is it mounted? To remove them, "
            "name them in `rag-qa delete`"
        )
        assert len(index.documents()) == 3

    def test_the_index_within_the_folder_is_not_read(self, docs: Path) -> None:
        with empty_index(docs / "rag-index") as index:
            update(index, docs)
            assert update(index, docs).unchanged == ("foxes.txt", "owls.txt", "sub/bears.md")
            assert update(index, docs).refused == ()


class TestDuplicates:
    def test_the_same_content_is_kept_once(self, index: Index, docs: Path) -> None:
        (docs / "zz copy.txt").write_bytes((docs / "owls.txt").read_bytes())
        report = update(index, docs)
        assert report.duplicates == (Duplicate(source="zz copy.txt", same_as="owls.txt"),)
        assert found_sources(index, "owl") == ["owls.txt"] * 3
        assert update(index, docs).duplicates == report.duplicates

    def test_the_copy_takes_over_when_the_first_is_gone(self, index: Index, docs: Path) -> None:
        (docs / "zz copy.txt").write_bytes((docs / "owls.txt").read_bytes())
        update(index, docs)
        (docs / "owls.txt").unlink()
        report = update(index, docs)
        assert (report.added, report.removed, report.embedded) == (("zz copy.txt",), ("owls.txt",), 0)

    def test_a_document_that_becomes_a_copy_leaves(self, index: Index, docs: Path) -> None:
        update(index, docs)
        (docs / "foxes.txt").write_bytes((docs / "owls.txt").read_bytes())
        report = update(index, docs)
        assert report.duplicates == (Duplicate(source="foxes.txt", same_as="owls.txt"),)
        assert report.removed == ("foxes.txt",)
        check_consistent(index)

    def test_the_same_content_for_other_readers_is_no_duplicate(self, index: Index, docs: Path, tmp_path: Path) -> None:
        update(index, docs, groups=("board",))
        other = tmp_path / "other"
        other.mkdir()
        (other / "public owls.txt").write_bytes((docs / "owls.txt").read_bytes())
        assert update(index, other).added == ("public owls.txt",)

    def test_in_memory_documents(self, index: Index) -> None:
        documents = [document("a", sentences("owl")), document("b", sentences("owl")), document("c", sentences("fox"))]
        assert add_documents(index, documents).duplicates == (Duplicate(source="b", same_as="a"),)
        report = add_documents(index, [document("a", sentences("owl")), document("c", sentences("lynx"))])
        assert (report.unchanged, report.changed) == (("a",), ("c",))
        check_consistent(index)


class TestGroups:
    def test_chunks_carry_their_groups_and_another_ingestion_changes_them(self, index: Index, docs: Path) -> None:
        update(index, docs, groups=("staff", "board", "staff"))
        assert {chunk.groups for chunk in index.all_chunks()} == {("board", "staff")}
        embedded = len(encoder_of(index).encoded)
        report = update(index, docs, groups=("public",))
        assert len(report.changed) == 3
        assert len(encoder_of(index).encoded) == embedded
        assert {chunk.groups for chunk in index.all_chunks()} == {("public",)}

    @pytest.mark.parametrize("groups", [(), ("",), "staff"])
    def test_groups_must_be_named(self, index: Index, groups: tuple[str, ...]) -> None:
        with pytest.raises(UserError) as raised:
            add_documents(index, [], groups)
        assert str(raised.value) == f"groups {groups!r}: name at least one group, such as public"


class TestRefused:
    def test_one_bad_file_does_not_stop_the_others(self, index: Index, docs: Path) -> None:
        (docs / "empty.txt").write_bytes(b"")
        (docs / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
        report = update(index, docs)
        assert report.added == ("foxes.txt", "owls.txt", "sub/bears.md")
        assert [one.source for one in report.refused] == ["broken.pdf", "empty.txt"]
        assert report.refused[1].reason == "empty.txt: is empty (0 bytes)"
        assert "  refused: empty.txt: is empty (0 bytes)" in report.lines()

    def test_a_file_that_was_damaged_later_keeps_what_was_indexed(self, index: Index, docs: Path) -> None:
        update(index, docs)
        (docs / "owls.txt").write_bytes(b"")
        report = update(index, docs)
        assert report.refused[0].reason == ("owls.txt: is empty (0 bytes); the version that was indexed before stays")
        assert report.removed == ()
        assert found_sources(index, "owl") == ["owls.txt"] * 3


class TestDryRun:
    def test_it_tells_the_same_and_writes_nothing(self, index: Index, docs: Path, tmp_path: Path) -> None:
        update(index, docs)
        (docs / "owls.txt").write_text(sentences("eagle"))
        (docs / "foxes.txt").unlink()
        (docs / "new.txt").write_text(sentences("newt"))
        (docs / "new copy.txt").write_text(sentences("newt"))
        (docs / "empty.txt").write_bytes(b"")
        before = {path: path.read_bytes() for path in (tmp_path / "index").rglob("*") if path.is_file()}
        encoder_of(index).encoded.clear()
        told = update(index, docs, dry_run=True)
        assert encoder_of(index).encoded == []
        assert {path: path.read_bytes() for path in (tmp_path / "index").rglob("*") if path.is_file()} == before
        done = update(index, docs)
        for name in ("added", "changed", "unchanged", "removed", "duplicates", "refused", "notes", "chunks"):
            assert getattr(told, name) == getattr(done, name)
        assert told.lines()[0] == (
            f"dry run: 1 added, 1 changed, 1 removed, 1 unchanged, 1 duplicates, 1 refused; {told.chunks} chunks"
        )
        assert "  would be removed: foxes.txt" in told.lines()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tiny_index import HashingEncoder
from rag_qa.document_processor import index_writer, vector_store
from rag_qa.document_processor.files import find_files
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import ingest

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

index = Index.open(Path({folder!r}), HashingEncoder())
point = {point!r}
if point == "embedding":
    HashingEncoder.encode = die
elif point == "before the vectors":
    vector_store.FaissStore.write_generation = die
elif point == "in the vectors":
    import numpy as np
    real = np.savez
    def half(file, **arrays):
        file.write(b"half of it"); file.flush(); die()
    np.savez = half
elif point == "before the words":
    index_writer.SparseIndex.save = die
elif point == "before the commit":
    index.database.set_meta = die
elif point == "in the commit":
    index.database._connection.set_trace_callback(lambda text: die() if text == "COMMIT" else None)
elif point == "after the commit":
    index_writer._Change.finish = die
ingest(index, find_files(Path({docs!r})), folder=Path({docs!r}))
"""


class TestKilled:
    @pytest.mark.parametrize(
        "point",
        [
            "embedding",
            "before the vectors",
            "in the vectors",
            "before the words",
            "before the commit",
            "in the commit",
            "after the commit",
        ],
    )
    def test_sigkill_leaves_a_whole_index(self, index: Index, docs: Path, tmp_path: Path, point: str) -> None:
        update(index, docs)
        index.close()
        (docs / "owls.txt").write_text(sentences("eagle"))
        (docs / "foxes.txt").unlink()
        folder = tmp_path / "index"
        program = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder), docs=str(docs), point=point)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert done.returncode == -signal.SIGKILL, done.stderr
        with Index.open(folder, HashingEncoder()) as opened:
            check_consistent(opened)
            changed = point == "after the commit"
            assert [info.source for info in opened.documents()] == (
                ["owls.txt", "sub/bears.md"] if changed else ["foxes.txt", "owls.txt", "sub/bears.md"]
            )
            report = update(opened, docs)
            assert report.changed == (() if changed else ("owls.txt",))
            if changed:  # nothing is left to write: whatever writes next cleans up
                add_documents(opened, [document("x.txt", sentences("lynx"))])
            check_consistent(opened)
            generation = f"{opened.generation:06}"
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["index.sqlite", "lock", f"sparse-{generation}", f"vectors-{generation}.npz"]

    def test_what_was_committed_on_the_way_is_kept(
        self, index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ingestion, "_LEAST_TO_COMMIT", 1)
        monkeypatch.setattr(ingestion, "_CHUNKS_PER_BATCH", 1)
        update(index, docs)
        assert index.generation == 3
        check_consistent(index)

    def test_ctrl_c_keeps_what_is_embedded(self, index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ingestion, "_CHUNKS_PER_BATCH", 1)
        real = HashingEncoder.encode

        def interrupted(self: HashingEncoder, texts: list[str]) -> object:
            if any("bear" in text for text in texts):
                raise KeyboardInterrupt
            return real(self, texts)

        monkeypatch.setattr(HashingEncoder, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            update(index, docs)
        monkeypatch.setattr(HashingEncoder, "encode", real)
        assert [info.source for info in index.documents()] == ["foxes.txt", "owls.txt"]
        check_consistent(index)
        assert update(index, docs).added == ("sub/bears.md",)


def full_disk(*args: object, **kwargs: object) -> None:
    raise OSError(28, "No space left on device")


class TestFailures:
    @pytest.mark.parametrize("what", ["vectors", "words"])
    def test_a_full_disk_leaves_the_old_index(
        self, index: Index, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        update(index, docs)
        (docs / "owls.txt").write_text(sentences("eagle"))
        with monkeypatch.context() as patched:
            if what == "vectors":
                patched.setattr(np, "savez", full_disk)
            else:
                patched.setattr(index_writer.SparseIndex, "save", full_disk)
            with pytest.raises(
                UserError, match=r"cannot be written \(No space left on device\): the index is as it was"
            ):
                update(index, docs)
        assert found_sources(index, "owl") == ["owls.txt"] * 3
        check_consistent(index)
        assert update(index, docs).changed == ("owls.txt",)
        with Index.open(tmp_path / "index", HashingEncoder()) as later:
            check_consistent(later)

    def test_a_failed_change_in_memory_is_undone(self, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with empty_index(None) as index:
            update(index, docs, groups=("staff",))
            (docs / "owls.txt").write_text(sentences("eagle"))
            (docs / "new.txt").write_text(sentences("newt"))
            with monkeypatch.context() as patched:
                patched.setattr(index_writer.SparseIndex, "build", full_disk)
                with pytest.raises(UserError):
                    update(index, docs, groups=("staff",))
            check_consistent(index)
            assert found_sources(index, "owl") == ["owls.txt"] * 3
            assert update(index, docs, groups=("staff",)).changed == ("owls.txt",)

    def test_an_encoder_that_gives_no_numbers_is_a_bug_and_changes_nothing(
        self, index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            HashingEncoder, "encode", lambda self, texts: np.full((len(texts), 32), np.nan, dtype=np.float32)
        )
        with pytest.raises(ValueError, match=r"^a vector holds a number that is not finite$"):
            update(index, docs)
        assert index.documents() == []
        assert isinstance(index.store, FaissStore)
        assert index.store.ids().tolist() == []
