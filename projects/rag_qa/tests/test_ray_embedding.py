"""Bulk embedding by processes of this machine and by Ray, and the cache that an index finds the vectors in."""

import importlib.util
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rag_qa.adapters import ray_embedding
from rag_qa.retrieval.embedding_cache import CachedEncoder
from roadmap_shared.errors import UserError

from .tiny_index import HashingEncoder

MILL = "The north tower of the mill is 40 metres high."
TEXTS = [f"word{n} and word{n * 7 % 13}" for n in range(23)]


def rotated(batch: list[Any]) -> list[Any]:
    return batch[1:] + batch[:1]


class FakeRayError(Exception):
    pass


def install_fake_ray(monkeypatch: pytest.MonkeyPatch, seen: dict[str, Any]) -> ModuleType:
    """Of Ray, what is used of it; results come in another order, as from a cluster."""

    class Dataset:
        def __init__(self, rows: list[Any]) -> None:
            self._rows = rows

        def map(self, kind: type, *, fn_constructor_args: tuple[Any, ...], compute: Any) -> "Dataset":
            seen["pool"] = compute
            self._make_worker = lambda: kind(*fn_constructor_args)
            return self

        def iter_rows(self) -> Iterator[Any]:
            try:
                worker = self._make_worker()
            except UserError as error:
                raise FakeRayError(f"The actor died\n  File x\nroadmap_shared.errors.UserError: {error}") from None
            return iter(rotated([worker(row) for row in self._rows]))

    ray, data, exceptions = ModuleType("ray"), ModuleType("ray.data"), ModuleType("ray.exceptions")
    contents = {
        ray: {"data": data, "exceptions": exceptions, "is_initialized": lambda: False, "init": lambda: None},
        data: {"from_items": Dataset, "ActorPoolStrategy": dict},
        exceptions: {"RayError": FakeRayError},
    }
    for module, names in contents.items():
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(ray_embedding, "find_spec", lambda name: object())
    return ray


def test_engines_give_the_same_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = HashingEncoder().encode(TEXTS)
    local = ray_embedding.embed_texts(TEXTS, HashingEncoder, batch=5)
    np.testing.assert_array_equal(local, expected)
    seen: dict[str, Any] = {}
    install_fake_ray(monkeypatch, seen)
    by_ray = ray_embedding.embed_texts(TEXTS, HashingEncoder, batch=5, workers=3, engine="ray")
    np.testing.assert_array_equal(by_ray, expected)
    assert seen == {"pool": {"size": 3}}


def no_model() -> HashingEncoder:
    raise UserError("there is no model in minilm/")


def no_cluster() -> None:
    raise ConnectionError("ray client connection timeout")


def test_what_a_cluster_lacks_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = install_fake_ray(monkeypatch, {})
    with pytest.raises(UserError) as raised:
        ray_embedding.embed_texts(TEXTS, no_model, engine="ray")
    assert str(raised.value) == "--engine ray: on a worker: there is no model in minilm/"
    vars(ray)["init"] = no_cluster
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        for address in ("auto", f"127.0.0.1:{closed.getsockname()[1]}"):
            monkeypatch.setenv("RAY_ADDRESS", address)
            with pytest.raises(UserError) as raised:
                ray_embedding.embed_texts(TEXTS, HashingEncoder, engine="ray")
            assert str(raised.value) == f"--engine ray: no cluster answers at RAY_ADDRESS={address}: is it running?"


# What a process is sent must be found by its name there, so it cannot be of this file.
WORKER = """
import os

import numpy as np

class LengthEncoder:
    name = fingerprint = "length"
    dimension, max_tokens = 2, 8

    def encode(self, texts):
        if texts == ["threads"]:
            return np.array([[float(os.environ["OMP_NUM_THREADS"]), 0]], dtype=np.float32)
        angles = [len(text) + ord(text[-1]) for text in texts]
        return np.array([[np.cos(angle), np.sin(angle)] for angle in angles], dtype=np.float32)
"""


def test_processes_give_the_same_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "length_encoder_of_a_test.py").write_text(WORKER, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    make = importlib.import_module("length_encoder_of_a_test").LengthEncoder
    vectors = ray_embedding.embed_texts(TEXTS, make, workers=2, batch=3)
    np.testing.assert_array_equal(vectors, make().encode(TEXTS))


def test_processes_divide_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "threads_encoder_of_a_test.py").write_text(WORKER, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    make = importlib.import_module("threads_encoder_of_a_test").LengthEncoder
    monkeypatch.setattr(ray_embedding.os, "sched_getaffinity", lambda process: range(7), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert ray_embedding.embed_texts(["threads"], make, workers=2)[0, 0] == 3
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert ray_embedding.embed_texts(["threads"], make, workers=2)[0, 0] == 5


def test_no_texts_and_wrong_numbers() -> None:
    assert ray_embedding.embed_texts([], HashingEncoder).shape == (0, 32)
    with pytest.raises(UserError, match=r"^--workers 0 and --batch 256 must be at least 1$"):
        ray_embedding.embed_texts(TEXTS, HashingEncoder, workers=0)


def test_without_ray() -> None:
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("ray is installed")
    with pytest.raises(UserError) as raised:
        ray_embedding.embed_texts(TEXTS, HashingEncoder, engine="ray")
    assert str(raised.value) == '--engine ray: ray is not installed. Run: pip install "roadmap-rag-qa[ray]"'


def test_an_index_embeds_nothing_after_the_cache_was_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rag_qa.retrieval import encoders

    monkeypatch.setattr(encoders, "build_encoder", lambda config=None: HashingEncoder())
    folder, cache = tmp_path / "documents", tmp_path / "vectors.sqlite"
    folder.mkdir()
    (folder / "mill.txt").write_text(MILL, encoding="utf-8")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    assert ray_embedding.main([str(folder), "--cache", str(cache)]) == 0

    encoder = HashingEncoder()
    kept = CachedEncoder(encoder, cache)
    np.testing.assert_array_equal(kept.encode([MILL]), HashingEncoder().encode([MILL]))
    assert encoder.encoded == []
    kept.close()


def test_a_wrong_path_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ray_embedding.main([str(tmp_path / "none"), "--cache", str(tmp_path / "cache"), "--workers", "1"])
    assert "cannot be read: No such file or directory" in capsys.readouterr().err
