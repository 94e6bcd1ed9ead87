"""WordPiece (Schuster & Nakajima 2012; Wu et al. 2016 §4.1; in BERT: Devlin et al. 2019), made reversible.

Training joins pieces as BPE does, but chooses by the gain in likelihood instead of by count. Encoding forgets
the order of the merges: it takes the longest piece of the vocabulary that the rest of the word starts with,
again and again. A piece that continues a word is written with `##` before it, as in BERT.

BERT cannot give its text back: it drops white space and turns unknown words into `[UNK]`. Here
- a word keeps the space before it, so its first piece says whether there was one (Wu et al. 2016 write it
  `_`, labels here show `▁`), and other white space makes words of its own;
- a character that no piece covers is written as its UTF-8 bytes (`<0xE2>`), and the match goes on after it;
- nothing is normalised.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from transformer_from_scratch.tokenizers.base import (
    SubwordTokenizer,
    damaged,
    read_string_lists,
    require_unicode,
    room_for_pieces,
    training_lines,
)
from transformer_from_scratch.tokenizers.pairs import MIN_PAIR_COUNT, Pair, PairIndex
from transformer_from_scratch.tokenizers.words import count_words, split_bert

CONTINUATION = "##"


def word_symbols(word: str) -> list[str]:
    """The characters of a word as pieces: `word` is `w ##o ##r ##d`."""
    return [symbol if i == 0 else CONTINUATION + symbol for i, symbol in enumerate(word)]


def join_pieces(left: str, right: str) -> str:
    """`un` and `##do` make `undo`; `##un` and `##do` make `##undo`."""
    return left + right.removeprefix(CONTINUATION)


def likelihood_gain(
    pair_counts: np.ndarray, left_counts: np.ndarray, right_counts: np.ndarray, total: int
) -> np.ndarray:
    """Gain in the log-likelihood of the text (nats) when a pair becomes one piece, to first order.

    Under a unigram model of N = `total` pieces each of the n occurrences of a pair (a, b) now has probability
    n/N in place of c(a)/N * c(b)/N: the gain is n * ln(n N / (c(a) c(b))), the count times the pointwise
    mutual information. All arrays have one entry per pair, shape (n_pairs,); a pair that occurs too rarely
    gets -inf.
    """
    counts = np.maximum(pair_counts, 1)
    gain = counts * np.log(counts * float(total) / (left_counts * right_counts))
    return np.where(pair_counts >= MIN_PAIR_COUNT, gain, -np.inf)


class PairTable:
    """The pairs of a `PairIndex` as arrays, so that all gains are computed at once for each merge."""

    def __init__(self, index: PairIndex) -> None:
        self._index = index
        self._rows: dict[Pair, int] = {}
        self._pairs = np.zeros((1024, 2), dtype=np.int64)
        self._counts = np.zeros(1024)
        self.update(index.pair_counts)

    def update(self, changed: Iterable[Pair]) -> None:
        """Copy the counts of `changed` pairs from the index."""
        for pair in changed:
            row = self._rows.setdefault(pair, len(self._rows))
            if row == len(self._counts):
                self._pairs = np.concatenate([self._pairs, np.zeros_like(self._pairs)])
                self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self._pairs[row] = pair
            self._counts[row] = self._index.pair_counts[pair]

    def best(self, symbol_counts: np.ndarray) -> Pair | None:
        """The pair with the highest gain (ties: the smallest ids), or None when no pair gains anything."""
        pairs, counts = self._pairs[: len(self._rows)], self._counts[: len(self._rows)]
        # A symbol whose every occurrence was merged has count 0, but so have its pairs.
        left, right = np.maximum(symbol_counts[pairs], 1).T
        gains = likelihood_gain(counts, left, right, int(symbol_counts.sum()))
        highest = gains.max(initial=-np.inf)
        if highest <= 0:
            return None
        return min((int(a), int(b)) for a, b in pairs[gains == highest])


def frequent_symbols(symbol_counts: Mapping[str, int], n_symbols: int) -> list[str]:
    """At most `n_symbols` of the most frequent symbols that occur twice or more, in code point order."""
    repeated = (symbol for symbol in sorted(symbol_counts) if symbol_counts[symbol] >= MIN_PAIR_COUNT)
    return sorted(sorted(repeated, key=lambda symbol: -symbol_counts[symbol])[:n_symbols])


def train_wordpiece(word_counts: Mapping[str, int], n_pieces: int) -> list[str]:
    """Learn up to `n_pieces` pieces: the `frequent_symbols` of the words, then joined pieces in order.

    `word_counts` is how often each word occurs in the training text. Each step joins the pair with the
    highest `likelihood_gain`; training ends early when no pair that occurs twice has a gain above 0.
    """
    frequency: Counter[str] = Counter()
    for word, count in word_counts.items():
        for symbol in word_symbols(word):
            frequency[symbol] += count
    pieces = sorted(frequency)
    ids = {piece: i for i, piece in enumerate(pieces)}
    words = [[ids[symbol] for symbol in word_symbols(word)] for word in word_counts]
    index = PairIndex(words, list(word_counts.values()))
    table = PairTable(index)
    symbol_counts = np.zeros(len(pieces) + n_pieces)
    symbol_counts[: len(pieces)] = [frequency[piece] for piece in pieces]
    learnt = frequent_symbols(frequency, n_pieces)
    while len(learnt) < n_pieces and (pair := table.best(symbol_counts)):
        merged = len(pieces)
        pieces.append(join_pieces(pieces[pair[0]], pieces[pair[1]]))
        learnt.append(pieces[merged])
        table.update(index.merge(pair, merged))
        for symbol in (*pair, merged):
            symbol_counts[symbol] = index.symbol_counts[symbol]
    return learnt


def longest_match(word: str, start: int, pieces: Collection[str], longest: int) -> str | None:
    """The longest of `pieces` that `word` goes on with at `start`, or None (Wu et al. 2016 §4.1, greedy).

    Inside a word (`start` > 0) only pieces with `##` fit. `longest` is the length of the longest piece,
    without its `##`.
    """
    prefix = CONTINUATION if start else ""
    for end in range(min(len(word), start + longest), start, -1):
        if (piece := prefix + word[start:end]) in pieces:
            return piece
    return None


class WordPieceTokenizer(SubwordTokenizer):
    """Ids of `special_tokens`, then the 256 bytes, then `pieces` in order."""

    kind: ClassVar[str] = "wordpiece"

    def __init__(self, pieces: Sequence[str], special_tokens: Sequence[str] = ()) -> None:
        texts = [piece.removeprefix(CONTINUATION) for piece in pieces]
        byte_values = [bytes([byte]) for byte in range(256)]
        super().__init__([*byte_values, *(text.encode("utf-8") for text in texts)], special_tokens)
        self.pieces = tuple(pieces)
        self._first_byte = len(special_tokens)
        self._first_piece = self._first_byte + 256
        self._ids = {piece: i for i, piece in enumerate(pieces, start=self._first_piece)}
        self._longest = max(map(len, texts), default=0)

    @classmethod
    def train(cls, text: str | Iterable[str], vocab_size: int, special_tokens: Sequence[str] = ()) -> Self:
        """Learn from `text`, or from several texts that no word spans, such as the lines of two languages.

        The vocabulary has `vocab_size` tokens, or fewer where joining more pieces gains nothing.
        Raises UserError if `text` is empty or `vocab_size` leaves no room for the 256 bytes.
        """
        n_pieces = room_for_pieces(vocab_size, special_tokens)
        return cls(train_wordpiece(count_words(training_lines(text), split_bert), n_pieces), special_tokens)

    def split(self, text: str) -> list[str]:
        """Words and punctuation marks as BERT cuts them (`split_bert`), and the white space it drops."""
        return split_bert(text)

    def encode_word(self, word: str) -> list[int]:
        """Token ids of one word: longest pieces from left to right, bytes where no piece fits."""
        ids: list[int] = []
        start = 0
        while start < len(word):
            piece = longest_match(word, start, self._ids, self._longest)
            if piece is None:
                ids.extend(self._first_byte + byte for byte in word[start].encode("utf-8"))
                start += 1
            else:
                ids.append(self._ids[piece])
                start += len(piece.removeprefix(CONTINUATION))
        return ids

    def token_text(self, token_id: int) -> str:
        """The token as a label: `##` before a piece that continues a word, `<0xE2>` for a byte."""
        text = super().token_text(token_id)
        if token_id < self._first_byte:
            return text
        if token_id < self._first_piece:
            return f"<0x{token_id - self._first_byte:02X}>"
        continues = self.pieces[token_id - self._first_piece].startswith(CONTINUATION)
        return CONTINUATION + text if continues else text

    def to_json(self) -> dict[str, Any]:
        """The special tokens and the pieces, in which a space is a space."""
        return {"kind": self.kind, "special_tokens": list(self.special_tokens), "pieces": list(self.pieces)}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The tokenizer that `to_json` described. Raises UserError for foreign or damaged data."""
        special_tokens, pieces = read_string_lists(data, cls.kind, "special_tokens", "pieces")
        if len(set(pieces)) != len(pieces) or "" in pieces or CONTINUATION in pieces:
            raise damaged("'pieces' must be strings of at least one character, each once")
        require_unicode("".join(pieces))
        return cls(pieces, special_tokens)
