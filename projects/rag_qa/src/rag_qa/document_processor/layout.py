"""All places where a text may be cut, how good each is, and how many tokens lie between them."""

import re
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from rag_qa.document_processor.sections import line_start
from rag_qa.document_processor.sentences import IDEOGRAPHS, sentence_spans
from rag_qa.document_processor.token_ruler import IntArray, TokenRuler, TokenSpans
from rag_qa.types import Document

Piece = tuple[int, int]
"""Part of a text between two cuts: their indices in `Layout.cuts`, first included and last not."""


class Level(IntEnum):
    """What a cut separates, the best first."""

    PARAGRAPH = 0
    LINE = 1
    """Lines that are more than wraps of one sentence: list items, headings, rows."""

    SENTENCE = 2
    WORD = 3
    WITHIN_WORD = 4
    """Within a word that is longer than a chunk: there is no other way."""


# What stays together as a word: an ideograph with the marks that may not begin or end a line, or anything between
# spaces.
_CLOSING = "。｡！？；．，、：」』】》〉）…"
_OPENING = "（「『【《〈“‘"
_WORD = re.compile(
    rf"[{_OPENING}]*+(?:[{IDEOGRAPHS}][{_CLOSING}”’\"']*+|[^\s{IDEOGRAPHS}{_OPENING}{_CLOSING}]++[{_CLOSING}]*+)"
    rf"|[{_OPENING}{_CLOSING}]++"
)


_UNDERLINE = re.compile(r"[=\-~^*]{3,200}[ \t]*$", re.MULTILINE)


class Layout:
    """Cuts of one document, for chunks of at most `room` tokens.

    Cuts lie at the beginnings of words, so that a piece is a run of whole words and the white space behind them.
    """

    def __init__(self, document: Document, token_spans: TokenSpans, room: int) -> None:
        text = document.text
        self.text = text
        self.room = room
        ruler = TokenRuler(text, token_spans)
        self.sentences = sentence_spans(text)
        words = _word_starts(text, self.sentences, [line_start(text, heading) for heading in document.headings])
        ends = _ends(text, words)
        within = _cuts_within_words(words, ends, ruler, room)
        self.cuts: IntArray = _sorted_set(np.concatenate([words, within]))
        """(n_cuts,) offsets; the text before the first of them is blank."""

        self.ends: IntArray = _ends(text, self.cuts)
        """(n_cuts,) where the piece behind each cut ends, without white space."""

        self.levels: NDArray[np.int8] = self._levels(words, document)
        self._before = ruler.before(self.cuts)
        self._until = ruler.before(self.ends)

    def __len__(self) -> int:
        return len(self.cuts)

    def count(self, piece: Piece) -> int:
        """Tokens of a piece."""
        return int(self._until[piece[1] - 1] - self._before[piece[0]])

    def furthest(self, first: int, last: int) -> int:
        """The largest piece from cut `first` on that fits into the room, `last` at most: the index of its last cut."""
        end = int(np.searchsorted(self._until, self._before[first] + self.room, side="right"))
        return min(max(end, first + 1), last)

    def earliest(self, first: int, lowest: int, tokens: int, level: Level) -> int:
        """The earliest cut of at least this level, behind `lowest`, with at most so many tokens up to cut `first`."""
        begin = int(np.searchsorted(self._before, self._before[first] - tokens, side="left"))
        begin = max(begin, lowest + 1)
        good = np.flatnonzero(self.levels[begin:first] <= level)
        return begin + int(good[0]) if good.size else first

    def inner(self, piece: Piece, level: Level) -> IntArray:
        """Indices of the cuts within a piece that are of at least this level."""
        return np.flatnonzero(self.levels[piece[0] + 1 : piece[1]] <= level) + piece[0] + 1

    def index(self, offset: int) -> int:
        """Index of the first cut at or behind an offset."""
        return int(np.searchsorted(self.cuts, offset, side="left"))

    def halves(self, piece: Piece, minimum: int, level: Level) -> tuple[Piece, Piece] | None:
        """Cut a piece in two that fit and have the minimum: at the best level, near the middle. None: impossible."""
        inner = self.inner(piece, level)
        left = self._until[inner - 1] - self._before[piece[0]]
        right = self._until[piece[1] - 1] - self._before[inner]
        fine = (np.minimum(left, right) >= minimum) & (np.maximum(left, right) <= self.room)
        if not fine.any():
            return None
        inner, distance = inner[fine], np.abs(left - right)[fine]
        cut = int(inner[np.lexsort((distance, self.levels[inner]))[0]])
        return (piece[0], cut), (cut, piece[1])

    def _levels(self, words: IntArray, document: Document) -> NDArray[np.int8]:
        """Level of each cut, by the white space before it."""
        cuts, text = self.cuts, self.text
        levels = np.full(len(cuts), Level.WITHIN_WORD, dtype=np.int8)
        levels[np.isin(cuts, words)] = Level.WORD
        sentence = np.isin(cuts, [start for start, _ in self.sentences])
        levels[sentence] = Level.SENTENCE
        breaks = np.array([match.start() for match in re.finditer("\n", text)], dtype=np.int64)
        before = np.concatenate([[0], self.ends[:-1]]) if len(cuts) else cuts
        lines = np.searchsorted(breaks, cuts) - np.searchsorted(breaks, before)
        levels[sentence & (lines == 1)] = Level.LINE
        levels[lines >= 2] = Level.PARAGRAPH
        # A heading begins a paragraph and stays with the first sentence below it.
        for heading in document.headings:
            below = self.index(heading.end)
            if below < len(cuts):
                levels[below] = max(levels[below], Level.SENTENCE)
                underline = _UNDERLINE.match(text, int(cuts[below]))
                if underline and (below := self.index(underline.end())) < len(cuts):
                    levels[below] = max(levels[below], Level.SENTENCE)
        levels[np.isin(cuts, [line_start(text, heading) for heading in document.headings])] = Level.PARAGRAPH
        return levels


def _word_starts(text: str, sentences: Sequence[tuple[int, int]], headings: Sequence[int]) -> IntArray:
    words = np.fromiter((match.start() for match in _WORD.finditer(text)), dtype=np.int64)
    first_of_sentences = np.array([start for start, _ in sentences], dtype=np.int64)
    of_headings = np.array([start for start in headings if not text[start : start + 1].isspace()], dtype=np.int64)
    return _sorted_set(np.concatenate([words, first_of_sentences, of_headings[of_headings < len(text)]]))


def _sorted_set(offsets: IntArray) -> IntArray:
    """Distinct offsets, ascending; several times faster than numpy.unique on what is nearly sorted."""
    ascending = np.sort(offsets, kind="stable")
    return ascending[np.diff(ascending, prepend=-1) > 0]


def _ends(text: str, cuts: IntArray) -> IntArray:
    """Where the text behind each cut ends, up to the next cut and without white space."""
    blanks = np.array([match.span() for match in re.finditer(r"\s+", text)], dtype=np.int64).reshape(-1, 2)
    ends = np.append(cuts[1:], len(text))
    # A cut is never made within white space, so that the white space before it ends where it lies.
    place = np.minimum(np.searchsorted(blanks[:, 1], ends), max(len(blanks) - 1, 0))
    return np.where(blanks[place, 1] == ends, blanks[place, 0], ends) if len(blanks) else ends


def _cuts_within_words(words: IntArray, ends: IntArray, ruler: TokenRuler, room: int) -> IntArray:
    """Cuts every `room` tokens within the words that are longer."""
    long = np.flatnonzero(ruler.before(ends) - ruler.before(words) > room)
    cuts: list[int] = []
    for start, end in zip(words[long].tolist(), ends[long].tolist(), strict=True):
        token, last = ruler.before(np.array([start, end])).tolist()
        while token + room < last:
            # Tokens may share a character, as bytes do: the cut goes before all of them, or behind where they fill it.
            offset = int(ruler.starts[token + room])
            following = int(np.searchsorted(ruler.starts, offset, side="left"))
            if following <= token:
                following = int(np.searchsorted(ruler.starts, offset, side="right"))
                if following >= last:
                    break
                offset = int(ruler.starts[following])
            cuts.append(offset)
            token = following
    return np.array(cuts, dtype=np.int64)
