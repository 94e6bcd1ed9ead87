"""Ingestion: what changes, what stays, what is there twice, what is refused."""

import os
from pathlib import Path

import pytest

from rag_qa.document_processor.files import find_files
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingest_report import Duplicate
from rag_qa.document_processor.ingestion import add_documents, ingest
from roadmap_shared.errors import UserError

from .tiny_index import (
    HashingEncoder,
    check_consistent,
    document,
    empty_index,
    found_sources,
    sentences,
    update,
    written,
)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return written(tmp_path / "docs")


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return empty_index(tmp_path / "index")


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

    def test_the_copy_of_a_file_that_cannot_be_read_may_be(self, index: Index, docs: Path) -> None:
        for name in ("COPYING", "z.md", "zz.txt"):
            (docs / name).write_text(sentences("gnu"))
        told = update(index, docs, dry_run=True)
        report = update(index, docs)
        assert report.added == told.added == ("z.md", "foxes.txt", "owls.txt", "sub/bears.md")
        assert [one.source for one in report.refused] == ["COPYING"]
        assert report.duplicates == told.duplicates == (Duplicate(source="zz.txt", same_as="z.md"),)
        assert found_sources(index, "gnu")[0] == "z.md"
        check_consistent(index)

    def test_copies_that_cannot_be_read_are_each_refused(self, index: Index, docs: Path) -> None:
        for name in ("a.pdf", "b.pdf", "c.txt"):
            (docs / name).write_bytes(b"")
        report = update(index, docs)
        assert [one.reason for one in report.refused] == [
            f"{name}: is empty (0 bytes)" for name in ("a.pdf", "b.pdf", "c.txt")
        ]
        assert report.duplicates == ()

    def test_a_known_copy_leaves_only_once_the_other_is_read(self, index: Index, docs: Path) -> None:
        update(index, docs)
        (docs / "AA").write_text(sentences("lynx"))
        for name in ("foxes.txt", "owls.txt"):
            (docs / name).write_text(sentences("lynx"))
        report = update(index, docs)
        assert (report.changed, report.removed) == (("foxes.txt",), ("owls.txt",))
        assert report.duplicates == (Duplicate(source="owls.txt", same_as="foxes.txt"),)
        check_consistent(index)

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
