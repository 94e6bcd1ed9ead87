"""SQuAD-format questions with passages retrieved by a plain hybrid: what the answer benchmarks and the fit stand on.

Passages are whole paragraphs; BM25 and MiniLM are fused by reciprocal rank (Cormack, Clarke & Büttcher 2009, k = 60).
Chinese passages are ranked by BM25 alone, for MiniLM is an English model.
"""

import hashlib
import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _data import public_data

from rag_qa.document_processor.sentences import sentence_spans
from rag_qa.generation.evidence import Evidence, EvidenceReader
from rag_qa.generation.linear_ranking import LinearRanker
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.generation.words import terms
from rag_qa.protocols import FloatArray
from rag_qa.types import Chunk, Retrieved

FILES = {
    "xquad-en": "xquad/xquad.en.json",
    "xquad-zh": "xquad/xquad.zh.json",
    "cmrc-trial": "cmrc2018/cmrc2018_trial.json",
    "cmrc-dev": "cmrc2018/cmrc2018_dev.json",
}


class MiniLM:
    """The offline encoder, its vectors kept in a folder between runs."""

    name = fingerprint = "all-MiniLM-L6-v2"
    dimension, max_tokens = 384, 254

    def __init__(self, cache: Path) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        self._cache = cache
        self._known: dict[str, FloatArray] = {}
        self._model = None

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """(N, 384); texts that were not prepared are encoded at once."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if new:
            for text, vector in zip(new, self._encoded(new), strict=True):
                self._known[text] = vector
        return np.array([self._known[text] for text in texts], dtype=np.float32).reshape(len(texts), self.dimension)

    def prepare(self, name: str, texts: Sequence[str]) -> None:
        """Encode many texts, or read their vectors from the folder."""
        texts = sorted(set(texts))
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
        path = self._cache / f"{name}-{digest}.npy"
        vectors = np.load(path) if path.exists() else self._encoded(texts)
        if not path.exists():
            np.save(path, vectors)
        self._known.update(zip(texts, vectors, strict=True))

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Words, roughly."""
        return [match.span() for match in re.finditer(r"\w+", text)]

    def _encoded(self, texts: Sequence[str]) -> FloatArray:
        if self._model is None:
            from sentence_transformers import SentenceTransformer

            from roadmap_shared.offline.encoder import minilm_folder

            self._model = SentenceTransformer(str(minilm_folder()), device="cpu")
        return self._model.encode(list(texts), batch_size=32, normalize_embeddings=True, show_progress_bar=False)


@dataclass(frozen=True)
class Asked:
    """A question of a file."""

    id: str
    text: str
    answers: tuple[str, ...]
    passage: int
    article: int


class QuestionFile:
    """A SQuAD-format file with a search over its paragraphs."""

    def __init__(self, name: str, encoder: MiniLM) -> None:
        self.name, self.encoder = name, encoder
        content = json.loads(public_data(*Path(FILES[name]).parts).read_text(encoding="utf-8"))
        passages: list[str] = []
        self.questions: list[Asked] = []
        for article, part in enumerate(content["data"]):
            for paragraph in part["paragraphs"]:
                passages.append(paragraph["context"])
                for row in paragraph["qas"]:
                    answers = tuple(dict.fromkeys(answer["text"] for answer in row["answers"]))
                    self.questions.append(Asked(str(row["id"]), row["question"], answers, len(passages) - 1, article))
        self.chinese = name in ("xquad-zh", "cmrc-trial", "cmrc-dev")
        self.statistics = TermStatistics.of(passages)
        self.chunks = [
            Chunk(source=f"{name}/{i}", start=0, end=len(text), text=text, page=1, id=i)
            for i, text in enumerate(passages)
        ]
        sentences = [text[a:b] for text in passages for a, b in sentence_spans(text)]
        encoder.prepare(name, [*passages, *sentences, *(asked.text for asked in self.questions)])
        self._vectors = encoder.encode(passages)
        self._postings: dict[str, list[tuple[int, float]]] = {}
        for i, text in enumerate(passages):
            found = terms(text)
            norm = 1.2 * (0.25 + 0.75 * len(found) / self.statistics.mean_length)
            for term, n in Counter(found).items():
                self._postings.setdefault(term, []).append((i, n * 2.2 / (n + norm)))

    def scores(self, question: str) -> tuple[FloatArray, FloatArray]:
        """BM25 and cosine of each passage."""
        bm25 = np.zeros(len(self.chunks), dtype=np.float32)
        for term in set(terms(question)):
            for i, weight in self._postings.get(term, ()):
                bm25[i] += self.statistics.idf(term) * weight
        return bm25, self._vectors @ self.encoder.encode([question])[0]

    def search(self, question: str, k: int = 5, without: int | None = None) -> list[Retrieved]:
        """The best passages; `without` one, as if it had never been indexed."""
        bm25, cosine = self.scores(question)
        fused = 1 / (61 + _ranks(bm25)) + (0 if self.chinese else 1 / (61 + _ranks(cosine)))
        if without is not None:
            fused[without] = -1
        return [Retrieved(chunk=self.chunks[i], score=float(fused[i])) for i in np.argsort(-fused, kind="stable")[:k]]

    def reader(self, ranker: LinearRanker) -> EvidenceReader:
        """A reader that knows the file's term statistics."""
        return EvidenceReader(self.encoder, ranker, self.statistics)

    def evidence(self, reader: EvidenceReader, asked: Asked, *, gold: bool = True) -> Evidence:
        """Evidence for a question, with or without its own paragraph in the index."""
        return reader.read(asked.text, self.search(asked.text, without=None if gold else asked.passage))

    def held(self, asked: Asked) -> bool:
        """Every question counts as answerable: its paragraph is among the first five for 98 of 100."""
        return True

    def gains(self, evidence: Evidence, asked: Asked) -> list[float]:
        """1 for each sentence that holds an accepted answer."""
        return [float(any(answer in sentence.text for answer in asked.answers)) for sentence in evidence.sentences]


def squad_words(text: str, *, chinese: bool) -> list[str]:
    """SQuAD's normalisation: lower case, no punctuation, no articles; characters of Chinese, as CMRC counts."""
    drop = set(string.punctuation + "，。、《》“”‘’（）：；！？「」『』")
    kept = "".join(sign for sign in text.lower() if sign not in drop)
    return list(re.sub(r"\s", "", kept)) if chinese else re.sub(r"\b(a|an|the)\b", " ", kept).split()


def squad_f1(guess: str, answers: Sequence[str], *, chinese: bool) -> float:
    """Best F1 against the answers (Rajpurkar et al. 2016, §6.1)."""
    found = Counter(squad_words(guess, chinese=chinese))
    best = 0.0
    for answer in answers:
        gold = Counter(squad_words(answer, chinese=chinese))
        common = sum((found & gold).values())
        best = max(best, 2 * common / (sum(found.values()) + sum(gold.values())) if common else 0.0)
    return best


def _ranks(scores: FloatArray) -> FloatArray:
    ranks = np.empty(len(scores), dtype=np.float32)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranks
