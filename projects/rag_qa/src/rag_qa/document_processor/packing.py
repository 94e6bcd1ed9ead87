"""Pieces of a text to chunks: cut what is too long, join what fits, mend what is too small, repeat the overlap."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rag_qa.document_processor.layout import Layout, Level, Piece


def cut_to_fit(layout: Layout, piece: Piece, level: Level = Level.PARAGRAPH) -> list[Piece]:
    """Cut a piece at the best level that it has, cut again what is still too long, and join neighbours that fit.

    Each piece of the result fits into the room, single words apart. Linear in the length of the piece.
    """
    if layout.count(piece) <= layout.room or piece[1] - piece[0] == 1:
        return [piece]
    if level >= Level.WORD:
        return _fill(layout, piece)
    inner = layout.inner(piece, level)
    following = Level(level + 1)
    if not inner.size:
        return cut_to_fit(layout, piece, following)
    parts = pairwise([piece[0], *inner.tolist(), piece[1]])
    return pack(layout, [smaller for part in parts for smaller in cut_to_fit(layout, part, following)])


def _fill(layout: Layout, piece: Piece) -> list[Piece]:
    """As many words as fit, again and again."""
    pieces: list[Piece] = []
    first = piece[0]
    while first < piece[1]:
        last = layout.furthest(first, piece[1])
        pieces.append((first, last))
        first = last
    return pieces


def pack(layout: Layout, pieces: Sequence[Piece]) -> list[Piece]:
    """Join each piece to the one before it where both fit into the room together."""
    packed: list[Piece] = []
    for piece in pieces:
        if packed and layout.count((packed[-1][0], piece[1])) <= layout.room:
            packed[-1] = (packed[-1][0], piece[1])
        else:
            packed.append(piece)
    return packed


def mend_small(layout: Layout, pieces: Sequence[Piece], minimum: int, level: Level = Level.WORD) -> list[Piece]:
    """Join pieces below the minimum to a neighbour; where both do not fit into one, cut the two anew, near the middle.

    Args:
        layout: of the text.
        pieces: neighbours, in order.
        minimum: tokens.
        level: the worst cut that may be made anew.
    """
    mended: list[Piece] = []
    for piece in pieces:
        if mended and min(layout.count(mended[-1]), layout.count(piece)) < minimum:
            both = (mended[-1][0], piece[1])
            if layout.count(both) <= layout.room:
                mended[-1] = both
                continue
            if halves := layout.halves(both, minimum, level):
                mended[-1:] = halves
                continue
        mended.append(piece)
    return mended


def with_overlap(layout: Layout, pieces: Sequence[Piece], overlap: int, level: Level) -> list[Piece]:
    """Let each piece but the first begin earlier by up to `overlap` tokens, at a cut of at least this level.

    No piece takes in the whole of the one before it.
    """
    if not overlap or not pieces:
        return list(pieces)
    begins = (layout.earliest(first, before, overlap, level) for (before, _), (first, _) in pairwise(pieces))
    return [pieces[0], *((begin, last) for begin, (_, last) in zip(begins, pieces[1:], strict=True))]


def cut_at(layout: Layout, piece: Piece, level: Level) -> list[Piece]:
    """Cut a piece at every cut of at least this level."""
    inner: list[int] = np.asarray(layout.inner(piece, level)).tolist()
    return list(pairwise([piece[0], *inner, piece[1]]))
