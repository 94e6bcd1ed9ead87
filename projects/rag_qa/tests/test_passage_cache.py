"""The embedding cache behind `ingest` and `evaluate`: used, told, limited, cleared, and emptied of what is deleted."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rag_qa.cli import main
from rag_qa.config import ChunkingConfig
from rag_qa.config.embedding_cache import EmbeddingCacheConfig
from rag_qa.document_processor.files import find_files
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import delete, ingest
from rag_qa.passage_cache import cache_file, clear, contents, kept_vectors
from rag_qa.protocols import FloatArray
from roadmap_shared.errors import UserError

from .command_files import write_folder
from .hash_encoder import HashEncoder


class Counting(HashEncoder):
    """Notes what it is asked to encode."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> FloatArray:
        self.asked += texts
        return super().encode(texts)


def filled(folder: Path, docs: Path, config: EmbeddingCacheConfig, chunking: ChunkingConfig | None = None) -> Index:
    """An index of a folder, its vectors kept by `config`."""
    index = Index.create(folder, Counting(), chunking)
    with kept_vectors(index, config):
        ingest(index, find_files(docs), folder=docs)
    return index


def asked(index: Index) -> list[str]:
    """What the encoder itself has encoded."""
    assert isinstance(index.encoder, Counting)
    return index.encoder.asked


