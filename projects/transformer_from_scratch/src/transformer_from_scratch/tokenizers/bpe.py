"""Byte-level byte-pair encoding (Sennrich, Haddow & Birch 2016; on bytes: Radford et al. 2019, GPT-2).

Training starts from the 256 bytes and joins the most frequent pair of neighbouring tokens into a new token,
again and again. Encoding applies the same merges in the same order. As every string is bytes, every string
can be written.

Trained on the same text, the merges equal those of Hugging Face's `tokenizers` (`BpeTrainer` with the
`ByteLevel` pre-tokenizer and `min_frequency=2`), ties included: among equally frequent pairs, the one with
the smaller ids wins.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any, ClassVar, Self

from transformer_from_scratch.tokenizers.base import (
    SubwordTokenizer,
    damaged,
    read_string_lists,
    room_for_pieces,
    training_lines,
)
from transformer_from_scratch.tokenizers.pairs import MIN_PAIR_COUNT, PairIndex, merge_pair
from transformer_from_scratch.tokenizers.words import count_words, split_gpt2

Merge = tuple[bytes, bytes]


@cache
def printable_bytes() -> dict[int, str]:
    """A printable character for each byte (GPT-2's `bytes_to_unicode`), in the order of the base vocabulary.

    Bytes that Latin-1 prints keep its character and come first; the other 68 get U+0100 and on, so that a
    space is `Ġ`.
    """
    latin = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in latin]
    return {byte: chr(byte) for byte in latin} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def base_vocabulary() -> list[bytes]:
    """The 256 single bytes in GPT-2's order."""
    return [bytes([byte]) for byte in printable_bytes()]


def train_bpe(word_counts: Mapping[str, int], n_tokens: int) -> list[Merge]:
    """Learn merges until they make `n_tokens` new tokens, or no pair occurs twice.

    `word_counts` is how often each word occurs in the training text. Each step joins the pair with the
    highest count; ties go to the smallest pair of ids, where ids count the base vocabulary and then the
    tokens in the order of their making.
    """
    tokens = base_vocabulary()
    ids = {token: i for i, token in enumerate(tokens)}
    words = [[ids[bytes([byte])] for byte in word.encode("utf-8")] for word in word_counts]
    index = PairIndex(words, list(word_counts.values()))
    # Counts in the heap may be out of date: only ever too high, as a pair gains only when a merge creates it.
    heap = [(-count, pair) for pair, count in index.pair_counts.items()]
    heapify(heap)
    merges: list[Merge] = []
    while heap and len(tokens) < 256 + n_tokens:
        negative, pair = heappop(heap)
        count = index.pair_counts[pair]
        if count < -negative:
            heappush(heap, (-count, pair))
            continue
        if count < MIN_PAIR_COUNT:
            break
        left, right = tokens[pair[0]], tokens[pair[1]]
        merges.append((left, right))
        merged = len(tokens)
        tokens.append(left + right)
        for changed in index.merge(pair, merged):
            if merged in changed:
                heappush(heap, (-index.pair_counts[changed], changed))
    return merges


def apply_merges(word: Sequence[bytes], ranks: Mapping[Merge, int]) -> list[bytes]:
    """Join the pairs of `word` that have a rank, lowest rank (earliest learnt) first, until none is left.

    Costs one pass over the word for each merge that applies: quick for words, slow for tens of thousands of
    letters in a row.
    """
    tokens = list(word)
    while len(tokens) > 1:
        pair = min(pairwise(tokens), key=lambda pair: ranks.get(pair, len(ranks)))
        if pair not in ranks:
            break
        tokens = merge_pair(tokens, pair, pair[0] + pair[1])
    return tokens


class ByteBPETokenizer(SubwordTokenizer):
    """Ids of `special_tokens`, then the 256 bytes in GPT-2's order, then the tokens that `merges` make."""

    kind: ClassVar[str] = "bpe"

    def __init__(self, merges: Sequence[Merge], special_tokens: Sequence[str] = ()) -> None:
        tokens = [*base_vocabulary(), *(left + right for left, right in merges)]
        super().__init__(tokens, special_tokens)
        self.merges = tuple(merges)
        self._ranks = {merge: rank for rank, merge in enumerate(merges)}
        self._ids = {token: i for i, token in enumerate(tokens, start=len(special_tokens))}

    @classmethod
    def train(cls, text: str | Iterable[str], vocab_size: int, special_tokens: Sequence[str] = ()) -> Self:
        """Learn from `text`, or from several texts that no word spans, such as the lines of two languages.

        The vocabulary has `vocab_size` tokens, or fewer where the text runs out of pairs that occur twice.
        Raises UserError if `text` is empty or `vocab_size` leaves no room for the 256 bytes.
        """
        n_tokens = room_for_pieces(vocab_size, special_tokens)
        return cls(train_bpe(count_words(training_lines(text), split_gpt2), n_tokens), special_tokens)

    def split(self, text: str) -> list[str]:
        """Words by GPT-2's pattern (`split_gpt2`)."""
        return split_gpt2(text)

    def encode_word(self, word: str) -> list[int]:
        """Token ids of one word: its bytes, joined by the merges."""
        single_bytes = [bytes([byte]) for byte in word.encode("utf-8")]
        return [self._ids[token] for token in apply_merges(single_bytes, self._ranks)]

    def to_json(self) -> dict[str, Any]:
        """Merges are written as in GPT-2's `merges.txt`: `"Ġ t"` joins a space and a t."""
        merges = [f"{to_printable(left)} {to_printable(right)}" for left, right in self.merges]
        return {"kind": self.kind, "special_tokens": list(self.special_tokens), "merges": merges}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The tokenizer that `to_json` described. Raises UserError for foreign or damaged data."""
        special_tokens, lines = read_string_lists(data, cls.kind, "special_tokens", "merges")
        return cls(parse_merges(lines), special_tokens)


def to_printable(token: bytes) -> str:
    """The bytes of a token as GPT-2's files write them: `b" t"` is `Ġt`."""
    return "".join(printable_bytes()[byte] for byte in token)


def parse_merges(lines: Sequence[str]) -> list[Merge]:
    """Merges from the lines of GPT-2's `merges.txt` (without its version line).

    Raises UserError for a line that is no pair, joins a token that no earlier line makes, or makes one that
    an earlier line made: training never does, because a merge replaces its pair everywhere.
    """
    byte_of = {character: bytes([byte]) for byte, character in printable_bytes().items()}
    known = set(base_vocabulary())
    merges: list[Merge] = []
    for number, line in enumerate(lines):
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts) or not byte_of.keys() >= set("".join(parts)):
            raise damaged(f"merge {number} {line!r} is not two tokens with a space between")
        left, right = (b"".join(byte_of[character] for character in part) for part in parts)
        if left not in known or right not in known:
            raise damaged(f"merge {number} {line!r} joins a token that no earlier merge makes")
        if left + right in known:
            raise damaged(f"merge {number} {line!r} makes a token that an earlier merge made")
        merges.append((left, right))
        known.add(left + right)
    return merges
