"""What a question's retrieved passages offer: their sentences with vectors, features and scores, computed once."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag_qa.document_processor.sentences import sentence_spans
from rag_qa.generation.linear_ranking import LinearRanker
from rag_qa.generation.sentence_ranker import Question, Sentence, sentence_features
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import Encoder, FloatArray
from rag_qa.types import Retrieved

_CACHED_PASSAGES = 512
_LONGEST_SENTENCE = 1500
"""Characters: a line of a table or of minified code is cut into pieces of this length."""
_NO_STATEMENT = ("#", ">>>", "...", "```")
"""How headings and examples of code begin: they are read with their passage, and answer nothing by themselves."""


@dataclass(frozen=True)
class Evidence:
    """A question and what was found for it; sentences best first."""

    question: Question
    retrieved: tuple[Retrieved, ...]
    sentences: tuple[Sentence, ...]
    scores: tuple[float, ...]
    """Of the sentences, by the sentence ranker."""

    features: tuple[dict[str, float], ...]
    """Of the sentences."""

    passage_cosines: FloatArray
    """(n_passages,), in the order of `retrieved`."""

    statistics: TermStatistics


class EvidenceReader:
    """Reads retrieved passages for a question. Vectors of the sentences of recent passages are kept in memory."""

    def __init__(self, encoder: Encoder, ranker: LinearRanker, statistics: TermStatistics | None = None) -> None:
        """Args:
        encoder: gives the vectors of question and sentences.
        ranker: weights of the sentence features.
        statistics: of the whole corpus; None takes those of the retrieved sentences, which know less.
        """
        self.encoder, self.statistics = encoder, statistics
        self._ranker = ranker
        self._kept: OrderedDict[str, tuple[list[tuple[int, int]], FloatArray, FloatArray]] = OrderedDict()

    def read(self, question: str, retrieved: Sequence[Retrieved]) -> Evidence:
        """Rank the sentences of the passages."""
        asked = Question.of(question)
        parts = [self._passage(item.chunk.text, item.chunk.headings) for item in retrieved]
        query = self.encoder.encode([question])[0]
        sentences = [
            Sentence(item.chunk.text[start:end], p, start, end)
            for p, (item, (spans, _, _)) in enumerate(zip(retrieved, parts, strict=True))
            for start, end in spans
        ]
        vectors = [part[1] for part in parts if len(part[1])]
        cosines = np.concatenate(vectors) @ query if vectors else np.zeros(0, dtype=np.float32)
        passage_cosines = np.array([part[2] @ query for part in parts], dtype=np.float32)
        statistics = self.statistics or TermStatistics.of(sentence.text for sentence in sentences)
        features = sentence_features(asked, sentences, cosines, passage_cosines, statistics)
        scores = [self._ranker.score(row) for row in features]
        order = sorted(range(len(sentences)), key=lambda i: -scores[i])
        return Evidence(
            question=asked,
            retrieved=tuple(retrieved),
            sentences=tuple(sentences[i] for i in order),
            scores=tuple(scores[i] for i in order),
            features=tuple(features[i] for i in order),
            passage_cosines=passage_cosines,
            statistics=statistics,
        )

    def _passage(self, text: str, headings: tuple[str, ...]) -> tuple[list[tuple[int, int]], FloatArray, FloatArray]:
        """Sentences of a passage, its headings left out, their vectors (n, D) and the vector of the whole, (D,)."""
        if text not in self._kept:
            sentences = ((a, b) for a, b in sentence_spans(text) if text[a:b] not in headings)
            spans = [
                piece for a, b in sentences if not text.startswith(_NO_STATEMENT, a) for piece in _pieces(text, a, b)
            ]
            vectors = self.encoder.encode([text, *(text[start:end] for start, end in spans)])
            self._kept[text] = (spans, vectors[1:], vectors[0])
        self._kept.move_to_end(text)
        while len(self._kept) > _CACHED_PASSAGES:
            self._kept.popitem(last=False)
        return self._kept[text]


def _pieces(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """A sentence, or its pieces where it is too long to be one; blanks are no sentence."""
    cuts = [(a, min(a + _LONGEST_SENTENCE, end)) for a in range(start, end, _LONGEST_SENTENCE)]
    return [(a, b) for a, b in cuts if text[a:b].strip()]
