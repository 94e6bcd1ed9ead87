"""The FAISS store: the common suite, exactly and by binary codes, and its files."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.binary_codes import BinaryCodes
from rag_qa.document_processor.metadata_filter import MetadataIndex
from rag_qa.document_processor.vector_store import FaissStore, build_store
from rag_qa.protocols import Condition, FloatArray, VectorStore
from roadmap_shared.errors import UserError

from .store_suite import DIMENSION, Model, VectorStoreSuite, about, id_array, unit_vectors


class FaissSuite(VectorStoreSuite):
    config = StoreConfig()

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[VectorStore]:
        self.folder = tmp_path / "store"
        store = build_store(self.config, self.folder, DIMENSION)
        yield store
        store.close()

    def reopened(self, store: VectorStore) -> VectorStore:
        return build_store(self.config, self.folder, DIMENSION)


class TestExact(FaissSuite):
    """Up to 20,000 vectors."""


class TestBinaryCodes(FaissSuite):
    """The path of large collections, with as many candidates as make it exact on a few thousand vectors."""

    config = StoreConfig(exact_up_to=0, candidates=2400)


class TestInMemory:
    def test_without_a_folder_nothing_is_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        store = build_store(StoreConfig(), None, DIMENSION)
        store.add(id_array(1), unit_vectors(1), [about()])
        store.save()
        assert store.ids().tolist() == [1]
        assert list(tmp_path.iterdir()) == []


def clustered(count: int, dimension: int = 64, seed: int = 0) -> FloatArray:
    """Unit vectors around 100 centres and one common direction, as sentence vectors lie."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((100, dimension)) + 0.5
    drawn = centres[random.integers(100, size=count)] + 0.8 * random.standard_normal((count, dimension))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


class TestLargeCollections:
    def test_binary_codes_find_what_the_flat_search_finds(self) -> None:
        vectors, queries = clustered(30_000), clustered(50, seed=7)
        store = FaissStore(64)
        store.add(np.arange(30_000), vectors, [about(page=row % 3) for row in range(30_000)])
        for where, rows in (((), slice(None)), ((Condition(field="page", any_of=(1,)),), slice(1, None, 3))):
            kept = np.arange(30_000)[rows]
            best = kept[np.argsort(-(queries @ vectors[kept].T), axis=1)[:, :10]]
            found = [{id for id, _ in result} for result in store.search(queries, 10, where)]
            recall = np.mean([len(set(row) & one) / 10 for row, one in zip(best.tolist(), found, strict=True)])
            assert recall >= 0.99
            assert all(len(one) == 10 for one in found)

    def test_codes_follow_additions_and_removals(self) -> None:
        vectors, model = clustered(4000, DIMENSION), Model()
        store = FaissStore(DIMENSION, config=StoreConfig(exact_up_to=100, candidates=2400))
        store.add(np.arange(2500), vectors[:2500], [about()] * 2500)
        store.search(vectors[:1], 1)
        assert store._codes is not None
        store.remove(np.arange(0, 1000, 2))
        store.add(np.arange(2500, 4000), vectors[2500:], [about()] * 1500)
        kept = np.array(sorted(set(range(4000)) - set(range(0, 1000, 2))))
        model.add(kept, vectors[kept], [about()] * len(kept))
        for query, found in zip(vectors[::800], store.search(vectors[::800], 5), strict=True):
            model.check(found, query, 5, ())

    def test_the_mean_is_taken_again_when_the_collection_has_doubled(self) -> None:
        store = FaissStore(64, config=StoreConfig(exact_up_to=10, candidates=50))
        store.add(np.arange(100), clustered(100), [about()] * 100)
        store.search(clustered(1), 1)
        first = store._codes
        store.add(np.arange(100, 180), clustered(80, seed=3), [about()] * 80)
        store.search(clustered(1), 1)
        assert store._codes is first
        store.add(np.arange(180, 220), clustered(40, seed=4), [about()] * 40)
        store.search(clustered(1), 1)
        assert store._codes is not first
        assert store._codes is not None
        assert len(store._codes) == 220

    def test_codes_estimate_inner_products_without_bias(self) -> None:
        vectors, queries = clustered(500, 384), clustered(40, 384, seed=7)
        mask = np.arange(500) % 5 > 0
        estimates, rows = BinaryCodes(vectors).search(queries, 500, mask)
        assert ((rows >= 0).sum(axis=1) == 400).all()
        assert mask[rows[:, :400]].all()
        errors = estimates[:, :400] - np.take_along_axis(queries @ vectors.T, rows[:, :400], axis=1)
        # The paper's bound: a deviation of about |x - mean| |q - mean| / sqrt(D), here 1 / sqrt(384) = .05 at most.
        assert abs(errors.mean()) < 0.002
        assert errors.std() < 0.05

    @pytest.mark.parametrize("dimension", [1, 5, 65])
    def test_codes_of_any_dimension(self, dimension: int) -> None:
        vectors = clustered(30, dimension)
        estimates, rows = BinaryCodes(vectors).search(vectors[:2], 30)
        assert [sorted(row) for row in rows.tolist()] == [list(range(30))] * 2
        assert np.isfinite(estimates).all()


