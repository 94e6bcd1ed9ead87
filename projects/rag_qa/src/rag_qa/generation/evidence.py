"""What a question's retrieved passages offer: their sentences with vectors, features and scores, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rag_qa.generation.linear_ranking import LinearRanker
from rag_qa.generation.passage_sentences import PassageSentences, memory_of
from rag_qa.generation.sentence_features import Similarities, sentence_features
from rag_qa.generation.sentence_ranker import Question, Sentence
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import Encoder, FloatArray
from rag_qa.retrieval.dense_retrieval import encode_query
from rag_qa.types import Retrieved


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

    def ranked_by(self, ranker: LinearRanker) -> "Evidence":
        """The same with the sentences in another order."""
        scores = [ranker.score(row) for row in self.features]
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        return replace(
            self,
            sentences=tuple(self.sentences[i] for i in order),
            scores=tuple(scores[i] for i in order),
            features=tuple(self.features[i] for i in order),
        )


class EvidenceReader:
    """Reads retrieved passages for a question."""

    def __init__(self, encoder: Encoder, ranker: LinearRanker, statistics: TermStatistics | None = None) -> None:
        """Args:
        encoder: gives the vectors of question and sentences.
        ranker: weights of the sentence features.
        statistics: of the whole corpus; None takes those of the retrieved sentences, which know less.
        """
        self.encoder, self.statistics = encoder, statistics
        self._ranker = ranker
        self._memory = memory_of(encoder)

    def read(self, question: str, retrieved: Sequence[Retrieved]) -> Evidence:
        """Rank the sentences of the passages."""
        asked = Question.of(question)
        parts = [self._memory.read(self.encoder, item.chunk.text, item.chunk.headings) for item in retrieved]
        query = encode_query(self.encoder, question)
        sentences, similarities = _joined(retrieved, parts, query, self._cosines(retrieved, query))
        statistics = self.statistics or TermStatistics.of(sentence.text for sentence in sentences)
        unranked = Evidence(
            question=asked,
            retrieved=tuple(retrieved),
            sentences=tuple(sentences),
            scores=(0.0,) * len(sentences),
            features=tuple(sentence_features(asked, sentences, similarities, statistics)),
            passage_cosines=similarities.passages,
            statistics=statistics,
        )
        return unranked.ranked_by(self._ranker)

    def _cosines(self, retrieved: Sequence[Retrieved], query: FloatArray) -> FloatArray:
        """(n_passages,): what the search by meaning has found, and computed for passages that words alone found."""
        missing = [i for i, item in enumerate(retrieved) if "dense" not in item.scores]
        cosines = np.array([item.scores.get("dense", 0.0) for item in retrieved], dtype=np.float32)
        if missing:
            cosines[missing] = self.encoder.encode([retrieved[i].chunk.text for i in missing]) @ query
        return cosines


def _joined(
    retrieved: Sequence[Retrieved], parts: Sequence[PassageSentences], query: FloatArray, passages: FloatArray
) -> tuple[list[Sentence], Similarities]:
    """The sentences of all passages, each once, and their similarities."""
    sentences: list[Sentence] = []
    rows: list[FloatArray] = []
    taken: dict[str, list[tuple[int, int]]] = {}
    places = _places(retrieved, parts)
    for p, (item, part) in enumerate(zip(retrieved, parts, strict=True)):
        cosines = part.cosines(query)  # (3, n_statements)
        for i, (statement, place) in enumerate(zip(part.statements, places[p], strict=True)):
            if _is_part(place, taken.setdefault(item.chunk.source, []), places, retrieved, p):
                continue
            taken[item.chunk.source].append(place)
            text = item.chunk.text[statement.start : statement.end]
            sentences.append(Sentence(text, p, statement.start, statement.end, statement.heading))
            rows.append(cosines[:, i])
    own, before, after = np.array(rows, dtype=np.float32).reshape(len(rows), 3).T
    return sentences, Similarities(own, before, after, passages)


def _places(retrieved: Sequence[Retrieved], parts: Sequence[PassageSentences]) -> list[list[tuple[int, int]]]:
    """Offsets of each passage's statements in its document."""
    return [
        [(item.chunk.start + statement.start, item.chunk.start + statement.end) for statement in part.statements]
        for item, part in zip(retrieved, parts, strict=True)
    ]


def _is_part(
    place: tuple[int, int],
    taken: Sequence[tuple[int, int]],
    places: Sequence[Sequence[tuple[int, int]]],
    retrieved: Sequence[Retrieved],
    own: int,
) -> bool:
    """Whether another passage holds the same sentence, or the whole of it: overlapping chunks cut sentences apart."""
    start, end = place
    if place in taken:
        return True
    return any(
        a <= start and end <= b and (a, b) != place
        for p, of_passage in enumerate(places)
        if p != own and retrieved[p].chunk.source == retrieved[own].chunk.source
        for a, b in of_passage
    )
