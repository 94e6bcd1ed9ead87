"""The shortest words of a sentence that answer: candidate spans and a linear model over their signs.

The candidates are all runs of up to `LONGEST` words with plausible ends, and whole clauses. The features are those of
the logistic regression of Rajpurkar et al. (2016), "SQuAD: 100,000+ Questions for Machine Comprehension of Text", §5,
as far as they need no parser: the kind of the span against the kind asked for, the words at its ends and around it, its
length, and how near and on which side the question's own words stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rag_qa.generation.sentence_ranker import Question
from rag_qa.generation.span_types import span_type
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.generation.word_classes import EDGE, word_classes
from rag_qa.generation.words import STOP_WORDS, Token, terms, tokens

LONGEST = 8
"""Words of a run; clauses may be longer."""

LONGEST_CLAUSE = 24
_NOT_FIRST = frozenset({"conjunction", "comma", "stop", "particle", "auxiliary", "relative"})
_NOT_LAST = frozenset({"determiner", "preposition", "conjunction", "comma", "stop", "auxiliary", "relative"})
_CLAUSE_STARTS = frozenset(
    "because to by that if when while through using due so as for 因为 由于 为了 通过 以 因".split()
)


@dataclass(frozen=True)
class Span:
    """A run of words [first, last] of a sentence, and the characters [start, end) that it takes up in it."""

    first: int
    last: int
    start: int
    end: int


class SentenceWords:
    """A sentence cut into words, seen from a question."""

    def __init__(self, text: str, question: Question, statistics: TermStatistics) -> None:
        self.text = text
        self.words: list[Token] = tokens(text)
        self.classes = word_classes(self.words)
        self.terms = [tuple(terms(word.text)) for word in self.words]
        wanted = set(question.terms)
        self.asked = [bool(found) and any(term in wanted for term in found) for found in self.terms]
        if question.type.chinese:
            self.asked = [len(w.text) > 1 and w.text in question.text for w in self.words]
        self.rarity = [max((statistics.idf(term) for term in found), default=0.0) for found in self.terms]
        self.matched = [i for i, asked in enumerate(self.asked) if asked]
        order = {term: i for i, term in reversed(list(enumerate(question.terms)))}
        places = [(min(order.get(t, 999) for t in self.terms[i]) if self.terms[i] else 999, i) for i in self.matched]
        known = [place for place in places if place[0] < 999]
        self.first_asked = min(known)[1] if known else None
        self.last_asked = max(known)[1] if known else None


def candidates(sentence: SentenceWords) -> list[Span]:
    """All plausible answers within a sentence."""
    found: list[Span] = []
    words, classes = sentence.words, sentence.classes
    longest = LONGEST
    for first in range(len(words)):
        if classes[first] in _NOT_FIRST:
            continue
        clause = words[first].text.lower() in _CLAUSE_STARTS or (
            first > 0 and classes[first - 1] in ("comma", "auxiliary", "ed")
        )
        if classes[first] == "preposition" and not clause:
            continue
        limit = LONGEST_CLAUSE if clause else longest
        for last in range(first, min(len(words), first + limit)):
            kind = classes[last]
            if kind == "stop" and words[last].text not in ".:":
                break
            if kind in _NOT_LAST or (kind == "bracket" and words[last].text in "(（["):
                continue
            if last - first >= longest and not _ends_clause(classes, last):
                continue
            if last == first and kind not in ("name", "number", "month") and words[first].text.lower() in STOP_WORDS:
                continue
            found.append(Span(first, last, words[first].start, words[last].end))
    return found


def _ends_clause(classes: Sequence[str], last: int) -> bool:
    return last + 1 == len(classes) or classes[last + 1] in ("comma", "stop", "conjunction", "relative")


def span_features(question: Question, sentence: SentenceWords, span: Span) -> dict[str, float]:
    """Features of a candidate, by name."""
    words, classes = sentence.words, sentence.classes
    first, last = span.first, span.last
    inside = words[first : last + 1]
    wanted = question.type.answer
    kind = span_type(inside)
    before = classes[first - 1] if first else EDGE
    after = classes[last + 1] if last + 1 < len(words) else EDGE
    length = last - first + 1
    n_asked = sum(sentence.asked[first : last + 1])
    size = str(length) if length <= 4 else "5-8" if length <= LONGEST else "clause"
    rows = {
        f"{wanted}:{kind}": 1.0,
        f"before={before}": 1.0,
        f"after={after}": 1.0,
        f"first={classes[first]}": 1.0,
        f"last={classes[last]}": 1.0,
        f"length={size}": 1.0,
        f"{wanted}:length={size}": 1.0,
        f"{kind}:length={size}": 1.0,
        "asked_share": n_asked / length,
        "holds_asked": float(n_asked > 0),
        "rarity": sum(sentence.rarity[first : last + 1]) / length,
        "most_rare": max(sentence.rarity[first : last + 1]),
        "whole_sentence": float(first == 0 and last >= len(words) - 2),
        "starts_sentence": float(first == 0),
    }
    rows.update(_place_features(question, sentence, span))
    if before == "preposition":
        rows[f"{wanted}:{words[first - 1].text.lower()}"] = 1.0
    if question.type.head:
        near = [term for found in sentence.terms[max(0, first - 2) : last + 3] for term in found]
        rows["head_near"] = float(any(term in question.type.head for term in near))
        rows["head_inside"] = float(any(t in question.type.head for f in sentence.terms[first : last + 1] for t in f))
    if question.type.wh == "what" and not question.type.head:
        rows[f"what_aux:{kind}"] = 1.0
    return rows


def _place_features(question: Question, sentence: SentenceWords, span: Span) -> dict[str, float]:
    """Where the question's words stand, seen from the span."""
    outside = [i for i in sentence.matched if not span.first <= i <= span.last]
    if not outside:
        return {"nothing_near": 1.0}
    distance = {i: span.first - i if i < span.first else i - span.last for i in outside}
    near = min(distance.values())
    nearness = sum(sentence.rarity[i] / distance[i] for i in outside)
    total = sum(sentence.rarity[i] for i in outside) or 1.0
    rows = {
        "nearest": 1 / near,
        "nearness": nearness / total,
        "mean_distance": sum(distance.values()) / len(outside) / 10,
        "behind_share": sum(i < span.first for i in outside) / len(outside),
        "asked_before": float(span.first - 1 in distance),
        "asked_after": float(span.last + 1 in distance),
    }
    role = "object" if question.type.auxiliary else "subject"
    for name, place in (("first_word", sentence.first_asked), ("last_word", sentence.last_asked)):
        if place is None or place not in distance:
            continue
        side = "behind" if place < span.first else "ahead"
        rows[f"{role}:{name}_{side}"] = 1.0
        rows[f"{role}:{name}_{side}_near"] = 1 / distance[place]
    return rows
