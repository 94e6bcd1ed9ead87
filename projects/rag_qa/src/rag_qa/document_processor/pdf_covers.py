"""Texts of a PDF page that something else may hide: a picture or an area drawn over them, or one of their own colour
beneath them.

That is a suspicion only, cheap enough to be had of every page. The page, rendered with and without them, decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int, int]
"""Red, green, blue, alpha, 0 to 255."""

_LIKE = 40
"""Difference of the most different of red, green and blue below which a text may be lost on an area."""

_LEAST_WIDTH, _LEAST_HEIGHT = 4.0, 2.0
"""Points: rules and dots hide no text."""


@dataclass(slots=True)
class Cover:
    """A picture or a filled area."""

    order: int
    """Place in the order of drawing."""

    bounds: tuple[float, float, float, float]
    colour: Colour | None
    """None for pictures and gradients, which may have any colour anywhere."""


def is_large(left: float, bottom: float, right: float, top: float) -> bool:
    """Whether an area could hide a text."""
    return right - left >= _LEAST_WIDTH and top - bottom >= _LEAST_HEIGHT


def in_doubt(
    orders: Sequence[int],
    bounds: Sequence[tuple[float, float, float, float]],
    colours: Sequence[Colour],
    covers: Sequence[Cover],
) -> NDArray[np.bool_]:
    """(T,) mask of the texts whose middle lies in a cover that was drawn after them or that may have their colour.

    Args:
        orders: (T,) places of the texts in the order of drawing.
        bounds: (T,) left, bottom, right and top.
        colours: (T,) of their filling.
        covers: pictures and areas.
    """
    doubtful = np.zeros(len(orders), dtype=bool)
    if not covers or not len(orders):
        return doubtful
    drawn, boxes = np.asarray(orders), np.asarray(bounds, dtype=np.float64)
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    filling = np.asarray(colours, dtype=np.int16)[:, :3]
    for cover in covers:
        left, bottom, right, top = cover.bounds
        within = (left <= x) & (x <= right) & (bottom <= y) & (y <= top)
        if not within.any():
            continue
        suspicious = drawn < cover.order
        if cover.colour is None:
            suspicious[:] = True
        else:
            suspicious |= np.abs(filling - np.array(cover.colour[:3], dtype=np.int16)).max(axis=1) < _LIKE
        doubtful |= within & suspicious
    return doubtful
