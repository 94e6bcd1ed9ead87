"""What questions without an answer have in common: groups of questions that share a rare term."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_HAN = re.compile(r"[㐀-鿿]+")
_STOP_WORDS = frozenset(
    """a about all also am an and any are as at be been before but by can could did do does for from get give had has
    have how i if in into is it its know like many me more most much my need no not of on one or our out please should
    show so some such tell than that the their them then there these they this to up us use used want was we were what
    when where which who whom whose why will with work would you your""".split()
)
_EXAMPLES = 3


@dataclass(frozen=True)
class Topic:
    """Questions that share a term."""

    terms: tuple[str, ...]
    """The shared term first, then up to two that at least half of the questions have, too."""

    n_questions: int
    examples: tuple[str, ...]
    """Up to three different questions, newest first."""


def terms_of(question: str) -> frozenset[str]:
    """Lower-case words without the commonest English ones; of Chinese, pairs of characters. A plural's s goes."""
    words = set()
    for word in _WORD.findall(question.lower()):
        if _HAN.search(word):
            for run in _HAN.findall(word):
                words.update(run[i : i + 2] for i in range(max(1, len(run) - 1)))
        elif len(word) > 1 and word not in _STOP_WORDS:
            plural = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
            words.add(word[:-1] if plural else word)
    return frozenset(words)


def group_topics(unanswered: Sequence[str], asked: Sequence[str], most: int = 10) -> list[Topic]:
    """Group questions greedily by the term that tells most: frequent among those without an answer and rare among all.

    A term's weight is n * log(1 + N / df): n questions without an answer that no group has yet, df of N questions in
    all. A term of one question makes no group. Questions that share nothing come last, each for itself.

    Args:
        unanswered: questions without an answer, newest first.
        asked: all questions, those included.
        most: groups returned at most, largest first.
    """
    frequency = Counter(term for question in asked for term in terms_of(question))
    left = {index: terms_of(question) for index, question in enumerate(unanswered)}
    topics: list[Topic] = []
    while left and (term := _best_term(left, frequency, len(asked))):
        members = [index for index in left if term in left[index]]
        shared = Counter(other for index in members for other in left[index] - {term})
        beside = sorted((other for other, n in shared.items() if 2 * n >= len(members)), key=lambda o: (-shared[o], o))
        topics.append(_topic((term, *beside[:2]), [unanswered[index] for index in members]))
        for index in members:
            del left[index]
    for index, terms in left.items():
        rarest = sorted(terms, key=lambda term: (frequency[term], -len(term), term))
        topics.append(_topic(tuple(rarest[:3]), [unanswered[index]]))
    return sorted(topics, key=lambda topic: -topic.n_questions)[:most]


def _best_term(left: Mapping[int, frozenset[str]], frequency: Mapping[str, int], total: int) -> str | None:
    counts = Counter(term for terms in left.values() for term in terms)
    weights = {term: n * math.log(1 + total / max(n, frequency.get(term, 0))) for term, n in counts.items() if n > 1}
    return max(weights, key=lambda term: (weights[term], term), default=None)


def _topic(terms: tuple[str, ...], questions: Sequence[str]) -> Topic:
    return Topic(terms, len(questions), tuple(dict.fromkeys(questions))[:_EXAMPLES])
