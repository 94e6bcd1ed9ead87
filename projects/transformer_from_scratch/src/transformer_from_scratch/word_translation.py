"""The baseline of translation: word by word, in the order of the source."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from transformer_from_scratch.sequence_pairs import Pair

MOST_PAIRS = 50_000
"""Pairs that are counted; more would hardly change the most frequent words."""

Dictionary = dict[str, str]


def split_words(text: str) -> list[str]:
    """Words and punctuation marks."""
    return re.findall(r"\w+|[^\w\s]", text)


def join_words(words: Sequence[str]) -> str:
    """Words with spaces between them, but none before a mark that closes."""
    return re.sub(r" ([.,;:!?%)\]])", r"\1", " ".join(words))


def learn_dictionary(pairs: Sequence[Pair]) -> Dictionary:
    """For each source word the target word with the highest Dice coefficient: 2 n(s, t) / (n(s) + n(t)).

    n(s), n(t) and n(s, t) are the numbers of sentence pairs that have the source word, the target word, and both
    (Dice 1945; for translation: Smadja, McKeown & Hatzivassiloglou 1996). Of equal ones, the first met wins.
    """
    source_counts: Counter[str] = Counter()
    target_counts: Counter[str] = Counter()
    both_counts: Counter[tuple[str, str]] = Counter()
    for source, target in islice(pairs, MOST_PAIRS):
        # Each word once, in order (a set's order differs from run to run, and would decide ties).
        source_words, target_words = (list(dict.fromkeys(split_words(text))) for text in (source, target))
        source_counts.update(source_words)
        target_counts.update(target_words)
        both_counts.update((s, t) for s in source_words for t in target_words)
    best: Dictionary = {}
    best_dice: dict[str, float] = {}
    for (source, target), count in both_counts.items():
        dice = 2 * count / (source_counts[source] + target_counts[target])
        if dice > best_dice.get(source, 0.0):
            best[source], best_dice[source] = target, dice
    return best


def translate_words(text: str, dictionary: Dictionary) -> str:
    """Each word replaced by its translation, or copied where it has none."""
    return join_words([dictionary.get(word, word) for word in split_words(text)])
