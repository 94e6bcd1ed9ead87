"""Which sentences make up an answer: the best one with what it needs to be understood, and others nearly as good."""

import re
from math import exp

from rag_qa.generation.evidence import Evidence
from rag_qa.generation.sentence_ranker import Sentence

NEAR_BEST = 0.1
"""A further sentence is added where its odds against the best one are at least this."""

LONGEST_LIST = 600
"""Characters of a list that follows on a sentence with a colon."""

_BULLET = re.compile(r"(?:[-*+•]|\d{1,2}[.)])\s+")

Place = tuple[int, int, int]
"""(passage, start, end): offsets within the passage's text."""


def compose(evidence: Evidence, first: int, most: int) -> list[Place]:
    """The places of an answer's statements, the most important first.

    A sentence that begins with a pronoun is given together with the one before it, which says what is meant, and one
    that ends with a colon together with the list behind it.

    Args:
        evidence: with at least one sentence.
        first: the sentence to begin with, an index into the evidence's sentences.
        most: sentences at most; a list behind a colon counts as part of its sentence.
    """
    near = [i for i in range(len(evidence.sentences)) if i != first and odds(evidence, i) >= NEAR_BEST]
    places: list[Place] = []
    texts: set[str] = set()
    n_sentences = 0
    for i in [first, *near]:
        sentence = evidence.sentences[i]
        inside = any(p == sentence.passage and a <= sentence.start < b for p, a, b in places)
        if inside or sentence.text in texts:  # overlapping chunks hold the same sentence
            continue
        if n_sentences == most:
            break
        before = _before(evidence, i) if n_sentences + 2 <= most and not places else None
        start = before.start if before else _behind_bullet(evidence, sentence)
        places.append((sentence.passage, start, _end_of_list(evidence, i)))
        texts.add(sentence.text)
        n_sentences += 2 if before else 1
    return places


def _behind_bullet(evidence: Evidence, sentence: Sentence) -> int:
    """Where a sentence begins, the sign before it as a list's item left out."""
    text = evidence.retrieved[sentence.passage].chunk.text
    bullet = _BULLET.match(text, sentence.start, sentence.end)
    return bullet.end() if bullet and bullet.end() < sentence.end else sentence.start


def odds(evidence: Evidence, i: int) -> float:
    """Odds of a sentence against the best one, 1 at most."""
    return exp(min(0.0, evidence.scores[i] - evidence.scores[0]))


def _own(evidence: Evidence, i: int) -> list[Sentence]:
    """The sentences of the same passage, in its order."""
    passage = evidence.sentences[i].passage
    return sorted((s for s in evidence.sentences if s.passage == passage), key=lambda sentence: sentence.start)


def _before(evidence: Evidence, i: int) -> Sentence | None:
    """The sentence that says what the pronoun at the beginning of this one means."""
    if not evidence.features[i]["pronoun_first"]:
        return None
    own, sentence = _own(evidence, i), evidence.sentences[i]
    place = own.index(sentence)
    return own[place - 1] if place and own[place - 1].heading == sentence.heading else None


def _end_of_list(evidence: Evidence, i: int) -> int:
    """Where the list behind a colon ends, or the sentence."""
    sentence = evidence.sentences[i]
    end = sentence.end
    if not evidence.features[i]["leads_in"]:
        return end
    text = evidence.retrieved[sentence.passage].chunk.text
    for other in _own(evidence, i):
        if other.start < end or other.heading != sentence.heading:
            continue
        gap = end > sentence.end and "\n\n" in text[end : other.start]
        if gap or other.end - sentence.end > LONGEST_LIST:
            break
        end = other.end
    return end
