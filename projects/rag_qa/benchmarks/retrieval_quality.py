"""nDCG@10 and recall@5 of words, vectors and both, on collections in English and Chinese, in one run.

    ROADMAP_DATA=FOLDER python benchmarks/retrieval_quality.py [xquad-en xquad-zh cmrc cranfield]

Each paragraph is one passage, as it is; a question's own paragraph is the relevant one. Cranfield: 1,400 abstracts with
graded judgements taken as yes or no. The baselines are bm25s as it comes, over words without its stop words, and over
pairs of characters for Chinese. Nothing is tuned on XQuAD or CMRC2018; of Cranfield the odd questions chose between
round values of the fusion's weight, so its even questions are shown as well. Intervals are 95 % bootstrap intervals
over questions, differences are paired.
"""

import argparse
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import bm25s
import numpy as np
from _data import public_data

from rag_qa.config.encoder import EncoderConfig
from rag_qa.config.retrieval import RetrievalConfig
from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.vector_store import build_store
from rag_qa.evaluation.retrieval_metrics import ndcg_at_k, recall_at_k
from rag_qa.retrieval.embedding_cache import CachedEncoder
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.retrieval.hybrid import HybridRetriever
from rag_qa.retrieval.row_filter import chunk_metadata
from rag_qa.retrieval.sparse_retrieval import SparseIndex
from rag_qa.types import Chunk
from roadmap_shared.metrics.statistics import bootstrap_interval, paired_bootstrap

K = 10


@dataclass(frozen=True)
class Collection:
    """Passages, questions, and for each question the positions of its relevant passages."""

    name: str
    passages: list[str]
    questions: list[str]
    relevant: list[frozenset[int]]


