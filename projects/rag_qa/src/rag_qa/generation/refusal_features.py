"""Signs that the retrieved passages hold the answer, or that what would hold it is missing."""

import re
from collections.abc import Sequence

import numpy as np

from rag_qa.generation.evidence import Evidence
from rag_qa.generation.words import STOP_WORDS, terms

NAMES = (
    "bm25_top",
    "bm25_gap",
    "cosine_top",
    "cosine_gap_2",
    "cosine_gap_5",
    "agreement",
    "passage_coverage",
    "sentence_coverage",
    "sentence_bm25",
    "sentence_cosine",
    "rarest_missing",
    "names_missing",
    "type_found",
    "pairs_found",
    "score_top",
    "score_gap",
    "product",
)
"""Features in the order of the columns."""

_NAME = re.compile(r"(?<=\S )[A-Z][\w'’-]*|\d[\d.,]*\d|\d|[“\"'`][^“”\"'`]+[”\"'`]|\w*_\w*")


def refusal_features(evidence: Evidence) -> np.ndarray:
    """(n_features,) of `NAMES`; all 0 where nothing was retrieved.

    Cosines and BM25 are computed over the passages themselves and do not depend on how they were retrieved. BM25 is a
    share of the most that the question's terms can reach, so that questions of all lengths are on one scale.
    """
    if not evidence.sentences:
        return np.zeros(len(NAMES))
    asked, statistics = evidence.question, evidence.statistics
    passages = [terms(item.chunk.text) for item in evidence.retrieved]
    bm25 = np.array([statistics.bm25(asked.terms, passage) for passage in passages])
    coverage = [statistics.coverage(asked.terms, set(passage)) for passage in passages]
    cosines = np.asarray(evidence.passage_cosines, dtype=np.float64)
    best = int(np.argmax(_standard(bm25) + _standard(cosines)))
    rarity = {term: statistics.idf(term) for term in asked.terms}
    missing = [rarity[term] for term in rarity if term not in set(passages[best])]
    by_cosine = np.sort(cosines)[::-1]
    by_bm25 = np.sort(bm25)[::-1]
    rows = evidence.features
    return np.array(
        [
            by_bm25[0],
            by_bm25[0] - by_bm25[1:2].sum(),
            by_cosine[0],
            by_cosine[0] - by_cosine[1:2].sum(),
            by_cosine[0] - by_cosine[-1],
            float(np.argmax(bm25) == np.argmax(cosines)),
            max(coverage),
            max(row["coverage"] for row in rows),
            max(row["bm25"] for row in rows),
            max(row["cosine"] for row in rows),
            max(missing, default=0.0) / max(rarity.values(), default=1.0) if rarity else 0.0,
            _names_missing(asked.text, evidence.retrieved[best].chunk.text),
            float(np.mean([row["type_found"] for row in rows[:2]])),
            max(row["pairs"] for row in rows),
            evidence.scores[0],
            evidence.scores[0] - _best_elsewhere(evidence),
            by_cosine[0] * max(coverage),
        ]
    )


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + 1e-6)


def _best_elsewhere(evidence: Evidence) -> float:
    """Score of the best sentence of another passage than the best sentence's."""
    own = evidence.sentences[0].passage
    pairs: Sequence = list(zip(evidence.sentences, evidence.scores, strict=True))
    return next((score for sentence, score in pairs if sentence.passage != own), evidence.scores[-1])


def _names_missing(question: str, passage: str) -> float:
    """Share of the question's names, numbers, quotations and identifiers that the passage does not hold."""
    lowered = passage.lower()
    names = {name.strip("\"'`“”").lower() for name in _NAME.findall(question)} - STOP_WORDS
    return sum(name not in lowered for name in names) / len(names) if names else 0.0
