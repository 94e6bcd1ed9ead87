"""From the best sentences to the shortest words that answer.

The answer is not the likeliest candidate but the one with the largest F1 to be expected against all candidates by their
probabilities (minimum Bayes risk; Kumar & Byrne 2004): candidates that overlap support each other.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_qa.generation.linear_ranking import LinearRanker
from rag_qa.generation.sentence_ranker import Question
from rag_qa.generation.span_finder import SentenceWords, candidates, span_features
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.generation.words import HAN, is_chinese

N_LIKELY, N_CHOICES = 40, 20
_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True)
class ChosenSpan:
    """`sentences[sentence][start:end]`."""

    sentence: int
    start: int
    end: int
    text: str
    expected_f1: float


def span_alternatives(
    question: Question, sentences: Sequence[str], scores: Sequence[float], statistics: TermStatistics
) -> tuple[list[tuple[int, int, int]], list[dict[str, float]]]:
    """Candidate spans (sentence, start, end) of the best sentences with their features.

    Args:
        question: what is asked.
        sentences: best first.
        scores: of the sentence ranker.
        statistics: rarity of terms.
    """
    places: list[tuple[int, int, int]] = []
    rows: list[dict[str, float]] = []
    for i, (text, score) in enumerate(zip(sentences, scores, strict=True)):
        words = SentenceWords(text, question, statistics)
        for span in candidates(words):
            features = span_features(question, words, span)
            features["sentence"] = score - max(scores)
            features["sentence_first"] = float(i == 0)
            places.append((i, span.start, span.end))
            rows.append(features)
    return places, rows


def choose_span(
    question: Question,
    sentences: Sequence[str],
    scores: Sequence[float],
    statistics: TermStatistics,
    ranker: LinearRanker,
) -> ChosenSpan | None:
    """The span with the largest expected F1; None where no sentence has a candidate."""
    places, rows = span_alternatives(question, sentences, scores, statistics)
    if not rows:
        return None
    logits = np.array([ranker.score(row) for row in rows])
    likely = [int(i) for i in np.argsort(-logits, kind="stable")[:N_LIKELY]]
    p = np.exp(logits[likely] - logits[likely[0]])
    p /= p.sum()
    bags = [_bag(sentences[places[i][0]][places[i][1] : places[i][2]]) for i in likely]
    expected = _f1_table(bags)[:N_CHOICES] @ p
    best = int(np.argmax(expected))
    sentence, start, end = places[likely[best]]
    start, end = _without_lone_quote(sentences[sentence], start, end)
    return ChosenSpan(sentence, start, end, sentences[sentence][start:end], float(expected[best]))


def _without_lone_quote(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without a quotation mark at one end whose partner stands outside."""
    if end - start > 1 and text[start:end].count('"') == 1:
        if text[start] == '"':
            return start + 1, end
        if text[end - 1] == '"':
            return start, end - 1
    return start, end


def _bag(text: str) -> Counter[str]:
    """Words without articles and punctuation, as SQuAD's F1 counts them; characters of Chinese."""
    lowered = text.lower()
    if is_chinese(text):
        return Counter(sign for sign in lowered if sign.isalnum() or sign in HAN)
    words = ("".join(sign for sign in word if sign.isalnum()) for word in lowered.split())
    return Counter(word for word in words if word and word not in _ARTICLES)


def _f1_table(bags: Sequence[Counter[str]]) -> NDArray[np.float64]:
    """(N, N) F1 of each pair of bags of words."""
    column = {word: i for i, word in enumerate(sorted({word for bag in bags for word in bag}))}
    counts = np.zeros((len(bags), len(column)))
    for row, bag in zip(counts, bags, strict=True):
        for word, n in bag.items():
            row[column[word]] = n
    common = np.minimum(counts[:, None, :], counts[None, :, :]).sum(axis=2)
    sizes = counts.sum(axis=1)
    return 2 * common / np.maximum(sizes[:, None] + sizes[None, :], 1)