def squad(name: str, path: Path) -> Collection:
    """A file in SQuAD's format; a paragraph that occurs twice is one passage."""
    data = json.loads(path.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
    position: dict[str, int] = {}
    questions: list[str] = []
    relevant: list[frozenset[int]] = []
    for paragraph in paragraphs:
        number = position.setdefault(paragraph["context"], len(position))
        for question in paragraph["qas"]:
            questions.append(question["question"])
            relevant.append(frozenset({number}))
    return Collection(name, list(position), questions, relevant)


def cranfield(folder: Path) -> Collection:
    """Abstracts of Cranfield; its judgements count questions from 1 in the order of their file."""
    text = (folder / "cran.all.1400").read_text(encoding="utf-8", errors="replace")
    passages = [" ".join(part.split("\n.W\n")[-1].split()) for part in re.split(r"(?m)^\.I \d+\s*$", text)[1:]]
    asked = (folder / "cran.qry").read_text(encoding="utf-8", errors="replace")
    questions = [" ".join(part.split("\n.W\n")[-1].split()) for part in re.split(r"(?m)^\.I \d+\s*$", asked)[1:]]
    passages_of: list[set[int]] = [set() for _ in questions]
    for line in (folder / "cranqrel").read_text(encoding="utf-8").splitlines():
        question, passage, grade = (int(field) for field in line.split()[:3])
        if grade > 0:
            passages_of[question - 1].add(passage - 1)
    return Collection("cranfield", passages, questions, [frozenset(found) for found in passages_of])


def judged(relevant: frozenset[int]) -> dict[str, int]:
    """Relevant passages as the metrics take them."""
    return {str(passage): 1 for passage in relevant}


def plain_bm25(collection: Collection) -> list[list[int]]:
    """bm25s by itself: words without stop words, or pairs of Chinese characters."""
    if re.search("[一-鿿]", collection.passages[0]):
        pairs = [_pairs(text) for text in collection.passages]
        asked = [_pairs(text) for text in collection.questions]
    else:
        pairs = bm25s.tokenize(collection.passages, stopwords="en", return_ids=False, show_progress=False)
        asked = bm25s.tokenize(collection.questions, stopwords="en", return_ids=False, show_progress=False)
    model = bm25s.BM25()
    model.index(pairs, show_progress=False)
    most = min(K, len(collection.passages))
    found, scores = model.retrieve(asked, k=most, show_progress=False, backend_selection="numpy")
    return [[int(one) for one, score in zip(*row, strict=True) if score > 0] for row in zip(found, scores, strict=True)]


def _pairs(text: str) -> list[str]:
    text = "".join(character for character in text.lower() if character.isalnum())
    return [text[start : start + 2] for start in range(len(text) - 1)]


def measure(collection: Collection, encoder: CachedEncoder) -> dict[str, list[list[int]]]:
    """Rankings of every method."""
    chunks = [
        Chunk(source=str(number), start=0, end=len(text), text=text, page=1, id=number)
        for number, text in enumerate(collection.passages)
    ]
    store = build_store(StoreConfig(), None, encoder.dimension)
    store.add(np.arange(len(chunks)), encoder.encode(collection.passages), [chunk_metadata(chunk) for chunk in chunks])
    sparse = SparseIndex.build(range(len(chunks)), collection.passages)
    rankings = {"bm25s as it comes": plain_bm25(collection)}
    modes: tuple[Literal["sparse", "dense", "hybrid"], ...] = ("sparse", "dense", "hybrid")
    configs = {mode: RetrievalConfig(mode=mode) for mode in modes}
    configs["hybrid, rrf"] = RetrievalConfig(fusion="rrf")
    for name, config in configs.items():
        retriever = HybridRetriever(lambda ids: [chunks[one] for one in ids], store, sparse, encoder, config)
        rankings[name] = [[one.chunk.id for one in retriever.search(asked, K)] for asked in collection.questions]
    return rankings


def table(collection: Collection, rankings: Mapping[str, list[list[int]]], rows: Sequence[int], title: str) -> None:
    """Print the figures of some questions."""
    print(f"\n{title}: {len(collection.passages)} passages, {len(rows)} questions")
    kept = [i for i in rows if collection.relevant[i]]
    gains = {
        name: [ndcg_at_k(list(map(str, found[i])), judged(collection.relevant[i]), K) for i in kept]
        for name, found in rankings.items()
    }
    for name, found in rankings.items():
        interval = bootstrap_interval(gains[name])
        share = bootstrap_interval(
            [recall_at_k(list(map(str, found[i])), judged(collection.relevant[i]), 5) for i in kept]
        )
        difference = paired_bootstrap(gains[name], gains["hybrid"])
        print(
            f"  {name:18} nDCG@10 {interval.estimate:.4f} [{interval.low:.4f}, {interval.high:.4f}]  "
            f"recall@5 {share.estimate:.4f} [{share.low:.4f}, {share.high:.4f}]  hybrid "
            f"{difference.difference:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]",
            flush=True,
        )


def main() -> None:
    """Measure the collections that are named."""
    parser = argparse.ArgumentParser(description="nDCG@10 and recall@5 of words, vectors and both")
    names = ("xquad-en", "xquad-zh", "cmrc", "cranfield")
    parser.add_argument("collections", nargs="*", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--backend", default="torch", choices=("torch", "onnx", "onnx_int8"))
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "retrieval_quality.sqlite")
    arguments = parser.parse_args()
    if unknown := set(arguments.collections) - set(names):
        parser.error(f"no such collection: {', '.join(sorted(unknown))}")
    encoder = CachedEncoder(build_encoder(EncoderConfig(backend=arguments.backend)), arguments.cache)
    for name in arguments.collections or names:
        collection = {
            "xquad-en": lambda: squad("xquad-en", public_data("xquad", "xquad.en.json")),
            "xquad-zh": lambda: squad("xquad-zh", public_data("xquad", "xquad.zh.json")),
            "cmrc": lambda: squad("cmrc", public_data("cmrc2018", "cmrc2018_dev.json")),
            "cranfield": lambda: cranfield(public_data("cranfield")),
        }[name]()
        rankings = measure(collection, encoder)
        table(collection, rankings, range(len(collection.questions)), collection.name)
        if name == "cranfield":
            table(collection, rankings, range(1, len(collection.questions), 2), "cranfield, even questions")


if __name__ == "__main__":
    main()
