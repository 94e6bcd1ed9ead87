"""Where the boxes and lines of the beam search's picture go."""

from dataclasses import dataclass

from text_generation.decoding.beam_trace import BeamTrace, Fate
from text_generation.decoding.microscope import Microscope

COLUMN, ROW, BOX, TOP = 150, 34, 112, 30
"""Width of a step, height of a candidate, width of its box, room for the headings; in pixels."""


@dataclass(frozen=True)
class Box:
    """A candidate of one step."""

    x: float
    y: float
    token: str
    logprob: float
    fate: Fate
    wins: bool
    """Whether it lies on the way to the answer that won."""

    line: tuple[float, float] | None
    """Right middle of the box that it continues. None in the first step."""


@dataclass(frozen=True)
class Picture:
    """All boxes, and the size of the whole."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    n_steps: int


def beam_picture(microscope: Microscope) -> Picture:
    """One column a step, kept candidates above ended and dropped ones, each joined to the beam that it continues."""
    trace = microscope.beams
    winners = winning_candidates(trace)
    boxes: list[Box] = []
    parents: list[tuple[float, float]] = []
    rows = 0
    for index, (step, texts) in enumerate(zip(trace.steps, microscope.beam_tokens, strict=True)):
        # A stable sort: the kept ones stay in the order in which the next step counts them.
        order = sorted(range(len(step)), key=lambda place: ("kept", "ended", "dropped").index(step[place].fate))
        x = float(index * COLUMN)
        next_parents = []
        for row, place in enumerate(order):
            candidate = step[place]
            y = float(TOP + row * ROW)
            line = parents[candidate.parent] if parents else None
            wins = winners[index] == place
            boxes.append(Box(x, y, texts[place], candidate.logprob, candidate.fate, wins, line))
            if candidate.fate == "kept":
                next_parents.append((x + BOX, y + (ROW - 8) / 2))
        parents, rows = next_parents, max(rows, len(order))
    n_steps = len(trace.steps)
    return Picture(n_steps * COLUMN - COLUMN + BOX + 2, TOP + rows * ROW, tuple(boxes), n_steps)


def winning_candidates(trace: BeamTrace) -> list[int | None]:
    """Of each step, which candidate lies on the way to the answer that won; None after its end."""
    winners: list[int | None] = [None] * len(trace.steps)
    texts: list[tuple[int, ...]] = [()]
    ways: list[list[int]] = [[]]
    for step in trace.steps:
        next_texts, next_ways = [], []
        for place, candidate in enumerate(step):
            text = (*texts[candidate.parent], candidate.token)
            way = [*ways[candidate.parent], place]
            if candidate.fate == "ended" and text == trace.best:
                winners[: len(way)] = way
            if candidate.fate == "kept":
                next_texts.append(text)
                next_ways.append(way)
        texts, ways = next_texts, next_ways
    return winners
