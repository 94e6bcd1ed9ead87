"""What a report is made of. Plain data: nothing here knows HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from roadmap_shared.metrics import Interval

if TYPE_CHECKING:
    import matplotlib.figure

Cell = str | bool | int | float | Interval | None


@dataclass(frozen=True)
class Text:
    """Paragraphs, separated by blank lines. Lines that start with "- " form a list.

    Within a line: **bold**, `code` and [label](https://address). Everything else is shown as it stands.
    """

    text: str


@dataclass(frozen=True)
class KeyFigure:
    """One headline number; of an `Interval`, taken as a 95 % one, both ends stand under the estimate."""

    label: str
    value: str | int | float | Interval
    note: str = ""
    unit: str = ""


@dataclass(frozen=True)
class KeyFigures:
    """A row of tiles, one per headline number."""

    figures: Sequence[KeyFigure]


@dataclass(frozen=True)
class Table:
    """A table. A column of numbers is right-aligned and rounded as one; None and NaN are shown as a dash.

    Args:
        columns: headings, all different.
        rows: one cell per column.
        highlight_best: by heading, whether the "min" or the "max" of the column is the best: set in bold.
        formats: by heading, the format specification (`".3f"`, `",d"`) of its numbers, instead of a common
            rounding.

    Raises:
        ValueError: a row of another length, a repeated heading, or a setting for a heading that is not there.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    highlight_best: Mapping[str, Literal["min", "max"]] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(f"table headings must differ, got {list(self.columns)}")
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {index} has {len(row)} cells for {len(self.columns)} columns: {list(row)}")
        for heading in [*self.highlight_best, *self.formats]:
            if heading not in self.columns:
                raise ValueError(f"no column {heading!r} among {list(self.columns)}")


@dataclass(frozen=True)
class Figure:
    """A picture: a matplotlib figure, the text of an SVG, or the bytes of a PNG.

    Draw within `figure_style()`, so that the figure takes its colours from the page. `alt` says what the
    picture shows to those who do not see it; the caption stands in where it is empty.
    """

    image: str | bytes | matplotlib.figure.Figure
    caption: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Sample:
    """Generated text in monospace, every space and line break kept; the prompt before it is set apart."""

    text: str
    label: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class Code:
    """A command or a piece of code, to be copied."""

    text: str


@dataclass(frozen=True)
class Callout:
    """A remark set apart from the text; written as in `Text`."""

    text: str
    kind: Literal["note", "tip", "warning"] = "note"


Block = Text | KeyFigures | Table | Figure | Sample | Code | Callout


@dataclass(frozen=True)
class Section:
    """A titled part of the report; `intro` is a first paragraph, written as in `Text`."""

    title: str
    blocks: Sequence[Block]
    intro: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A page about one run.

    Args:
        subtitle: one sentence under the title.
        project: import name of the project.
        command: what repeats the run.
        facts: small print under the title, name to value: configuration, seed, duration, versions, date.
        lead: blocks above the first section; the place for `KeyFigures`.
    """

    title: str
    project: str
    command: str
    sections: Sequence[Section]
    subtitle: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    lead: Sequence[Block] = ()
