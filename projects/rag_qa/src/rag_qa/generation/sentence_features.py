"""Signs that a sentence answers a question, for a linear model over them.

They are those of passage retrieval on a small scale (term overlap weighted by rarity, cosine similarity), once for the
sentence and once for what stands around it: the sentence before, which names what a pronoun means, the heading, the
passage. Besides them, the form: whether the sentence holds the kind of thing that is asked for, and whether it is a
whole statement at all.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag_qa.generation.sentence_ranker import Question, Sentence
from rag_qa.generation.span_types import gives_reason, has_type, looks_like_code
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.generation.words import terms
from rag_qa.protocols import FloatArray

_PRONOUN = re.compile(
    r"(it|its|they|their|this|that|these|those|he|she|both|such)\b|其|它|他|她|这|该|此", re.IGNORECASE
)
_COPULA = re.compile(
    r"\b(is|are|means|represents|indicates|denotes|describes|expresses|manages|stands for)\b"
    r"|(?<=\w)[\"'`*_]*\s*[-–—:：]+\s|是|指"
)
_ENDS = tuple(".!?。！？;；:：)）]\"'”’」』`*_")


@dataclass(frozen=True)
class Similarities:
    """Cosine similarity with the question."""

    sentences: FloatArray
    """(n_sentences,)"""

    before: FloatArray
    """(n_sentences,), of each sentence together with the one before it in its passage."""

    after: FloatArray
    """(n_sentences,), together with the one behind it."""

    passages: FloatArray
    """(n_passages,)"""


class Table:
    """What the features of all sentences of one question share."""

    def __init__(
        self,
        question: Question,
        sentences: Sequence[Sentence],
        similarities: Similarities,
        statistics: TermStatistics,
    ) -> None:
        self.question, self.sentences = question, sentences
        self.similarities, self.statistics = similarities, statistics
        self.words = [terms(sentence.text) for sentence in sentences]
        self.sets = [set(of_sentence) for of_sentence in self.words]
        self.headings = [set(terms(sentence.heading)) for sentence in sentences]
        self.mean_length = float(np.mean([len(of_sentence) for of_sentence in self.words])) if self.words else 1.0
        self.pairs = set(zip(question.terms, question.terms[1:], strict=False))
        self.rarest = max(question.terms, key=statistics.idf, default="")
        self.weights = {term: statistics.idf(term) for term in question.terms}
        self.total = sum(self.weights.values())
        self.coverage = [self.share(found) for found in self.sets]
        n_passages = len(similarities.passages)
        own = [[i for i, s in enumerate(sentences) if s.passage == p] for p in range(n_passages)]
        self.passage_coverage = [self.share(set().union(*(self.sets[i] for i in of_one))) for of_one in own]
        self.best_coverage = [max((self.coverage[i] for i in of_one), default=0.0) for of_one in own]
        self.best_cosine = [max((float(similarities.sentences[i]) for i in of_one), default=0.0) for of_one in own]
        together = [[term for i in of_one for term in self.words[i]] for of_one in own]
        self.passage_bm25 = [statistics.bm25(question.terms, passage) for passage in together]

    def share(self, found: set[str]) -> float:
        """Share of the question's rarity that these terms make up."""
        return sum(weight for term, weight in self.weights.items() if term in found) / self.total if self.total else 0.0

    def before(self, i: int) -> set[str]:
        """Terms of the sentence before, in the same passage."""
        return self.sets[i - 1] if i and self.sentences[i - 1].passage == self.sentences[i].passage else set()

    def neighbours(self, i: int) -> list[int]:
        """Places of the sentences before and behind in the same passage."""
        own = self.sentences[i].passage
        return [j for j in (i - 1, i + 1) if 0 <= j < len(self.sentences) and self.sentences[j].passage == own]


def sentence_features(
    question: Question, sentences: Sequence[Sentence], similarities: Similarities, statistics: TermStatistics
) -> list[dict[str, float]]:
    """Features of each sentence, by name.

    Args:
        question: what is asked.
        sentences: all sentences of the retrieved passages, in the order of the passages.
        similarities: of sentences and passages with the question.
        statistics: rarity of terms.
    """
    table = Table(question, sentences, similarities, statistics)
    return [
        {**_overlap(table, i), **_meaning(table, i), **_place(table, i), **_form(table, i)}
        for i in range(len(sentences))
    ]


