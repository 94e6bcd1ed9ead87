"""Lengths in tokens of any part of a text, after one pass of the tokenizer."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

TokenSpans = Callable[[str], list[tuple[int, int]]]
"""Character offsets of the tokens of a text, as `Encoder.token_spans` gives them."""

IntArray = NDArray[np.int64]

MAX_TOKEN_CHARACTERS = 100
"""A stretch without the beginning of a token counts one token for each so many characters. WordPiece makes a single
unknown token of any longer word: a line of 10 MB without a space would have the length 1."""

_BLOCK = 100_000  # characters given to the tokenizer at a time: its working memory is many times the text's


class TokenRuler:
    """Counts tokens between offsets of one text.

    A part has as many tokens as begin in it. That is what the tokenizer finds in the part alone, if it never joins
    what white space or punctuation separates (WordPiece); others may find one or two more at a part's ends.
    """

    starts: IntArray
    """Where tokens begin, ascending."""

    def __init__(self, text: str, token_spans: TokenSpans) -> None:
        self.starts = _starts(text, token_spans)

    def before(self, offsets: IntArray) -> IntArray:
        """Number of tokens that begin before each offset."""
        return np.searchsorted(self.starts, offsets, side="left").astype(np.int64)

    def count(self, start: int, end: int) -> int:
        """Number of tokens that begin in text[start:end]."""
        first, last = np.searchsorted(self.starts, [start, end], side="left")
        return int(last - first)


def _starts(text: str, token_spans: TokenSpans) -> IntArray:
    """Beginnings of all tokens, and of each MAX_TOKEN_CHARACTERS of a stretch that holds none."""
    found: list[IntArray] = []
    begin = 0
    while begin < len(text):
        end = _block_end(text, begin)
        spans = np.array([span for span in token_spans(text[begin:end]) if span[0] < span[1]], dtype=np.int64)
        if spans.size:
            found.append(spans[:, 0] + begin)
        begin = end
    starts = np.sort(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    edges = np.concatenate([[0], starts, [len(text)]])
    wide = np.flatnonzero(np.diff(edges) > MAX_TOKEN_CHARACTERS)
    more = [np.arange(edges[i] + MAX_TOKEN_CHARACTERS, edges[i + 1], MAX_TOKEN_CHARACTERS) for i in wide]
    return np.sort(np.concatenate([starts, *more])) if more else starts


def _block_end(text: str, begin: int) -> int:
    """End of the block from `begin` on: at white space, where no token is cut, if its second half has any."""
    end = begin + _BLOCK
    if end >= len(text):
        return len(text)
    for mark in ("\n", " ", "\t"):
        found = text.rfind(mark, begin + _BLOCK // 2, end)
        if found >= 0:
            return found + 1
    return end
