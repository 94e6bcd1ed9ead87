"""Counting and merging adjacent pairs of symbols: what training BPE and training WordPiece share."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

Symbol = TypeVar("Symbol", bound=Hashable)
Pair = tuple[int, int]

# A pair that occurs once says nothing about the language: Sennrich et al. 2016 (subword-nmt) stop there too.
MIN_PAIR_COUNT = 2


def count_pairs(words: Iterable[Sequence[Symbol]], counts: Iterable[int]) -> Counter[tuple[Symbol, Symbol]]:
    """How often each pair of neighbouring symbols occurs (Sennrich et al. 2016, algorithm 1, `get_stats`).

    `words` are sequences of symbols and `counts` how often each word occurs. Overlapping pairs all count:
    `aaa` holds `(a, a)` twice.
    """
    totals: Counter[tuple[Symbol, Symbol]] = Counter()
    for word, count in zip(words, counts, strict=True):
        for pair in pairwise(word):
            totals[pair] += count
    return totals


def merge_pair(word: Sequence[Symbol], pair: tuple[Symbol, Symbol], merged: Symbol) -> list[Symbol]:
    """`word` with `merged` in place of every `pair` (Sennrich et al. 2016, algorithm 1, `merge_vocab`).

    It goes from left to right: with `X` for `(a, a)`, `aaa` becomes `X a`.
    """
    out: list[Symbol] = []
    i = 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            out.append(merged)
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


class PairIndex:
    """Words as lists of symbol ids, with pair and symbol counts kept up to date while pairs are merged.

    Counting everything anew for each merge would cost the whole vocabulary of words every time; the index
    knows which words hold a pair and recounts those alone.
    """

    def __init__(self, words: Sequence[list[int]], counts: Sequence[int]) -> None:
        self.words = list(words)
        self.word_counts = list(counts)
        self.pair_counts = count_pairs(words, counts)
        self.symbol_counts: Counter[int] = Counter()
        self._words_with: defaultdict[Pair, set[int]] = defaultdict(set)
        for i, (word, count) in enumerate(zip(words, counts, strict=True)):
            for symbol in word:
                self.symbol_counts[symbol] += count
            for pair in pairwise(word):
                self._words_with[pair].add(i)

    def merge(self, pair: Pair, merged: int) -> set[Pair]:
        """Replace `pair` by `merged` in every word; returns the pairs whose counts may have changed."""
        changed: set[Pair] = set()
        for i in self._words_with.pop(pair):
            before, count = self.words[i], self.word_counts[i]
            after = self.words[i] = merge_pair(before, pair, merged)
            n_merged = len(before) - len(after)
            self.symbol_counts[merged] += n_merged * count
            for symbol in pair:
                self.symbol_counts[symbol] -= n_merged * count
            for old in pairwise(before):
                self.pair_counts[old] -= count
                changed.add(old)
            for new in pairwise(after):
                self.pair_counts[new] += count
                changed.add(new)
                self._words_with[new].add(i)
        return changed
