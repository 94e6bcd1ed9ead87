"""From a report to one HTML file that needs nothing else: no script, no network, pictures inline."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadmap_shared.metrics import Interval
from roadmap_shared.report import blocks
from roadmap_shared.report.blocks import Block, Cell, Report
from roadmap_shared.report.figures import figure_svg, prefix_ids
from roadmap_shared.report.formatting import DASH, format_column, format_interval, format_number
from roadmap_shared.report.markup import paragraphs, printable

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).parent.parent / "templates"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

View = dict[str, Any]
"""What the template needs of one block: `type` and the block's fields, all numbers formatted."""


def render(report: Report) -> str:
    """The report as an HTML document, encodable as UTF-8 whatever characters its texts hold.

    Raises:
        ValueError: a figure that is neither SVG, PNG nor a matplotlib figure, or an unknown kind of callout.
    """
    view = partial(_view, figure_numbers=count(1), table_numbers=count(1))
    return template("report.html.j2").render(
        report=report,
        facts={name: _fact(value) for name, value in report.facts.items()},
        lead=[view(block) for block in report.lead],
        sections=[
            {"title": s.title, "intro": paragraphs(s.intro), "blocks": [view(block) for block in s.blocks]}
            for s in report.sections
        ],
    )


@cache
def template(name: str) -> jinja2.Template:
    """A template of this package; every value it prints is escaped and printable."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _finalize(value: object) -> object:
    """Makes every string printable; HTML that is marked as safe stays so, the rest is escaped after this."""
    if not isinstance(value, str):
        return value
    return type(value)(printable(value)) if hasattr(value, "__html__") else printable(value)


def _view(block: Block, figure_numbers: Iterator[int], table_numbers: Iterator[int]) -> View:
    match block:
        case blocks.Text(text):
            return {"type": "text", "html": paragraphs(text)}
        case blocks.KeyFigures(figures):
            return {"type": "key_figures", "figures": [key_figure_view(figure) for figure in figures]}
        case blocks.Table():
            return {"type": "table", "number": next(table_numbers), **_table_view(block)}
        case blocks.Figure():
            return {"type": "figure", **_figure_view(block, next(figure_numbers))}
        case blocks.Sample(text, label, prompt):
            return {"type": "sample", "text": text, "label": label, "prompt": prompt}
        case blocks.Code(text):
            return {"type": "code", "text": text.strip("\n")}
        case blocks.Callout(text, kind):
            if kind not in ("note", "tip", "warning"):
                raise ValueError(f"a callout is a note, a tip or a warning, not {kind!r}")
            return {"type": "callout", "kind": kind, "html": paragraphs(text)}
        case _:
            raise TypeError(f"not a report block: {block!r}")


def key_figure_view(figure: blocks.KeyFigure) -> View:
    """The texts of one tile."""
    interval = ""
    if isinstance(figure.value, Interval):
        value, interval = format_interval(figure.value)
    else:
        value = figure.value if isinstance(figure.value, str) else format_number(figure.value)
    return {
        "label": figure.label,
        "value": value,
        "unit": figure.unit,
        "note": figure.note,
        "interval": interval,
    }


def _table_view(table: blocks.Table) -> View:
    columns = [
        _column_view([row[i] for row in table.rows], table.formats.get(heading), table.highlight_best.get(heading))
        for i, heading in enumerate(table.columns)
    ]
    headings = [
        {
            "text": heading,
            "numeric": bool(cells) and all(cell["numeric"] or cell["text"] == DASH for cell in cells),
        }
        for heading, cells in zip(table.columns, columns, strict=True)
    ]
    return {"caption": table.caption, "headings": headings, "rows": list(zip(*columns, strict=True))}


def _column_view(cells: Sequence[Cell], spec: str | None, best: str | None) -> list[View]:
    sizes = [_size(cell) for cell in cells]
    plain = [c for c in cells if isinstance(c, int | float) and not isinstance(c, bool)]
    texts = iter([format(c, spec) for c in plain] if spec else format_column(plain))
    known = [size for size in sizes if not math.isnan(size)]
    target = {"min": min, "max": max}[best](known) if best and known else None
    return [
        {
            "text": next(texts) if isinstance(cell, int | float) and not isinstance(cell, bool) else _cell_text(cell),
            "range": format_interval(cell)[1] if isinstance(cell, Interval) else "",
            "numeric": isinstance(cell, int | float | Interval) and not isinstance(cell, bool),
            "best": target is not None and size == target,
        }
        for cell, size in zip(cells, sizes, strict=True)
    ]


def _size(cell: Cell) -> float:
    """The cell's number for comparison, NaN where it holds none."""
    if isinstance(cell, Interval):
        return cell.estimate
    return float(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else math.nan


def _cell_text(cell: str | bool | Interval | None) -> str:
    if cell is None:
        return DASH
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return format_interval(cell)[0] if isinstance(cell, Interval) else cell


def _fact(value: object) -> str:
    return format_number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _figure_view(figure: blocks.Figure, number: int) -> View:
    image = figure.image
    if isinstance(image, bytes):
        if not image.startswith(_PNG_SIGNATURE):
            raise ValueError(f"figure {number}: bytes must be a PNG, these start with {image[:8]!r}")
        picture = {"svg": "", "png": base64.b64encode(image).decode()}
    else:
        svg = image if isinstance(image, str) else figure_svg(image)
        if not svg.lstrip().startswith("<svg"):
            raise ValueError(f"figure {number}: text must be an <svg> element, this starts with {svg[:20]!r}")
        picture = {"svg": prefix_ids(svg, f"figure{number}-"), "png": ""}
    return {"number": number, "caption": figure.caption, "alt": figure.alt or figure.caption, **picture}
