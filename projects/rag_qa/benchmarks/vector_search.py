"""Vector search among 100,000: the store's search by binary codes against a flat scan by FAISS, in the same run.

    python benchmarks/vector_search.py [--count 100000] [--sentences 2000] [--vectors FILE.npy]

The vectors: sentences of the Python reference, embedded by all-MiniLM-L6-v2; every twentieth is a question, the
others are the centres. Each stored vector lies between a centre and one of its 20 nearest neighbours (0 to half of the
way, evenly drawn), with noise of length 0.3 in a random direction, and is brought to length 1. The flat scan and the
store go through all questions in turn, three times, on one thread; recall@10 is the share of the flat result's ten that
the store finds.
"""

import argparse
import platform
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.binary_codes import row_selector
from rag_qa.document_processor.vector_store import FaissStore
from rag_qa.protocols import Condition, FloatArray, IdArray, Where
from roadmap_shared.offline.encoder import minilm_folder
from roadmap_shared.offline.text import python_reference

Result = TypeVar("Result")


def sentence_vectors(count: int) -> FloatArray:
    """(count, 384) vectors of different sentences."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    pieces = (" ".join(piece.split()) for piece in re.split(r"(?<=[.!?])\s+|\n\n+", python_reference().text))
    sentences = list(dict.fromkeys(piece[:300] for piece in pieces if len(piece) > 30))[:count]
    model = SentenceTransformer(str(minilm_folder()), device="cpu")
    return model.encode(sentences, normalize_embeddings=True, show_progress_bar=False)


def collection(centres: FloatArray, count: int) -> FloatArray:
    """(count, D) vectors around and between centres."""
    random = np.random.default_rng(0)
    cosines = centres @ centres.T
    np.fill_diagonal(cosines, -1)
    neighbours = np.argsort(-cosines, axis=1)[:, :20]
    one = random.integers(len(centres), size=count)
    other = neighbours[one, random.integers(20, size=count)]
    share = random.uniform(0.5, 1, size=(count, 1)).astype(np.float32)
    noise = random.standard_normal((count, centres.shape[1])).astype(np.float32)
    drawn = unit(share * centres[one] + (1 - share) * centres[other]) + 0.3 * unit(noise)
    return np.ascontiguousarray(unit(drawn))


def unit(vectors: NDArray[Any]) -> FloatArray:
    """Rows of length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """Milliseconds and result."""
    start = time.perf_counter()
    result = call()
    return 1000 * (time.perf_counter() - start), result


def compare(
    name: str, vectors: FloatArray, store: FaissStore, questions: FloatArray, where: Where, kept: IdArray
) -> None:
    """Print one line of the table."""
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    parameters = None
    if len(kept) < len(vectors):
        mask = np.zeros(len(vectors), dtype=bool)
        mask[kept] = True
        parameters = faiss.SearchParameters(sel=row_selector(mask))  # type: ignore[call-arg]
    store.search(questions[:1], 10, where)  # codes and filters are made by the first search
    exact, found = [], []
    for _ in range(3):
        for query in questions[:, None]:
            exact.append(timed(lambda query=query: flat.search(query, 10, params=parameters)[1][0].tolist()))
        for query in questions[:, None]:
            found.append(timed(lambda query=query: [id for id, _ in store.search(query, 10, where)[0]]))
    theirs, ours = (np.array([milliseconds for milliseconds, _ in run]) for run in (exact, found))
    recall = np.array([len(set(one[1]) & set(other[1])) / 10 for one, other in zip(exact, found, strict=True)])
    print(
        f"| {name} | {np.median(theirs):.1f} / {np.percentile(theirs, 99):.1f} | {np.median(ours):.1f} / "
        f"{np.percentile(ours, 99):.1f} | {np.median(theirs) / np.median(ours):.1f} | {recall.mean():.4f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--vectors", type=Path, help="embedded sentences from an earlier run, read or written")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    if options.vectors and options.vectors.exists():
        sentences = np.load(options.vectors)
    else:
        sentences = sentence_vectors(options.sentences)
        if options.vectors:
            np.save(options.vectors, sentences)
    questions = np.ascontiguousarray(sentences[::20])
    vectors = collection(np.delete(sentences, np.s_[::20], axis=0), options.count)
    count = len(vectors)
    metadata = [{"groups": ("half",) * (row % 2) + ("tenth",) * (row % 10 == 0)} for row in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        store = FaissStore(vectors.shape[1], Path(folder), StoreConfig())
        adding, _ = timed(lambda: store.add(np.arange(count), vectors, metadata))
        saving, _ = timed(store.save)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        loading, _ = timed(lambda: FaissStore(vectors.shape[1], Path(folder)).close())
    print(f"{count} x {vectors.shape[1]}, {len(questions)} questions, {platform.machine()}, faiss {faiss.__version__}")
    print("| search, k = 10, one thread | flat p50 / p99 ms | store p50 / p99 ms | ratio | recall@10 |")
    print("|---|---|---|---|---|")
    compare("all", vectors, store, questions, (), np.arange(count))
    for name, step, first in (("half", 2, 1), ("tenth", 10, 0)):
        where = (Condition(field="groups", any_of=(name,)),)
        compare(f"one group, a {name}", vectors, store, questions, where, np.arange(first, count, step))
    removing, _ = timed(lambda: store.remove(np.arange(0, count, 100)))
    print(
        f"add {adding:.0f} ms, save {saving:.0f} ms ({size / 1e6:.0f} MB), load {loading:.0f} ms, remove every 100th "
        f"{removing:.0f} ms"
    )


if __name__ == "__main__":
    main()
