"""Four ways to cut a text: recursive, by sentence, by heading, by topic. Each gives pieces that touch each other."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np

from rag_qa.config.chunking import ChunkingConfig
from rag_qa.document_processor.layout import Layout, Level, Piece
from rag_qa.document_processor.packing import cut_at, cut_to_fit, mend_small, pack, with_overlap
from rag_qa.document_processor.sections import Outline, common_path
from rag_qa.protocols import FloatArray

Encode = Callable[[Sequence[str]], FloatArray]


def split_recursively(layout: Layout, piece: Piece, config: ChunkingConfig) -> list[Piece]:
    """Cut at blank lines; what does not fit, at lines; then at sentences; then at words."""
    pieces = mend_small(layout, cut_to_fit(layout, piece), config.minimum)
    return with_overlap(layout, pieces, config.overlap, Level.WORD)


def split_by_sentence(layout: Layout, piece: Piece, config: ChunkingConfig) -> list[Piece]:
    """As many whole sentences as fit. A sentence that does not fit by itself is cut at words."""
    parts = [smaller for part in cut_at(layout, piece, Level.SENTENCE) for smaller in cut_to_fit(layout, part)]
    pieces = mend_small(layout, pack(layout, parts), config.minimum, Level.SENTENCE)
    return with_overlap(layout, pieces, config.overlap, Level.SENTENCE)


def split_by_heading(layout: Layout, outline: Outline, config: ChunkingConfig) -> list[Piece]:
    """Cut at headings, join sections below the minimum to a neighbour, cut those too large recursively."""
    return [
        piece
        for section in _joined_sections(layout, outline, config.minimum)
        for piece in split_recursively(layout, section, config)
    ]


def _joined_sections(layout: Layout, outline: Outline, minimum: int) -> list[Piece]:
    """Sections, small ones joined: to their first subsection, or to the neighbour that shares more titles above."""
    sections = [
        (piece, section.path)
        for section in outline.sections
        if (piece := (layout.index(section.start), layout.index(section.end))) and piece[0] < piece[1]
    ]
    joined: list[Piece] = []
    for index, (piece, path) in enumerate(sections):
        if not index:
            joined.append(piece)
            continue
        before, path_before = sections[index - 1]
        both = (joined[-1][0], piece[1])
        fits = layout.count(both) <= layout.room
        small = layout.count(piece) < minimum
        if layout.count(before) < minimum and path[: len(path_before)] == path_before and path_before:
            join = True  # a heading with next to no text of its own introduces what is below it, however long that is
        elif layout.count(joined[-1]) < minimum:
            join = fits
        elif small and fits:
            behind = sections[index + 1][1] if index + 1 < len(sections) else ()
            join = len(common_path([path_before, path])) >= len(common_path([path, behind]))
        else:
            join = False
        joined[-1:] = [both] if join else [joined[-1], piece]
    return joined


def split_by_topic(layout: Layout, piece: Piece, config: ChunkingConfig, encode: Encode) -> list[Piece]:
    """Cut between the sentences whose neighbourhoods are least alike, the least alike first, until all pieces fit.

    The likeness at a cut is the cosine similarity of the `semantic_window` sentences before it and as many after it
    (the idea of TextTiling, Hearst 1997, with sentence vectors in place of word counts). The lowest
    `semantic_percentile` percent are cut even where both sides would fit together. No cut leaves a side below the
    minimum.
    """
    inner: list[int] = layout.inner(piece, Level.SENTENCE).tolist()
    if not inner:
        return split_recursively(layout, piece, config)
    likeness = _likeness(layout, [piece[0], *inner, piece[1]], config.semantic_window, encode)
    threshold = np.percentile(likeness, config.semantic_percentile) if config.semantic_percentile else -np.inf
    bounds = _Bounds(piece)
    for place in np.argsort(likeness, kind="stable").tolist():
        cut = inner[place]
        first, last = bounds.around(cut)
        if layout.count((first, last)) <= layout.room and likeness[place] > threshold:
            continue
        if min(layout.count((first, cut)), layout.count((cut, last))) >= config.minimum:
            bounds.add(cut)
    parts = [smaller for part in bounds.pieces() for smaller in cut_to_fit(layout, part)]
    pieces = mend_small(layout, parts, config.minimum, Level.SENTENCE)
    return with_overlap(layout, pieces, config.overlap, Level.SENTENCE)


def _likeness(layout: Layout, bounds: Sequence[int], window: int, encode: Encode) -> FloatArray:
    """(n_sentences - 1,) cosine similarity of the windows that meet at each inner bound."""
    n = len(bounds) - 1
    last = [min(i + window, n) for i in range(n)]
    texts = [layout.text[layout.cuts[bounds[i]] : layout.ends[bounds[last[i]] - 1]] for i in range(n)]
    vectors = encode(texts)
    before = [max(0, i - window) for i in range(1, n)]
    # Near the beginning there are fewer sentences before the cut than the window holds.
    short = [i for i in range(1, n) if i < window]
    left = vectors[before].copy()
    if short:
        heads = [layout.text[layout.cuts[bounds[0]] : layout.ends[bounds[i] - 1]] for i in short]
        left[: len(short)] = encode(heads)
    return np.einsum("nd,nd->n", left, vectors[1:])


class _Bounds:
    """Cuts made so far, in order."""

    def __init__(self, piece: Piece) -> None:
        self._bounds = list(piece)

    def around(self, cut: int) -> Piece:
        """The piece that holds the cut."""
        place = bisect_left(self._bounds, cut)
        return self._bounds[place - 1], self._bounds[place]

    def add(self, cut: int) -> None:
        self._bounds.insert(bisect_left(self._bounds, cut), cut)

    def pieces(self) -> list[Piece]:
        """The pieces between the cuts."""
        return list(zip(self._bounds, self._bounds[1:], strict=False))