def held(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for animal in ("owl", "bear"):
        (folder / f"{animal}.txt").write_text(f"The {animal} of the northern forest sleeps for nine hours a day.\n")
    return folder


@pytest.fixture
def config(tmp_path: Path) -> EmbeddingCacheConfig:
    return EmbeddingCacheConfig(file=tmp_path / "cache.sqlite")


def vector_of(index: Index, source: str) -> bytes:
    (chunk,) = index.chunks(index.database.chunk_ids(source))
    return np.asarray(index.encoder.encode([chunk.text])[0], dtype="<f4").tobytes()


def test_a_second_index_embeds_nothing_and_gets_the_same_vectors(
    tmp_path: Path, docs: Path, config: EmbeddingCacheConfig
) -> None:
    first, second = (filled(tmp_path / name, docs, config) for name in ("one", "two"))
    assert (len(asked(first)), asked(second)) == (2, [])
    np.testing.assert_array_equal(first.store.vectors(first.store.ids()), second.store.vectors(second.store.ids()))  # type: ignore[attr-defined]
    found = contents(cache_file(config))
    assert found.vectors == (2,)
    assert found.line() == f"embedding cache {config.file}: 2 vectors of 1 encoder, {found.bytes / 1e6:.1f} MB"


def test_switched_off_there_is_no_file(tmp_path: Path, docs: Path, config: EmbeddingCacheConfig) -> None:
    off = EmbeddingCacheConfig(enabled=False, file=config.file)
    assert len(asked(filled(tmp_path / "one", docs, off))) == 2
    assert not cache_file(config).exists()
    assert contents(cache_file(config)).line() == f"embedding cache {config.file}: empty"


def test_a_deletion_empties_the_cache_though_it_is_opened_without_one(
    tmp_path: Path, docs: Path, config: EmbeddingCacheConfig
) -> None:
    with filled(tmp_path / "one", docs, config) as index:
        gone, stays = vector_of(index, "owl.txt"), vector_of(index, "bear.txt")
    path = cache_file(config)
    assert gone in held(path)
    with Index.open(tmp_path / "one") as index:
        certificate = delete(index, ["owl.txt"])
    assert certificate.clean
    assert str(path) in [file.path for file in certificate.files]
    assert gone not in held(path)
    assert stays in held(path)


def test_what_changes_or_leaves_its_folder_leaves_the_cache(
    tmp_path: Path, docs: Path, config: EmbeddingCacheConfig
) -> None:
    index = filled(tmp_path / "one", docs, config)
    vectors = {name: vector_of(index, name) for name in ("owl.txt", "bear.txt")}
    (docs / "owl.txt").write_text("Owls are awake all night.\n")
    (docs / "bear.txt").unlink()
    ingest(index, find_files(docs), folder=docs)
    assert [name for name, vector in vectors.items() if vector in held(cache_file(config))] == []


def test_a_passage_that_a_changed_document_still_has_stays(
    tmp_path: Path, docs: Path, config: EmbeddingCacheConfig
) -> None:
    index = filled(tmp_path / "one", docs, config)
    vector = vector_of(index, "owl.txt")
    (docs / "owl.txt").write_text((docs / "owl.txt").read_text() + "\n\n")
    with kept_vectors(index, config):
        ingest(index, find_files(docs), folder=docs)
    assert vector in held(cache_file(config))


def test_what_the_semantic_splitter_compares_is_not_kept(
    tmp_path: Path, docs: Path, config: EmbeddingCacheConfig
) -> None:
    (docs / "long.txt").write_text(" ".join(f"Sentence {n} speaks of subject {n % 3}." for n in range(40)))
    index = filled(tmp_path / "one", docs, config, ChunkingConfig(splitter="semantic", size=60, overlap=0, minimum=8))
    assert contents(cache_file(config)).vectors == (len(index.all_chunks()),)


def test_a_large_file_is_emptied(
    tmp_path: Path, docs: Path, config: EmbeddingCacheConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path / "one", docs, config).close()
    small = EmbeddingCacheConfig(file=config.file, max_bytes=100)
    assert len(asked(filled(tmp_path / "two", docs, small))) == 2
    assert f"embedding cache {config.file}: above --embedding_cache.max_bytes, emptied\n" in capsys.readouterr().err


def test_a_file_that_cannot_be_made(
    tmp_path: Path, docs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / "file" / "cache.sqlite"
    problem = f"embedding cache {path}: cannot be made: File exists"
    with pytest.raises(UserError) as caught:
        filled(tmp_path / "one", docs, EmbeddingCacheConfig(file=path))
    assert str(caught.value) == problem
    monkeypatch.setattr("rag_qa.passage_cache.default_file", lambda: path)
    assert len(asked(filled(tmp_path / "two", docs, EmbeddingCacheConfig()))) == 2
    assert f"{problem}; nothing is kept\n" in capsys.readouterr().err


def test_a_damaged_file_is_told_of_and_searched_after_a_deletion(
    tmp_path: Path, docs: Path, config: EmbeddingCacheConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    cache_file(config).write_bytes(b"no database" * 100)
    index = filled(tmp_path / "one", docs, config)
    assert "kept as cache.sqlite.damaged and begun again" in capsys.readouterr().err
    searched = [file.path for file in delete(index, ["owl.txt"]).files]
    assert f"{config.file}.damaged" in searched
    clear(cache_file(config))
    assert list(tmp_path.glob("cache.sqlite*")) == []


def test_a_file_that_is_no_cache_is_not_cleared(tmp_path: Path) -> None:
    path = tmp_path / "letters.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE letters (a)")
    connection.close()
    for work in (contents, clear):
        with pytest.raises(UserError) as caught:
            work(path)
        assert str(caught.value) == f"{path}: is no embedding cache that can be read (no such table: vectors)"
    assert path.exists()


def test_the_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"^--embedding_cache.max_bytes 0 must be at least 1$"):
        EmbeddingCacheConfig(max_bytes=0)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs, flags = write_folder(tmp_path / "docs"), ("--embedding_cache.file", str(tmp_path / "cache.sqlite"))
    assert main(["ingest", str(docs), "--index", str(tmp_path / "dry"), "--dry_run", "True", *flags]) == 0
    assert not (tmp_path / "cache.sqlite").exists()
    for used, name in (("0 taken from it, 6 added to it", "one"), ("6 taken from it, 0 added to it", "two")):
        assert main(["ingest", str(docs), "--index", str(tmp_path / name), *flags]) == 0
        assert capsys.readouterr().out.endswith(f" MB; {used}\n")
    assert main(["delete", "ferry.txt", "--index", str(tmp_path / "two")]) == 0
    (certificate,) = (tmp_path / "two-certificates").iterdir()
    searched = [file["path"] for file in json.loads(certificate.read_text())["files"]]
    assert str(tmp_path / "cache.sqlite") in searched
    capsys.readouterr()
    assert main(["cache", *flags]) == 0
    assert capsys.readouterr().out.startswith(f"embedding cache {tmp_path / 'cache.sqlite'}: 5 vectors of 1 encoder, ")
    assert main(["cache", "--clear", "True", *flags]) == 0
    assert capsys.readouterr().out.endswith("removed\n")
    assert not (tmp_path / "cache.sqlite").exists()


def test_an_evaluation_keeps_passages_and_neither_questions_nor_sentences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = "The harbour of Armora shelters 11 boats. The pilot book of 1931 says so."
    qas = [{"id": "q", "question": "How many boats?", "answers": [{"text": "11", "answer_start": 31}]}]
    data = tmp_path / "set.json"
    data.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [{"context": sentence, "qas": qas}]}]}))
    path = tmp_path / "cache.sqlite"
    assert main(["evaluate", str(data), "--embedding_cache.file", str(path)]) == 0
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM vectors").fetchone() == (1,)
    connection.close()
    capsys.readouterr()
