"""Bulk embedding with many workers: on a Ray cluster, or in processes of this machine, by one code path.

    python -m rag_qa.adapters.ray_embedding DOCUMENTS --cache vectors.sqlite --workers 4
    python -m rag_qa.adapters.ray_embedding DOCUMENTS --cache vectors.sqlite --workers 64 --engine ray

The documents are read and split here, the passages are embedded by the workers in batches, and their vectors go into
an embedding cache. An index that is made with `CachedEncoder(build_encoder(), Path("vectors.sqlite"))` then finds them
there, so that its ingestion has nothing left to embed. With `--engine ray`, which needs the extra `ray`, the batches
are a Ray Data set, and the workers are actors on the cluster that `RAY_ADDRESS` names (`ray start --head` on one
machine, `ray start --address HOST:6379` on the others). The engine moves batches and nothing else: every batch holds
the same texts in the same order, so the vectors are the same.
"""

import argparse
import multiprocessing
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rag_qa.config.chunking import ChunkingConfig
from rag_qa.config.encoder import EncoderConfig
from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor.unreadable import UnreadableDocument
from rag_qa.machine import usable_cores
from rag_qa.protocols import Encoder, FloatArray
from roadmap_shared.errors import UserError

Engine = Literal["local", "ray"]
BATCH = 256
"""Texts that a worker gets at a time."""


