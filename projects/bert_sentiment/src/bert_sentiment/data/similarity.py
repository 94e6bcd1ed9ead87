"""Which texts repeat each other, by their words.

Two texts are near duplicates when their words are the same (case, blanks and punctuation aside), or when at least half
of the 5-grams of the shorter one stand in the longer one: its containment (Broder 1997, "On the resemblance and
containment of documents"). It is computed exactly, without sketches.

Shapes: N texts, W words of all texts together, G pairs of a 5-gram and a text that holds it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GRAM = 5
CONTAINMENT = 0.5
MIN_GRAMS = 6
"""A text of fewer 5-grams, that is of fewer than ten words, shares half of them with others by chance."""

_MAX_MATCHES = 100
# A Chinese character, a run of other letters and digits, or an emoji: each counts as a word.
_WORD = re.compile(r"[㐀-鿿]|[^\W㐀-鿿]+|[\U0001f000-\U0001faff☀-➿]")


@dataclass(frozen=True)
class Words:
    """Texts as numbers of words: `ids` (W,) of all texts one after the other, text n from `starts[n]` (N + 1,)."""

    ids: np.ndarray
    starts: np.ndarray

    @property
    def text_of(self) -> np.ndarray:
        """(W,) the text that each word stands in."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def grams(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """((M,) hash of each run of `n` words inside a text, (M,) the text that it stands in)."""
        size = max(len(self.ids) - n + 1, 0)
        factors = np.random.default_rng(n).integers(1, 2**63, n, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        hashes = np.zeros(size, dtype=np.uint64)
        for place, factor in enumerate(factors):
            hashes += (self.ids[place : place + size].astype(np.uint64) + np.uint64(1)) * factor
        text_of = self.text_of
        inside = text_of[:size] == text_of[n - 1 : n - 1 + size]
        return hashes[inside], text_of[:size][inside]


def read_words(texts: Sequence[str]) -> Words:
    """The words of each text, in small letters, as numbers in the order in which they first occur."""
    vocabulary: dict[str, int] = {}
    ids = [[vocabulary.setdefault(word, len(vocabulary)) for word in _WORD.findall(text.casefold())] for text in texts]
    starts = np.concatenate([[0], np.cumsum([len(words) for words in ids], dtype=np.int64)]).astype(np.int64)
    return Words(np.fromiter((word for words in ids for word in words), np.int64, int(starts[-1])), starts)


def near_groups(texts: Sequence[str], words: Words) -> tuple[np.ndarray, dict[int, set[int]]]:
    """((N,) number of the group of texts with the same words, for a group the groups that it is contained in or that
    are contained in it)."""
    numbers: dict[bytes | str, int] = {}
    group_of = np.zeros(len(texts), dtype=np.int64)
    firsts: list[int] = []
    for index, text in enumerate(texts):
        own = words.ids[words.starts[index] : words.starts[index + 1]]
        # A text of punctuation alone has no words that could be the same as another's.
        group = numbers.setdefault(own.tobytes() if len(own) else text.strip(), len(numbers))
        if group == len(firsts):
            firsts.append(index)
        group_of[index] = group
    links: dict[int, set[int]] = {}
    for shorter, longer in contained(words, np.array(firsts, dtype=np.int64)):
        first, second = int(group_of[shorter]), int(group_of[longer])
        links.setdefault(first, set()).add(second)
        links.setdefault(second, set()).add(first)
    return group_of, links


def contained(words: Words, chosen: np.ndarray) -> list[tuple[int, int]]:
    """(shorter, longer) of the chosen texts where the longer one holds `CONTAINMENT` of the shorter one's 5-grams."""
    hashes, text_of = words.grams(GRAM)
    is_chosen = np.zeros(len(words.starts) - 1, dtype=bool)
    is_chosen[chosen] = True
    hashes, text_of = hashes[is_chosen[text_of]], text_of[is_chosen[text_of]]
    _, grams = np.unique(hashes, return_inverse=True)
    # Each gram once a text, sorted by gram: `texts[begin[g] : begin[g + 1]]` are the texts that hold gram g.
    n_texts = len(is_chosen)
    # np.unique would hash the keys, which is many times slower than to sort them.
    keys = np.sort(grams.astype(np.int64) * n_texts + text_of)
    keys = keys[np.diff(keys, prepend=-1) > 0]
    grams, texts = np.divmod(keys, max(n_texts, 1))
    begin = np.concatenate([[0], np.cumsum(np.bincount(grams))]).astype(np.int64)
    n_grams = np.bincount(texts, minlength=n_texts)
    # Most grams occur in one text. Those of a contained text must for the greater part occur elsewhere too.
    elsewhere = np.diff(begin)[grams] > 1
    n_elsewhere = np.bincount(texts[elsewhere], minlength=n_texts)
    candidates = np.flatnonzero((n_grams >= MIN_GRAMS) & (n_elsewhere >= CONTAINMENT * n_grams))
    by_text = np.argsort(texts[elsewhere], kind="stable")
    grams_by_text = grams[elsewhere][by_text]
    own_begin = np.concatenate([[0], np.cumsum(n_elsewhere)])
    pairs: list[tuple[int, int]] = []
    for text in candidates.tolist():
        own = grams_by_text[own_begin[text] : own_begin[text + 1]]
        holders = np.concatenate([texts[begin[gram] : begin[gram + 1]] for gram in own.tolist()])
        others, n_common = np.unique(holders, return_counts=True)
        longer = (n_grams[others] > n_grams[text]) | ((n_grams[others] == n_grams[text]) & (others > text))
        found = others[longer & (n_common >= CONTAINMENT * n_grams[text])]
        pairs += [(text, other) for other in found[:_MAX_MATCHES].tolist()]
    return pairs