class TestFiles:
    def saved(self, folder: Path) -> Path:
        store = FaissStore(DIMENSION, folder)
        store.add(id_array(1, 2), unit_vectors(2), [about()] * 2)
        store.save()
        (file,) = folder.iterdir()
        return file

    def test_one_file_a_generation_and_the_last_alone_is_kept(self, tmp_path: Path) -> None:
        self.saved(tmp_path)
        store = FaissStore(DIMENSION, tmp_path)
        assert store.generation == 1
        store.add(id_array(3), unit_vectors(1), [about()])
        store.save()
        assert [path.name for path in tmp_path.iterdir()] == ["vectors-000002.npz"]

    def test_a_named_generation_is_read_and_others_are_left_alone(self, tmp_path: Path) -> None:
        self.saved(tmp_path)
        store = FaissStore(DIMENSION, tmp_path)
        store.remove(id_array(1))
        store.write_generation(7)
        assert FaissStore(DIMENSION, tmp_path, generation=1).ids().tolist() == [1, 2]
        assert FaissStore(DIMENSION, tmp_path, generation=7).ids().tolist() == [2]

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
    def test_a_damaged_file_is_one_line(self, tmp_path: Path, damage: str) -> None:
        file = self.saved(tmp_path)
        data = bytearray(file.read_bytes())
        if damage == "flipped":
            data[data.index(unit_vectors(1).tobytes()) + 5] ^= 0xFF
        else:
            data = {"cut": data[:200], "empty": bytearray(), "text": bytearray(b"not an archive")}[damage]
        file.write_bytes(data)
        with pytest.raises(UserError) as raised:
            FaissStore(DIMENSION, tmp_path)
        message = str(raised.value)
        assert message.startswith(f"{file}: damaged (")
        assert message.endswith("): restore it from a backup, or ingest again into an empty folder")
        assert "\n" not in message

    def test_a_missing_generation_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError) as raised:
            FaissStore(DIMENSION, tmp_path, generation=4)
        path = tmp_path / "vectors-000004.npz"
        assert str(raised.value) == f"{path}: missing: restore it from a backup, or ingest again into an empty folder"

    def test_another_dimension_is_refused(self, tmp_path: Path) -> None:
        file = self.saved(tmp_path)
        with pytest.raises(UserError) as raised:
            FaissStore(384, tmp_path)
        assert str(raised.value) == f"{file}: holds vectors of 16 dimensions, but the encoder makes 384"

    def test_a_full_disk_leaves_the_generation_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.saved(tmp_path)
        store = FaissStore(DIMENSION, tmp_path)
        store.add(id_array(3), unit_vectors(1), [about()])

        def full(*args: object, **arrays: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(UserError) as raised:
            store.save()
        assert str(raised.value) == (
            f"{tmp_path / 'vectors-000002.npz'}: cannot be written (No space left on device): the index is as it was "
            "before; make room and repeat"
        )
        assert [path.name for path in tmp_path.iterdir()] == ["vectors-000001.npz"]
        assert FaissStore(DIMENSION, tmp_path).ids().tolist() == [1, 2]


class TestProcess:
    @pytest.mark.parametrize("order", ["faiss, torch", "torch, faiss"])
    def test_faiss_and_torch_share_a_process(self, order: str) -> None:
        """Both bring an OpenMP runtime of their own."""
        program = f"""
import {order}
import numpy as np
from rag_qa.document_processor.vector_store import FaissStore
x = np.eye(64, dtype=np.float32)
store = FaissStore(64)
store.add(np.arange(64), x, [{{"page": 1}}] * 64)
for _ in range(3):
    torch.ones(400, 400) @ torch.ones(400, 400)
    found = store.search(x, 1)
print([id for result in found for id, _ in result] == list(range(64)), faiss.omp_get_max_threads())
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, "True 1\n", "")

    def test_searches_and_changes_in_several_threads(self) -> None:
        store = FaissStore(DIMENSION)
        store.add(np.arange(100), unit_vectors(100), [about()] * 100)
        errors: list[BaseException] = []

        def searching() -> None:
            try:
                for _ in range(200):
                    found = store.search(unit_vectors(1), 5, (Condition(field="groups", any_of=("public",)),))[0]
                    assert found[0] == (0, pytest.approx(1.0, abs=1e-5))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=searching) for _ in range(3)]
        for thread in threads:
            thread.start()
        for step in range(100):
            store.add(np.arange(100, 200), unit_vectors(100, seed=step + 1), [about()] * 100)
            store.remove(np.arange(100, 200))
        for thread in threads:
            thread.join()
        assert errors == []


class TestMetadataIndex:
    def test_nothing_stays_of_a_removed_record(self) -> None:
        index = MetadataIndex()
        index.add(1, {"groups": ("a", "b"), "page": 3})
        index.remove(1)
        assert index.matching(()) == set()
        assert index.matching((Condition(field="groups", any_of=("a", "b")),)) == set()
        assert {value for postings in index._postings.values() for value in postings} == set()


class TestConfig:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"backend": "pgvector"},
                "--store.backend pgvector needs --store.url postgresql://user:password@host:5432/database",
            ),
            ({"backend": "qdrant", "url": "localhost"}, "--store.url localhost must begin with http:// or https://"),
            (
                {"url": "http://localhost"},
                "--store.url http://localhost is of no use to --store.backend faiss: name qdrant or pgvector",
            ),
            (
                {"collection": 'x"; DROP'},
                "--store.collection 'x\"; DROP' must be 1 to 48 letters, digits and underscores, and not begin with a "
                "digit",
            ),
            (
                {"backend": "pgvector", "url": "postgresql://me:s3/cr#t@host/db"},
                "--store.url postgresql://host/db: write / ? # @ in user and password as %2F %3F %23 %40",
            ),
            (
                {"backend": "pgvector", "url": "postgresql://me:s3@cret@host/db"},
                "--store.url postgresql://host/db: write / ? # @ in user and password as %2F %3F %23 %40",
            ),
            (
                {"backend": "qdrant", "url": "me:s3cret@host"},
                "--store.url host must begin with http:// or https://",
            ),
            ({"threads": 0}, "--store.threads 0 must be at least 1"),
            ({"retries": -1}, "--store.retries -1 must be at least 0"),
            ({"timeout": 0.0}, "--store.timeout 0.0 must be above 0 seconds"),
        ],
    )
    def test_settings_that_do_not_fit_are_named(self, settings: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError) as raised:
            StoreConfig(**settings)  # pyright: ignore[reportArgumentType]
        assert str(raised.value) == message

    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("postgresql://me:s3cret@host:5/db?sslmode=require", "postgresql://me@host:5/db?sslmode=require"),
            ("postgresql://host/db?user=me&password=x&sslpassword=y", "postgresql://host/db?user=me"),
            ("postgresql://one:5432,two:5433/db", "postgresql://one:5432,two:5433/db"),
            ("postgresql://me:50%25%40off@host/db", "postgresql://me@host/db"),
        ],
    )
    def test_an_address_has_no_password(self, url: str, address: str) -> None:
        assert StoreConfig(backend="pgvector", url=url).address == address
