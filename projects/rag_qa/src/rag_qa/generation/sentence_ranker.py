"""Which sentence of the retrieved passages answers: features of a sentence, and a linear model over them.

The features are those of passage retrieval on a small scale (term overlap weighted by rarity, cosine similarity), the
retrieval's own opinion of the passage, and whether the sentence holds the kind of thing that is asked for. The model is
a conditional logit over all sentences of one question (McFadden 1974), `linear_ranking.fit`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag_qa.generation.question_type import QuestionType, question_type
from rag_qa.generation.span_types import has_type
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.generation.words import terms
from rag_qa.protocols import FloatArray


@dataclass(frozen=True)
class Sentence:
    """One sentence of a retrieved passage."""

    text: str
    passage: int
    """Index into the retrieved list."""

    start: int
    """Offset within the passage's text."""

    end: int


@dataclass(frozen=True)
class Question:
    """A question and what is derived from it once."""

    text: str
    terms: tuple[str, ...]
    """In order, with repetitions."""

    type: QuestionType

    @classmethod
    def of(cls, text: str) -> "Question":
        """Analyse a question."""
        return cls(text, tuple(terms(text)), question_type(text))


def sentence_features(
    question: Question,
    sentences: Sequence[Sentence],
    cosines: FloatArray,
    passage_cosines: FloatArray,
    statistics: TermStatistics,
) -> list[dict[str, float]]:
    """Features of each sentence, by name.

    Args:
        question: what is asked.
        sentences: all sentences of the retrieved passages, in the order of the passages.
        cosines: (n_sentences,) similarity of sentence and question.
        passage_cosines: (n_passages,) similarity of passage and question.
        statistics: rarity of terms.
    """
    words = [terms(sentence.text) for sentence in sentences]
    sets = [set(of_sentence) for of_sentence in words]
    passages = [[i for i, s in enumerate(sentences) if s.passage == p] for p in range(len(passage_cosines))]
    coverage = [statistics.coverage(question.terms, found) for found in sets]
    of_passage = [statistics.coverage(question.terms, set().union(*(sets[i] for i in own))) for own in passages]
    best_coverage = [max((coverage[i] for i in own), default=0.0) for own in passages]
    best_cosine = [max((float(cosines[i]) for i in own), default=0.0) for own in passages]
    mean_length = float(np.mean([len(of_sentence) for of_sentence in words])) if words else 1.0
    pairs = set(zip(question.terms, question.terms[1:], strict=False))
    rarest = max(question.terms, key=statistics.idf, default="")
    rows = []
    for i, sentence in enumerate(sentences):
        p, cosine = sentence.passage, float(cosines[i])
        near = [j for j in (i - 1, i + 1) if 0 <= j < len(sentences) and sentences[j].passage == p]
        # What the sentence leaves open and the one before says, such as the subject behind a pronoun.
        before = statistics.coverage(question.terms, sets[i - 1] - sets[i]) if i - 1 in near else 0.0
        type_found = float(has_type(sentence.text, question.type))
        rows.append(
            {
                "coverage": coverage[i],
                "bm25": statistics.bm25(question.terms, words[i], b=0.5, mean_length=mean_length),
                "cosine": cosine,
                "product": cosine * coverage[i],
                "passage_cosine": float(passage_cosines[p]),
                "passage_coverage": of_passage[p],
                "share_of_passage": coverage[i] / (of_passage[p] + 0.1),
                "best_coverage_of_passage": float(coverage[i] == best_coverage[p]),
                "best_cosine_of_passage": float(cosine == best_cosine[p]),
                "cosine_of_passage": best_cosine[p],
                "first_passage": float(p == 0),
                "reciprocal_rank": 1 / (p + 1),
                "coverage_from_before": before,
                "coverage_with_before": coverage[i] + before,
                "cosine_of_neighbours": max((float(cosines[j]) for j in near), default=0.0),
                "pairs": len(pairs & set(zip(words[i], words[i][1:], strict=False))) / max(1, len(pairs)),
                "rarest_term": float(rarest in sets[i]),
                "head": float(bool(question.type.head) and question.type.head <= sets[i]),
                "type_found": type_found,
                "type_and_cosine": type_found * cosine,
                "log_length": float(np.log1p(len(words[i]))),
                "few_new_terms": float(len(sets[i] - set(question.terms)) < 3),
                "first_of_passage": float(sentence.start == 0),
            }
        )
    return rows