class BatchEmbedder:
    """What a worker runs: it makes its encoder once, and turns batches of texts into vectors."""

    def __init__(self, make_encoder: Callable[[], Encoder]) -> None:
        self._encoder = make_encoder()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Column `text` of a batch to column `vector`; `number` tells where the batch belongs."""
        texts = [str(text) for text in batch["text"]]
        return {"number": np.asarray(batch["number"]), "vector": self._encoder.encode(texts)}


def embed_texts(
    texts: Sequence[str],
    make_encoder: Callable[[], Encoder],
    *,
    workers: int = 1,
    engine: Engine = "local",
    batch: int = BATCH,
) -> FloatArray:
    """(N, D) vectors in the order of the texts; the same whatever the engine and the number of workers.

    Args:
        texts: what is embedded.
        make_encoder: makes a worker's encoder. It is sent to the workers, so it must be a function of a module, or a
            `functools.partial` of one.
        workers: processes, or Ray actors. One local worker is this process.
        engine: `local` or `ray`.
        batch: texts that a worker encodes at a time.

    Raises:
        UserError: ray is not installed, its cluster does not answer, or a worker cannot load the encoder.
    """
    if workers < 1 or batch < 1:
        raise UserError(f"--workers {workers} and --batch {batch} must be at least 1")
    if not texts:
        return np.empty((0, make_encoder().dimension), dtype=np.float32)
    rows = [
        {"text": list(texts[start : start + batch]), "number": np.arange(start, min(start + batch, len(texts)))}
        for start in range(0, len(texts), batch)
    ]
    embed = {"local": _embed_locally, "ray": _embed_by_ray}[engine]
    parts = list(embed(rows, make_encoder, workers, batch))
    order = np.argsort(np.concatenate([part["number"] for part in parts]), kind="stable")
    return np.concatenate([part["vector"] for part in parts])[order].astype(np.float32, copy=False)


def _embed_locally(
    rows: Sequence[dict[str, Any]], make_encoder: Callable[[], Encoder], workers: int, batch: int
) -> Iterator[dict[str, Any]]:
    if workers == 1:
        yield from map(BatchEmbedder(make_encoder), rows)
        return
    # A forked copy of a process that has used torch or tokenizers may hang.
    context = multiprocessing.get_context("spawn")
    with (
        _cores_divided(workers),
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(make_encoder,)) as pool,
    ):
        yield from pool.map(_work, rows)


@contextmanager
def _cores_divided(workers: int) -> Iterator[None]:
    """Give each process that is started within its share of the cores: unasked, each would compute on all of them."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    # Read as a library is loaded, so set before that.
    os.environ["OMP_NUM_THREADS"] = str(max(1, usable_cores() // workers))
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


_worker: list[BatchEmbedder] = []


def _start_worker(make_encoder: Callable[[], Encoder]) -> None:
    _worker[:] = [BatchEmbedder(make_encoder)]


def _work(row: dict[str, Any]) -> dict[str, Any]:
    return _worker[0](row)


def _embed_by_ray(
    rows: Sequence[dict[str, Any]], make_encoder: Callable[[], Encoder], workers: int, batch: int
) -> Iterator[dict[str, Any]]:
    if find_spec("ray") is None:
        raise UserError('--engine ray: ray is not installed. Run: pip install "roadmap-rag-qa[ray]"')
    import ray.data  # pyright: ignore[reportMissingImports]
    import ray.exceptions  # pyright: ignore[reportMissingImports]

    if not ray.is_initialized():
        cluster = os.environ.get("RAY_ADDRESS", "")
        try:
            if at := re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", cluster):
                # Ray itself would go on trying for many minutes.
                socket.create_connection((at[1], int(at[2])), timeout=10).close()
            ray.init()
        except OSError as error:  # Ray's own is a ConnectionError
            raise UserError(f"--engine ray: no cluster answers at RAY_ADDRESS={cluster}: is it running?") from error
    pool = ray.data.ActorPoolStrategy(size=workers)
    # One row of the set is one batch, so that the set's own blocks cannot cut it otherwise.
    vectors = ray.data.from_items(list(rows)).map(BatchEmbedder, fn_constructor_args=(make_encoder,), compute=pool)
    try:
        yield from vectors.iter_rows()
    except ray.exceptions.RayError as error:
        # Of what a worker raised, Ray brings back the traceback as text. What a user can mend is told in one line,
        # such as a model folder that is missing on a machine of the cluster; a bug keeps its traceback.
        told = re.findall(r"^roadmap_shared\.errors\.UserError: (.+)$", str(error), re.MULTILINE)
        if told:
            raise UserError(f"--engine ray: on a worker: {told[-1]}") from error
        raise


def warm_cache(
    paths: Sequence[Path],
    cache: Path,
    encoder: EncoderConfig,
    chunking: ChunkingConfig,
    reading: ReadOptions,
    *,
    workers: int,
    engine: Engine,
    batch: int = BATCH,
) -> tuple[int, list[str]]:
    """Embed the passages of documents into an embedding cache.

    Returns the number of passages that were embedded, and one line for each file that cannot be read.

    Raises:
        UserError: a path does not exist, the cache cannot be written, or the encoder cannot be loaded.
    """
    from rag_qa.document_processor.readers import find_files, read_document
    from rag_qa.document_processor.text_splitter import split_document
    from rag_qa.retrieval.embedding_cache import CachedEncoder
    from rag_qa.retrieval.encoders import build_encoder

    model = build_encoder(encoder)
    texts: dict[str, None] = {}
    refused: list[str] = []
    for found in (file for path in paths for file in find_files(path)):
        try:
            document = read_document(found.path, found.source, reading)
        except UnreadableDocument as error:
            refused.append(str(error))
            continue
        for chunk in split_document(document, model.token_spans, chunking, model.encode):
            texts.setdefault(chunk.text)
    known = _Known(model, partial(build_encoder, encoder), workers, engine, batch)
    kept = CachedEncoder(known, cache)
    try:
        kept.encode(list(texts))
    finally:
        kept.close()
    return known.embedded, refused


class _Known:
    """Implements `Encoder` by the workers, for the cache to ask."""

    def __init__(
        self, model: Encoder, make_encoder: Callable[[], Encoder], workers: int, engine: Engine, batch: int
    ) -> None:
        self.name, self.fingerprint = model.name, model.fingerprint
        self.dimension, self.max_tokens, self.token_spans = model.dimension, model.max_tokens, model.token_spans
        self._embed = partial(embed_texts, make_encoder=make_encoder, workers=workers, engine=engine, batch=batch)
        self.embedded = 0

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """(N, D) vectors."""
        self.embedded += len(texts)
        return self._embed(texts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed the documents that are named."""
    parser = argparse.ArgumentParser(prog="python -m rag_qa.adapters.ray_embedding", description=main.__doc__)
    parser.add_argument("documents", nargs="+", type=Path, help="files and folders")
    parser.add_argument("--cache", type=Path, required=True, help="SQLite file of the embedding cache")
    parser.add_argument("--workers", type=int, default=1, help="processes, or Ray actors")
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="where the workers run")
    parser.add_argument("--batch", type=int, default=BATCH, help="texts that a worker gets at a time")
    parser.add_argument("--model", default=EncoderConfig().model, help="encoder: minilm, a folder or a hub id")
    parser.add_argument("--backend", choices=["torch", "onnx", "onnx_int8"], default=EncoderConfig().backend)
    given = parser.parse_args(arguments)
    encoder = EncoderConfig(model=given.model, backend=given.backend)
    try:
        embedded, refused = warm_cache(
            given.documents, given.cache, encoder, ChunkingConfig(), ReadOptions(),
            workers=given.workers, engine=given.engine, batch=given.batch,
        )  # fmt: skip
    except UserError as error:
        parser.error(str(error))
    print(f"{embedded} passages embedded into {given.cache}")
    for line in refused:
        print(f"  refused: {line}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
