"""Names beside the points of a figure, none over another or over a point."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in points (1/72 inch)."""

DISTANCES = (9.0, 22.0, 36.0, 52.0)
DIRECTIONS = tuple(math.radians(angle) for angle in (45, 225, 135, 315, 90, 270, 0, 180))
NO_LINE = 10.0
"""Points from a dot to its name up to which nothing has to join them."""

DOT = 4.0
"""Half the side of the square that a dot takes, in points."""


@dataclass(frozen=True)
class PointLabel:
    """A name that is wanted at a place in data coordinates."""

    text: str
    x: float
    y: float
    color: str
    size: float = 8.0
    """Of the letters, in points."""

    needed: bool = False
    """Where there is no room: draw it all the same. Otherwise it is left out."""


def label_points(axis: Axes, labels: Sequence[PointLabel]) -> None:
    """Write each name where there is room, the needed ones first; call it when all points are drawn."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # settles the layout, so that data have a place on the page
    scale = 72 / figure.dpi
    places = [tuple(scale * axis.transData.transform((label.x, label.y))) for label in labels]
    frame = axis.get_window_extent()
    page = tuple(scale * edge for edge in (frame.x0, frame.y0, frame.x1, frame.y1))
    taken = [(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in places]
    for label, (x, y) in sorted(zip(labels, places, strict=True), key=lambda pair: not pair[0].needed):
        options = list(_boxes(label, x, y))
        free = [box for box in options if inside(box, page) and not any(overlap(box, other) for other in taken)]
        if not free and not label.needed:
            continue
        box = free[0] if free else options[0]
        taken.append(box)
        offset = ((box[0] + box[2]) / 2 - x, (box[1] + box[3]) / 2 - y)
        _write(axis, label, offset, line=distance_to(box, x, y) > NO_LINE)


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes have an area in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def inside(box: Box, page: Sequence[float]) -> bool:
    """Whether a box lies within another."""
    return box[0] >= page[0] and box[1] >= page[1] and box[2] <= page[2] and box[3] <= page[3]


def distance_to(box: Box, x: float, y: float) -> float:
    """Points from a place to the nearest edge of a box; 0 inside."""
    return math.hypot(max(box[0] - x, 0.0, x - box[2]), max(box[1] - y, 0.0, y - box[3]))


def _boxes(label: PointLabel, x: float, y: float) -> Iterator[Box]:
    """Where the name could stand, the nearest first. Letters of DejaVu Sans are some 0.6 of their size wide."""
    half_width, half_height = 0.3 * label.size * len(label.text), 0.6 * label.size
    for distance in DISTANCES:
        for angle in DIRECTIONS:
            # The edge that faces the dot is what the distance is measured to, not the middle.
            middle_x = x + math.cos(angle) * (distance + half_width)
            middle_y = y + math.sin(angle) * (distance + half_height)
            yield middle_x - half_width, middle_y - half_height, middle_x + half_width, middle_y + half_height


def _write(axis: Axes, label: PointLabel, offset: tuple[float, float], line: bool) -> None:
    arrow = {"arrowstyle": "-", "color": label.color, "linewidth": 0.5, "alpha": 0.5, "shrinkA": 1, "shrinkB": 3}
    name = axis.annotate(
        label.text,
        (label.x, label.y),
        offset,
        textcoords="offset points",
        ha="center",
        va="center",
        color=label.color,
        fontsize=label.size,
        parse_math=False,
        arrowprops=arrow if line else None,
    )
    name.set_in_layout(False)  # dots far apart must not squeeze the panels
