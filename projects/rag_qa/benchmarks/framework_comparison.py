"""nDCG@10 and questions a second beside the hybrid search of LangChain and of LlamaIndex, in one process.

    pip install -c constraints.txt -e "projects/rag_qa[peers]"
    pip install --no-deps llama-index-retrievers-bm25==0.8.0
    python benchmarks/framework_comparison.py [FILE] [--limit N] [--rounds N] [--peers langchain llama_index]

FILE is in SQuAD's format, such as xquad.en.json. What the frameworks do is in `_framework_peers.py`. All sides search
the same passages with the weights of the same encoder; ours is measured with each way of running it. They take turns
on each question, and the time is that of the CPU, so that other work on the machine hits all of them; of the rounds,
the median counts. `search alone` leaves the encoding of the question out: all are given its vector. Rankings of
passages become rankings of documents by their best passage.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _data import public_data
from _framework_peers import PEERS, Search, versions

from rag_qa.config import EncoderConfig, RetrievalConfig
from rag_qa.document_processor import ingestion
from rag_qa.document_processor.index import Index
from rag_qa.evaluation.comparison import compare
from rag_qa.evaluation.evaluation_set import EvaluationQuestion, EvaluationSet, document_ranking
from rag_qa.evaluation.retrieval_metrics import ndcg_at_k
from rag_qa.evaluation.squad import load_squad
from rag_qa.protocols import Encoder, FloatArray
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.retrieval.hybrid import HybridRetriever
from roadmap_shared.errors import UserError

PASSAGES = 20
"""Passages of each search: enough for ten documents."""

BACKENDS = ("torch", "onnx", "onnx_int8")


class Given:
    """An encoder that is given the vectors of all questions beforehand."""

    def __init__(self, encoder: Encoder, vectors: Mapping[str, FloatArray]) -> None:
        self._encoder, self._vectors = encoder, vectors

    def __getattr__(self, name: str) -> object:
        return getattr(self._encoder, name)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        return np.stack([self._vectors[text] for text in texts])

    encode_queries = encode


def ours(index: Index, encoder: Encoder | None = None) -> Search:
    """The default hybrid search."""
    parts = (index.chunks, index.store, index.sparse, encoder or index.encoder)
    retriever = HybridRetriever(*parts, RetrievalConfig(k=PASSAGES))
    return lambda question: document_ranking(item.chunk for item in retriever.search(question))


def measure(
    systems: Mapping[str, Search], questions: Sequence[EvaluationQuestion], rounds: int
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """nDCG@10 of each question, and questions a CPU-second (the median of the rounds), by system.

    The systems take turns, and who begins changes from question to question.
    """
    scores: dict[str, dict[str, float]] = {name: {} for name in systems}
    seconds: dict[str, list[float]] = {name: [0.0] * rounds for name in systems}
    names = list(systems)
    for search in systems.values():
        search(questions[0].text)  # what is set up by the first question
    for lap in range(rounds):
        for number, question in enumerate(questions):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                begun = time.process_time()
                ranking = systems[name](question.text)
                seconds[name][lap] += time.process_time() - begun
                scores[name][question.id] = ndcg_at_k(ranking[:10], question.relevant, 10)
    return scores, {name: len(questions) / median(laps) for name, laps in seconds.items()}


def indexed(data: EvaluationSet, backend: str) -> Index:
    index = Index.create(None, build_encoder(EncoderConfig(backend=backend)))  # type: ignore[arg-type]
    ingestion.add_documents(index, data.documents)
    return index


def known_vectors(index: Index, questions: Sequence[EvaluationQuestion]) -> dict[str, FloatArray]:
    """Vectors of all passages and questions by their text."""
    texts = [*(chunk.text for chunk in index.all_chunks()), *(question.text for question in questions)]
    return dict(zip(texts, index.encoder.encode(texts), strict=True))


def report(data: EvaluationSet, peers: Sequence[str], rounds: int) -> None:
    """Measure and print the table.

    Raises:
        UserError: a peer is not installed.
    """
    for name in peers:
        print(f"{name}: {versions(name)}")  # before the indexing: what is missing is told at once
    questions = [question for question in data.questions if question.relevant]
    indexes = {backend: indexed(data, backend) for backend in BACKENDS}
    index = indexes["torch"]
    chunks = index.all_chunks()
    systems = {name: PEERS[name](chunks, PASSAGES) for name in peers}
    systems |= {f"rag_qa {backend}": ours(one) for backend, one in indexes.items()}
    vectors = known_vectors(index, questions)
    as_lists = {text: vector.tolist() for text, vector in vectors.items()}
    alone = {name: PEERS[name](chunks, PASSAGES, as_lists) for name in peers}
    alone["rag_qa torch"] = ours(index, Given(index.encoder, vectors))  # type: ignore[arg-type]
    scores, rates = measure(systems, questions, rounds)
    _, alone_rates = measure(alone, questions, rounds)
    print(f"{len(questions)} questions, {len(data.documents)} documents, {len(chunks)} passages, {rounds} rounds")
    print(f"{'system':18}{'nDCG@10':>9}{'questions/CPU-s':>17}{'search alone':>14}")
    for name in systems:
        mean, search_alone = float(np.mean(list(scores[name].values()))), alone_rates.get(name)
        print(f"{name:18}{mean:9.4f}{rates[name]:17.1f}{'' if search_alone is None else f'{search_alone:.1f}':>14}")
    for name in peers:
        for own in (system for system in systems if system not in peers):
            print(f"{name} -> {own}: {rates[own] / rates[name]:.2f} times the questions a CPU-second")
        print(f"  search alone: {alone_rates['rag_qa torch'] / alone_rates[name]:.2f} times")
        print(f"  {compare('nDCG@10', scores[name], scores['rag_qa onnx']).line()} (onnx)")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path, nargs="?", help="in SQuAD's format; default: XQuAD below ROADMAP_DATA")
    parser.add_argument("--limit", type=int, default=None, help="first questions only")
    parser.add_argument("--rounds", type=int, default=3, help="how often all questions are asked")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="what to compare with")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error(f"--rounds {given.rounds} must be at least 1")
    try:
        file = given.file or public_data("xquad", "xquad.en.json")
        report(load_squad(file).first(given.limit), given.peers, given.rounds)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
