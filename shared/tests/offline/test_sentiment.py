"""The sentiment texts: how many, how balanced, how different from each other, and how they are split."""

import itertools
import re
from collections import Counter, defaultdict

import pytest

from roadmap_shared.offline.sentiment import DOMAINS, LABELS, TAGS, SentimentText, all_sentiment_texts, sentiment_texts

TEXTS = all_sentiment_texts()
SPLITS = ("train", "validation", "test")


def sequences(text: SentimentText) -> set[tuple[str, ...]]:
    """Seven words in a row (five can be an idiom), or eight characters of Chinese, without case and punctuation."""
    n, pattern = (8, r"\w") if text.language == "zh" else (7, r"[\w'’]+")
    units = re.findall(pattern, text.text.lower())
    return {tuple(units[start : start + n]) for start in range(len(units) - n + 1)}


def words_of(text: SentimentText) -> set[str]:
    pattern = r"\w" if text.language == "zh" else r"[\w'’]+"
    return set(re.findall(pattern, text.text.lower()))


def test_there_are_enough_of_each_kind():
    assert len(TEXTS) >= 2300
    assert sum(text.language == "zh" for text in TEXTS) >= 200
    by_cell = Counter((text.domain, text.label) for text in TEXTS if text.language == "en")
    assert set(by_cell) == set(itertools.product(DOMAINS, LABELS))
    assert min(by_cell.values()) >= 230
    by_tag = Counter(tag for text in TEXTS for tag in text.tags)
    assert set(by_tag) == set(TAGS)
    assert min(by_tag.values()) >= 150
    assert by_tag["plain"] >= 500


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_labels_are_balanced_within_each_split(split, language):
    counts = Counter(text.label for text in sentiment_texts(split, languages=[language]))
    assert max(counts.values()) <= 1.1 * min(counts.values()) + 2, counts


def test_ids_and_texts_are_distinct():
    assert len({text.id for text in TEXTS}) == len(TEXTS)
    assert len({" ".join(text.text.lower().split()) for text in TEXTS}) == len(TEXTS)
    assert all(text.text == text.text.strip() and "\n" not in text.text for text in TEXTS)


def test_a_thought_stays_on_one_side_of_the_split():
    sides = defaultdict(set)
    for text in TEXTS:
        sides[text.thought].add(text.split)
    assert {thought: found for thought, found in sides.items() if len(found) > 1} == {}
    assert sum(n > 1 for n in Counter(text.thought for text in TEXTS).values()) >= 100  # there are such pairs


def test_different_thoughts_share_no_long_sequence_of_words():
    owners = defaultdict(set)
    for text in TEXTS:
        for sequence in sequences(text):
            owners[sequence].add(text.thought)
    shared = {" ".join(sequence) for sequence, thoughts in owners.items() if len(thoughts) > 1}
    assert shared == set()


def test_no_text_is_nearly_another_of_a_different_thought():
    """Overlap of the sets of words (Jaccard), for pairs that share a rare word."""
    vocabulary = [words_of(text) for text in TEXTS]
    owners = defaultdict(list)
    for index, words in enumerate(vocabulary):
        for word in words:
            owners[word].append(index)
    pairs = {pair for found in owners.values() if len(found) <= 60 for pair in itertools.combinations(found, 2)}
    near = [
        (TEXTS[a].text, TEXTS[b].text)
        for a, b in pairs
        if TEXTS[a].thought != TEXTS[b].thought
        and len(vocabulary[a] & vocabulary[b]) > 0.6 * len(vocabulary[a] | vocabulary[b])
    ]
    assert near == []


def test_no_template_begins_many_texts():
    openings = Counter(" ".join(text.text.lower().split()[:3]) for text in TEXTS if text.language == "en")
    assert max(openings.values()) <= 6


def test_texts_are_chosen_by_split_domain_and_language():
    films = sentiment_texts("test", domains=["films"])
    assert {(text.split, text.domain, text.language) for text in films} == {("test", "films", "en")}
    both = [text for split in SPLITS for text in sentiment_texts(split, languages=["en", "zh"])]
    assert sorted(text.id for text in both) == sorted(text.id for text in TEXTS)
    shares = [len(sentiment_texts(split)) / sum(text.language == "en" for text in TEXTS) for split in SPLITS]
    assert shares == pytest.approx([0.62, 0.12, 0.26], abs=0.02)
