"""From a question to its passages, and to its cited answer, in an index of 100,000 chunks on the disk.

    python benchmarks/question_latency.py [--chunks 100000] [--folder FOLDER]

The chunks are real in what costs time: each is one document of four sentences of the Python reference, drawn with
replacement, so that words have their natural frequencies, and lies in SQLite, in the vector store and in the word
index. Its vector is the mean of its sentences' vectors, which spares embedding each chunk. The questions are the
answerable ones of the built-in question set. Everything is asked through `rag_qa.assistant.Assistant`, as the command
line and the API do, the question's own embedding included.

Printed: seconds to open the index; p50 and p99 of search and of search with answer; recall@10 of the store's vectors
against a flat scan; and the flat scan alone, in turn with ours. `--folder` keeps the index for the next time.
"""

import argparse
import hashlib
import random
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import faiss
import numpy as np

from rag_qa.assistant import Assistant
from rag_qa.config import ChunkingConfig, EncoderConfig
from rag_qa.corpus.built_in import built_in_documents
from rag_qa.corpus.questions import load_questions
from rag_qa.document_processor import ingestion
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.index_files import database_path
from rag_qa.document_processor.vector_store import FaissStore
from rag_qa.protocols import Encoder, FloatArray
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.types import Document, Page
from roadmap_shared.offline.text import python_reference

SENTENCES = 4
"""In a chunk: about 100 tokens of the encoder."""

LONGEST = 60
"""Tokens of a sentence at most, so that four always fit into one chunk."""


class MeanOfSentences:
    """An encoder of questions, which embeds a passage as the mean of its lines, each embedded once."""

    def __init__(self, encoder: Encoder, lines: Sequence[str]) -> None:
        self._encoder = encoder
        self._vectors = dict(zip(lines, encoder.encode(lines), strict=True))
        self.encode_queries, self.token_spans = encoder.encode_queries, encoder.token_spans
        self.name, self.fingerprint = encoder.name, encoder.fingerprint
        self.dimension, self.max_tokens = encoder.dimension, encoder.max_tokens

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """(N, D) unit vectors."""
        means = np.stack([np.mean([self._vectors[line] for line in text.split("\n")], axis=0) for text in texts])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def reference_sentences(encoder: Encoder) -> list[str]:
    """Different sentences of 30 characters and more, each one line."""
    pieces = (" ".join(piece.split()) for piece in re.split(r"(?<=[.!?])\s+|\n\n+", python_reference().text))
    return [p for p in dict.fromkeys(pieces) if len(p) > 30 and len(encoder.token_spans(p)) <= LONGEST]


def drawn_documents(sentences: Sequence[str], count: int) -> Iterator[Document]:
    """Documents of one chunk each, the same for every run."""
    chance = random.Random(0)
    for number in range(count):
        text = "\n".join(chance.sample(sentences, SENTENCES))
        yield Document(
            source=f"drawn/{number:06}.txt",
            title=f"drawn {number}",
            text=text,
            pages=(Page(number=1, start=0, end=len(text)),),
            content_hash=hashlib.sha256(text.encode()).hexdigest(),
        )


def make_index(folder: Path, count: int, sentences_at_most: int | None) -> None:
    """An index of `count` chunks on the disk."""
    encoder = build_encoder()
    sentences = reference_sentences(encoder)[:sentences_at_most]
    means = MeanOfSentences(encoder, sentences)
    whole = ChunkingConfig(splitter="recursive", size=encoder.max_tokens, overlap=0)
    with Index.create(folder, means, whole) as index:  # type: ignore[arg-type]
        documents = list(drawn_documents(sentences, count))
        ingestion.add_documents(index, documents)


def timed(call: object, *arguments: object) -> tuple[float, object]:
    """Milliseconds and result."""
    begun = time.perf_counter()
    result = call(*arguments)  # type: ignore[operator]
    return 1000 * (time.perf_counter() - begun), result


def quantiles(milliseconds: Sequence[float]) -> str:
    return f"{np.median(milliseconds):8.1f}{np.percentile(milliseconds, 99):8.1f}"


def main() -> None:
    """Make the index where it is not there yet, ask, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--sentences", type=int, default=None, help="first sentences only, to draw from")
    parser.add_argument("--questions", type=int, default=None, help="first questions only")
    parser.add_argument("--folder", type=Path, help="index from an earlier run, read or written")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "index"
        if not database_path(folder).exists():
            make_index(folder, options.chunks, options.sentences)
        measure(folder, options.questions)


def measure(folder: Path, limit: int | None = None) -> None:
    """Print the table for an index and the first questions."""
    opening, assistant = timed(lambda: Assistant.open(folder, encoder=EncoderConfig()))
    assert isinstance(assistant, Assistant)
    assert isinstance(assistant.index.store, FaissStore)
    index, store = assistant.index, assistant.index.store
    vectors = store.vectors(ids := store.ids())
    flat = faiss.IndexFlatIP(index.dimension)
    flat.add(vectors)
    questions = [q.text for q in load_questions(built_in_documents()).questions if q.answerable and q.text.isascii()]
    questions = questions[:limit]
    assistant.ask(questions[0])  # codes and filters are made by the first search
    searches, answers, scans, recalls = [], [], [], []
    for question in questions:
        searches.append(timed(assistant.search, question)[0])
        answers.append(timed(assistant.ask, question)[0])
        query = index.encoder.encode_queries([question])
        took, found = timed(flat.search, query, 10)
        scans.append(took)
        ours = {number for number, _ in store.search(query, 10)[0]}
        recalls.append(len(ours & {int(ids[row]) for row in found[1][0]}) / 10)  # type: ignore[index]
    print(f"{len(ids)} chunks, {len(questions)} questions; opened in {opening / 1000:.1f} s")
    print(f"{'milliseconds':28}{'p50':>8}{'p99':>8}")
    print(f"{'question to passages':28}{quantiles(searches)}")
    print(f"{'question to cited answer':28}{quantiles(answers)}")
    print(f"{'flat scan of vectors alone':28}{quantiles(scans)}")
    print(f"recall@10 of the flat scan's ten: {np.mean(recalls):.4f}")


if __name__ == "__main__":
    main()