def _overlap(table: Table, i: int) -> dict[str, float]:
    """Which of the question's terms stand in the sentence and around it."""
    question, own, p = table.question, table.sets[i], table.sentences[i].passage
    # What the sentence leaves open and the one before says, such as the subject behind a pronoun.
    before = table.share(table.before(i) - own)
    coverage, of_passage = table.coverage[i], table.passage_coverage[p]
    return {
        "coverage": coverage,
        "bm25": table.statistics.bm25(question.terms, table.words[i], b=0.5, mean_length=table.mean_length),
        "passage_coverage": of_passage,
        "passage_bm25": table.passage_bm25[p],
        "passage_bm25_behind": max(table.passage_bm25) - table.passage_bm25[p],
        "share_of_passage": coverage / (of_passage + 0.1),
        "best_coverage_of_passage": float(coverage == table.best_coverage[p]),
        "coverage_from_before": before,
        "coverage_with_before": coverage + before,
        "coverage_from_heading": table.share(table.headings[i] - own),
        "coverage_in_context": table.share(own | table.before(i) | table.headings[i]),
        "pairs": len(table.pairs & set(zip(table.words[i], table.words[i][1:], strict=False)))
        / max(1, len(table.pairs)),
        "rarest_term": float(table.rarest in own),
        "head": float(bool(question.type.head) and question.type.head <= own),
    }


def _meaning(table: Table, i: int) -> dict[str, float]:
    """Similarities of the sentence and of what is around it."""
    found, p = table.similarities, table.sentences[i].passage
    cosine = float(found.sentences[i])
    return {
        "cosine": cosine,
        "product": cosine * table.coverage[i],
        "passage_cosine": float(found.passages[p]),
        "passage_cosine_behind": float(found.passages.max() - found.passages[p]),
        "best_cosine_of_passage": float(cosine == table.best_cosine[p]),
        "cosine_of_passage": table.best_cosine[p],
        "cosine_of_neighbours": max((float(found.sentences[j]) for j in table.neighbours(i)), default=0.0),
        "cosine_with_before": float(found.before[i]),
        "cosine_with_after": float(found.after[i]),
    }


def _place(table: Table, i: int) -> dict[str, float]:
    """Where the sentence stands."""
    sentence, heading = table.sentences[i], table.headings[i]
    before = table.sentences[i - 1] if i else None
    first = float(before is None or (before.passage, before.heading) != (sentence.passage, sentence.heading))
    named = float(bool(heading) and heading <= set(table.question.terms))
    return {
        "first_passage": float(sentence.passage == 0),
        "reciprocal_rank": 1 / (sentence.passage + 1),
        "first_of_passage": float(sentence.start == 0),
        "first_of_section": first,
        "first_of_asked_section": first * named,
        "of_asked_section": named,
    }


def _form(table: Table, i: int) -> dict[str, float]:
    """What kind of sentence it is, and whether it holds what is asked for."""
    asked, text, own = table.question, table.sentences[i].text, table.sets[i]
    type_found = float(has_type(text, asked.type))
    code = float(looks_like_code(text))
    signs = sum(not (sign.isalnum() or sign.isspace()) for sign in text) / len(text)
    return {
        "type_found": type_found,
        "type_and_cosine": type_found * float(table.similarities.sentences[i]),
        "gives_reason": float(asked.type.answer == "reason" and gives_reason(text)),
        "names_code": code * asked.type.wants_code,
        "defines": float(asked.type.wants_definition and _defines(text, asked)),
        "log_length": float(np.log1p(len(table.words[i]))),
        "few_new_terms": float(len(own - set(asked.terms)) < 3),
        "pronoun_first": float(_PRONOUN.match(text.lstrip("\"'“‘(*_")) is not None),
        "leads_in": float(text.endswith((":", "："))),
        "unfinished": float(not text.endswith(_ENDS)),
        "cut": float(table.sentences[i].start == 0 and text[:1].islower()),
        "asks": float(text.endswith(("?", "？"))),
        "signs": min(signs, 0.3),
    }


def _defines(text: str, question: Question) -> bool:
    """Whether the sentence begins with what is asked for and goes on to say what it is."""
    match = _COPULA.search(text[:100])
    subject = set(terms(text[: match.start()])) if match else set()
    return bool(subject) and subject <= set(question.terms)
