"""Matplotlib figures that look right on a light and on a dark page.

Everything that is neither data nor background is drawn in one colour, `INK`, which the inlined SVG then takes
from the page (`currentColor`). Data colours have a contrast of 3:1 or more on both backgrounds and stay apart
for readers with a colour vision deficiency. Text stays text: it is searchable and set in the font of the
page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import matplotlib.figure

INK = "#010203"
"""Stands for the colour of the page's text; use it for annotations. Nearly black in a PNG."""

PALETTE = ("#2f63d9", "#dd6a16", "#16a085", "#ad3f93", "#84643a")
"""Blue, orange, green, purple, brown: the order of the lines. A dark page shows lighter ones."""

_HEAT_LOW, _HEAT_HIGH = "#e0561b", "#3a76ee"

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "figure.figsize": (7.2, 3.6),
    "font.size": 9.5,
    "grid.alpha": 0.14,
    "grid.color": INK,
    "grid.linewidth": 0.7,
    "image.cmap": "roadmap-sequential",
    "image.interpolation": "none",  # the SVG then holds the array itself, not a blurred enlargement
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.7,
    "patch.edgecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 8.5,
    "xtick.major.width": 0.7,
    "ytick.color": INK,
    "ytick.labelsize": 8.5,
    "ytick.major.width": 0.7,
}

_PIXELS_PER_POINT = 4 / 3
_SVG_SIZE = re.compile(r'\bwidth="([\d.]+)pt" height="[\d.]+pt"')
_SVG_LEFT_OUT = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*<style[^>]*>.*?</style>\s*</defs>", re.DOTALL)
_SVG_FONTS = re.compile(r"(font-family: |font: [^;\"']*px )'DejaVu Sans'[^;\"]*")
_SVG_IDS = re.compile(r'\bid="|href="#|url\(#')
_TAG = re.compile(r"<[^>]*>")


@contextmanager
def figure_style() -> Iterator[None]:
    """Within it, new figures fit the report: colours, sizes, grid, layout, colour maps.

    Two colour maps are registered, both transparent at zero so that the page shines through:
    `roadmap-sequential`, the default of `imshow`, for values from 0 up, and `roadmap-diverging` for values
    around 0 (give `vmin=-m, vmax=m`). Take the grid off such a map: `axes.grid(False)`. Make figures with
    `matplotlib.figure.Figure(...)`: unlike pyplot it needs no display and keeps nothing open.
    """
    import matplotlib
    from cycler import cycler

    _register_colour_maps()
    settings: dict[Any, Any] = {
        "font.family": ["DejaVu Sans", *_chinese_fonts()],
        "axes.prop_cycle": cycler(color=PALETTE),
    }
    with matplotlib.rc_context(_STYLE | settings):
        yield


@cache
def _chinese_fonts() -> tuple[str, ...]:
    """The installed fonts that have the signs which matplotlib's own lacks, for figures saved as PNG."""
    from matplotlib.font_manager import fontManager

    usual = (
        "Noto Sans CJK SC",
        "Source Han Sans SC",
        "PingFang SC",
        "Microsoft YaHei",
        "WenQuanYi Micro Hei",
        "SimHei",
    )
    installed = set(fontManager.get_font_names())
    return tuple(name for name in usual if name in installed)


def figure_svg(figure: matplotlib.figure.Figure) -> str:
    """The figure as an `<svg>` element to put into a page; the same figure gives the same text."""
    import matplotlib
    from matplotlib.colorizer import ColorizingArtist

    for artist in figure.findobj(ColorizingArtist):
        if isinstance(artist, ColorizingArtist) and artist.colorbar and artist.colorbar.solids:
            # As vectors, the half-transparent strips of a colour bar would show their seams.
            artist.colorbar.solids.set_rasterized(True)
    buffer = io.StringIO()
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "roadmap"}),
        warnings.catch_warnings(),
    ):
        # The browser has the glyphs (Chinese, emoji) that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        no_metadata = dict.fromkeys(["Date", "Creator", "Format", "Type"])
        figure.savefig(buffer, format="svg", transparent=True, dpi=200, metadata=no_metadata)
    return _for_page(buffer.getvalue())


def figure_png(figure: matplotlib.figure.Figure, dpi: int = 200) -> bytes:
    """The figure as a PNG on white, for a file of its own."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def prefix_ids(svg: str, prefix: str) -> str:
    """Sets the ids of an SVG, and what refers to them, apart from those of the page's other figures."""

    def renamed(tag: re.Match[str]) -> str:
        return _SVG_IDS.sub(lambda match: match[0] + prefix, tag[0])

    return _TAG.sub(renamed, svg)


def _register_colour_maps() -> None:
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    low, high = to_rgba(_HEAT_LOW), to_rgba(_HEAT_HIGH)
    no_low, no_high = (*low[:3], 0.0), (*high[:3], 0.0)
    stops = {
        "roadmap-sequential": [(0.0, no_high), (1.0, high)],
        # Twice 0.5: the hue changes in the middle, where nothing of it is seen.
        "roadmap-diverging": [(0.0, low), (0.5, no_low), (0.5, no_high), (1.0, high)],
    }
    for name, colours in stops.items():
        if name not in matplotlib.colormaps:
            matplotlib.colormaps.register(LinearSegmentedColormap.from_list(name, colours))


def _for_page(svg: str) -> str:
    """Matplotlib's SVG file as an element: page colours and fonts, no prolog, no style that leaks out."""

    def themed(tag: re.Match[str]) -> str:
        themed_tag = tag[0].replace(INK, "currentColor")
        for number, colour in enumerate(PALETTE, start=1):
            themed_tag = themed_tag.replace(f": {colour}", f": var(--series-{number}, {colour})")
        return _SVG_FONTS.sub(r"\1var(--figure-font, sans-serif)", themed_tag)

    svg = _TAG.sub(themed, _SVG_LEFT_OUT.sub("", svg[svg.index("<svg") :]))
    return _SVG_SIZE.sub(_pixel_size, svg, count=1).strip()


def _pixel_size(match: re.Match[str]) -> str:
    """Natural width, and the least at which the labels can be read: a narrower page scrolls the figure."""
    width = float(match[1]) * _PIXELS_PER_POINT
    style = f"min-width: {0.75 * width:.0f}px; stroke-linejoin: round; stroke-linecap: butt"
    return f'width="{width:.0f}" style="{style}"'
