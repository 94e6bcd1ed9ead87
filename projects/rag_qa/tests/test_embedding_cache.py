"""The cache gives what the encoder gives, forgets what it is told to, and survives damage."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rag_qa.protocols import FloatArray
from rag_qa.retrieval.embedding_cache import CachedEncoder, VectorFile
from roadmap_shared.errors import UserError


class Counting:
    """Vectors from the text's characters; counts what it is asked."""

    name, dimension, max_tokens = "counting", 4, 10

    def __init__(self, fingerprint: str = "one") -> None:
        self.fingerprint = fingerprint
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> FloatArray:
        self.asked += texts
        rows = [[len(text), sum(map(ord, text)) % 97, ord(self.fingerprint[0]), 1] for text in texts]
        vectors = np.array(rows, dtype=np.float32).reshape(-1, 4)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


def test_known_texts_are_not_encoded_again(tmp_path: Path) -> None:
    inner = Counting()
    cached = CachedEncoder(inner, tmp_path / "cache.sqlite")
    first = cached.encode(["a", "b", "a"])
    cached.close()
    again = CachedEncoder(inner, tmp_path / "cache.sqlite")

    np.testing.assert_array_equal(again.encode(["c", "a", "b", "a"]), Counting().encode(["c", "a", "b", "a"]))
    np.testing.assert_array_equal(first, Counting().encode(["a", "b", "a"]))
    assert inner.asked == ["a", "b", "c"]
    assert (again.hits, again.misses) == (3, 1)
    assert again.encode([]).shape == (0, 4)
    again.close()


def test_more_texts_than_a_statement_takes(tmp_path: Path) -> None:
    cached = CachedEncoder(Counting(), tmp_path / "cache.sqlite")
    texts = [f"text {i}" for i in range(1234)]
    cached.encode(texts)

    np.testing.assert_array_equal(cached.encode(texts), Counting().encode(texts))
    assert cached.hits == 1234
    cached.close()


def test_another_model_has_vectors_of_its_own(tmp_path: Path) -> None:
    one, two = (CachedEncoder(Counting(name), tmp_path / "cache.sqlite") for name in ("one", "two"))

    one.encode(["a"])
    np.testing.assert_array_equal(two.encode(["a"]), Counting("two").encode(["a"]))
    one.close()
    two.close()


def test_purged_vectors_are_gone_from_the_file(tmp_path: Path) -> None:
    inner, path = Counting(), tmp_path / "cache.sqlite"
    cached = CachedEncoder(inner, path)
    kept, gone = cached.encode(["kept", "gone"]).astype("<f4")
    assert gone.tobytes() in path.read_bytes()

    assert VectorFile(cached.path).purge(["gone", "never there", "gone"]) == 1
    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert gone.tobytes() not in everything
    assert kept.tobytes() in everything
    cached.encode(["gone", "kept"])
    assert inner.asked == ["kept", "gone", "gone"]
    cached.close()


def test_questions_are_not_kept(tmp_path: Path) -> None:
    inner = Counting()
    cached = CachedEncoder(inner, tmp_path / "cache.sqlite")

    cached.encode_queries(["who?"])
    cached.encode_queries(["who?"])
    assert inner.asked == ["who?", "who?"]
    assert (cached.unknown_share("who?"), cached.token_spans("who?")) == (0.0, [(0, 4)])
    cached.close()


def test_a_damaged_file_is_put_aside_and_named(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"this is no database, though it is long enough to be taken for one" * 20)
    cached = CachedEncoder(Counting(), path)

    assert (
        cached.note
        == f"embedding cache {path}: damaged (file is not a database); kept as cache.sqlite.damaged and begun again"
    )
    assert len(cached.encode(["a"])) == 1
    assert (tmp_path / "cache.sqlite.damaged").read_bytes().startswith(b"this is no database")
    cached.close()


def test_damage_within_the_file_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    texts = [f"text {i}" for i in range(2000)]
    cached = CachedEncoder(Counting(), path)
    cached.encode(texts)
    cached.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)

    mended = CachedEncoder(Counting(), path)
    np.testing.assert_array_equal(mended.encode(texts), Counting().encode(texts))
    assert mended.note is not None
    assert "damaged" in mended.note
    mended.close()


def test_a_vector_of_another_size_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cached = CachedEncoder(Counting(), path)
    cached.encode(["a"])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE vectors SET vector = x'00'")
    connection.close()

    np.testing.assert_array_equal(cached.encode(["a"]), Counting().encode(["a"]))
    cached.close()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^embedding cache .*: cannot be made: "):
        CachedEncoder(Counting(), tmp_path / "file" / "cache.sqlite")
    with pytest.raises(UserError, match=r"^embedding cache .*: cannot be opened: unable to open database file$"):
        CachedEncoder(Counting(), tmp_path)
