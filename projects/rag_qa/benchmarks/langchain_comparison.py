"""nDCG@10 and questions a second beside LangChain's usual hybrid search, on the same passages in the same run.

    python benchmarks/langchain_comparison.py FILE [--limit N] [--int8]

FILE is in SQuAD's format, such as xquad.en.json. LangChain's side is what its documentation builds: `FAISS` over
sentence embeddings and `BM25Retriever` with their defaults, joined by an `EnsembleRetriever` with equal weights. Where
langchain-community, langchain-classic and rank_bm25 are installed they are used; otherwise `langchain_peer.py` does the
same steps on langchain-core's classes. The first line of the output says which it was.

Both sides search the same passages with the same weights of the same encoder. The two take turns on each question, and
the time is that of the CPU, so that other work on the machine hits both. `search alone` leaves the encoding of the
question out: both are given its vector. Rankings of passages become rankings of documents by their best passage.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from langchain_peer import ensemble
from sentence_transformers import SentenceTransformer

from rag_qa.config import EncoderConfig, RetrievalConfig
from rag_qa.document_processor import ingestion
from rag_qa.document_processor.index import Index
from rag_qa.evaluation.comparison import compare
from rag_qa.evaluation.evaluation_set import EvaluationQuestion, document_ranking
from rag_qa.evaluation.retrieval_metrics import ndcg_at_k
from rag_qa.evaluation.squad import load_squad
from rag_qa.protocols import Encoder, FloatArray
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.retrieval.hybrid import HybridRetriever
from rag_qa.types import Chunk
from roadmap_shared.offline.encoder import minilm_folder

PASSAGES = 20
"""Passages of each search: enough for ten documents."""

Search = Callable[[str], list[str]]
"""A question to documents, best first."""


class Given:
    """An encoder that is given the vectors of all questions beforehand."""

    def __init__(self, encoder: Encoder, vectors: dict[str, FloatArray]) -> None:
        self._encoder, self._vectors = encoder, vectors

    def __getattr__(self, name: str) -> object:
        return getattr(self._encoder, name)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        return np.stack([self._vectors[text] for text in texts])

    encode_queries = encode

    def unknown_share(self, text: str) -> float:
        return self._encoder.unknown_share(text)  # type: ignore[attr-defined]


def ours(index: Index, encoder: Encoder | None = None) -> Search:
    """The default hybrid search."""
    retriever = HybridRetriever(
        index.chunks, index.store, index.sparse, encoder or index.encoder, RetrievalConfig(k=PASSAGES),
        getattr(index, "mask", None),
    )  # fmt: skip
    return lambda question: document_ranking(item.chunk for item in retriever.search(question))[:10]


def langchains(chunks: Sequence[Chunk], embed: Callable[[list[str]], FloatArray]) -> Search:
    """LangChain's ensemble over the same passages."""
    retriever = ensemble([chunk.text for chunk in chunks], [chunk.source for chunk in chunks], embed, PASSAGES)

    def search(question: str) -> list[str]:
        return list(dict.fromkeys(found.metadata["source"] for found in retriever.invoke(question)))[:10]

    return search


def measure(
    systems: dict[str, Search], questions: Sequence[EvaluationQuestion]
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """nDCG@10 of each question, and CPU seconds of all, by system; who begins changes from question to question."""
    scores: dict[str, dict[str, float]] = {name: {} for name in systems}
    seconds = dict.fromkeys(systems, 0.0)
    names = list(systems)
    for search in systems.values():
        search(questions[0].text)  # what is set up by the first question
    for number, question in enumerate(questions):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            begun = time.process_time()
            ranking = systems[name](question.text)
            seconds[name] += time.process_time() - begun
            scores[name][question.id] = ndcg_at_k(ranking, question.relevant, 10)
    return scores, seconds


def indexed(documents: Sequence, backend: str) -> Index:
    index = Index.create(None, build_encoder(EncoderConfig(backend=backend)))  # type: ignore[arg-type]
    ingestion.add_documents(index, documents)
    return index


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("--limit", type=int, default=None, help="first questions only")
    parser.add_argument("--int8", action="store_true", help="measure ours with the int8 encoder as well")
    given = parser.parse_args()
    data = load_squad(given.file).first(given.limit)
    questions = [question for question in data.questions if question.relevant]
    index = indexed(data.documents, "torch")
    chunks = index.all_chunks()
    model = SentenceTransformer(str(minilm_folder()), device="cpu")

    def embed(texts: list[str]) -> FloatArray:
        return np.asarray(model.encode(texts, show_progress_bar=False))

    texts = [question.text for question in questions]
    systems = {"langchain": langchains(chunks, embed), "rag_qa": ours(index)}
    if given.int8:
        systems["rag_qa int8"] = ours(indexed(data.documents, "onnx_int8"))
    scores, seconds = measure(systems, questions)
    known = dict(zip(texts, embed(texts), strict=True))
    stored = {**known, **dict(zip((chunk.text for chunk in chunks), embed([c.text for c in chunks]), strict=True))}
    alone = {
        "langchain": langchains(chunks, lambda wanted: np.stack([stored[text] for text in wanted])),
        "rag_qa": ours(index, Given(index.encoder, known)),  # type: ignore[arg-type]
    }
    _, alone_seconds = measure(alone, questions)
    print(f"{len(questions)} questions, {len(data.documents)} documents, {len(chunks)} passages")
    print(f"{'system':14}{'nDCG@10':>9}{'questions/CPU-s':>17}{'search alone':>14}")
    for name in systems:
        rate = len(questions) / alone_seconds[name] if name in alone_seconds else float("nan")
        mean = float(np.mean(list(scores[name].values())))
        print(f"{name:14}{mean:9.4f}{len(questions) / seconds[name]:17.1f}{rate:14.1f}")
    for name in list(systems)[1:]:
        print(f"langchain -> {name}: {compare('nDCG@10', scores['langchain'], scores[name]).line()}")
        print(f"  {seconds['langchain'] / seconds[name]:.2f} times as many questions a CPU-second")
    print(f"  search alone: {alone_seconds['langchain'] / alone_seconds['rag_qa']:.2f} times as many")


if __name__ == "__main__":
    main()
