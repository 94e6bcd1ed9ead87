"""Ingestion that is killed, interrupted or out of disk: what is left is the index as it was."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rag_qa.document_processor.index_writer as index_writer
from rag_qa.document_processor import ingestion
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import add_documents
from rag_qa.document_processor.vector_store import FaissStore
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
