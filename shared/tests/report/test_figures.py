"""Figures as the page gets them: themed, self-contained, legible."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from importlib import resources

import numpy as np
import pytest
from matplotlib.figure import Figure

from roadmap_shared.report import INK, PALETTE, figure_png, figure_style, figure_svg

# Machado, Oliveira & Fernandes 2009, table 1, severity 1.0: linear RGB as seen by each kind of colour vision.
COLOUR_VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def linear_rgb(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """WCAG 2.2 contrast ratio."""
    low, high = sorted(float(linear_rgb(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


def cielab(rgb: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* of linear sRGB under D65."""
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.072175],
            [0.0193339, 0.119192, 0.9503041],
        ]
    )
    x = to_xyz @ np.clip(rgb, 0, 1) / [0.95047, 1.0, 1.08883]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def page_colours() -> tuple[dict[str, str], dict[str, str]]:
    """The style sheet's colours on a light and on a dark page."""
    style = (resources.files("roadmap_shared") / "templates" / "style.css.j2").read_text()
    light, dark = style.split("@media (prefers-color-scheme: dark)", 1)
    colours = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", part.split("@media")[0])) for part in (light, dark)]
    return colours[0], colours[1]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_series_stand_out_from_the_page_and_from_each_other_for_every_kind_of_colour_vision(
    theme: str,
) -> None:
    light, dark = page_colours()
    series = list(PALETTE) if theme == "light" else [dark[f"series-{n}"] for n in range(1, len(PALETTE) + 1)]
    for colour in series:
        assert contrast(colour, (light if theme == "light" else dark)["page"]) >= 3  # WCAG 1.4.11: graphics
    for matrix in COLOUR_VISION.values():
        seen = [cielab(np.array(matrix) @ linear_rgb(colour)) for colour in series]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15  # about 2 is noticeable


@pytest.mark.parametrize("theme", [0, 1])
def test_text_is_readable_on_the_page(theme: int) -> None:
    colours = page_colours()[theme]
    for ink, paper in itertools.product(["ink", "soft", "accent", "warn", "good"], ["page", "card", "sunken"]):
        assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)  # WCAG 1.4.3: body text


@pytest.fixture
def svg() -> str:
    with figure_style():
        figure = Figure()
        left, right = figure.subplots(1, 2)
        heat = left.imshow(np.arange(9).reshape(3, 3))
        left.set_title(f"<b>&--> {INK} id=\"x\" 'DejaVu Sans' 漢字", style="italic")
        figure.colorbar(heat)
        right.plot([1, 2], label="loss")
        right.annotate("here", (0, 1), color=INK)
        right.legend()
    return figure_svg(figure)


def test_svg_is_one_element_of_well_formed_xml_without_leftovers(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not {"style", "metadata", "script"} & tags
    references = [value for element in root.iter() for name, value in element.items() if name.endswith("href")]
    assert references
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in references)


def test_svg_takes_ink_series_and_fonts_from_the_page(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    styles = " ".join(element.get("style", "") for element in root.iter())
    assert INK not in styles
    assert "#000000" not in styles
    assert "#ffffff" not in styles
    assert "DejaVu" not in styles
    assert f"stroke: var(--series-1, {PALETTE[0]})" in styles
    texts = {"".join(e.itertext()): e.get("style", "") for e in root.iter() if e.tag.endswith("}text")}
    assert "fill: currentColor" in texts["here"]
    assert "var(--figure-font, sans-serif)" in texts["loss"]
    assert f"<b>&--> {INK} id=\"x\" 'DejaVu Sans' 漢字" in texts  # a label is data: nothing in it is replaced


def test_heat_map_is_stored_as_its_own_pixels(svg: str) -> None:
    images = [element for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}image")]
    assert (images[0].get("width"), images[0].get("height")) == ("3", "3")
    assert len(images) == 2  # the map, and its colour bar as one picture instead of 256 strips


def test_colour_maps_are_transparent_where_nothing_is() -> None:
    import matplotlib

    with figure_style():
        sequential = matplotlib.colormaps["roadmap-sequential"]
        diverging = matplotlib.colormaps["roadmap-diverging"]
    assert (sequential(0.0)[3], sequential(1.0)[3]) == (0.0, 1.0)
    assert diverging(0.5)[3] < 0.01
    assert diverging(0.0)[3] == diverging(1.0)[3] == 1.0
    assert diverging(0.0)[0] > diverging(0.0)[2]  # below zero red over blue
    assert diverging(1.0)[0] < diverging(1.0)[2]


def test_same_figure_same_bytes() -> None:
    def draw() -> Figure:
        with figure_style():
            figure = Figure()
            figure.subplots().plot([1, 3, 2], marker="o")
        return figure

    assert figure_svg(draw()) == figure_svg(draw())
    assert figure_png(draw()) == figure_png(draw())


def test_style_ends_with_its_context() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with figure_style():
        assert matplotlib.rcParams["text.color"] == INK
    assert dict(matplotlib.rcParams) == before


def test_png_is_opaque_on_white() -> None:
    import io

    from matplotlib.image import imread

    with figure_style():
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([1, 2])
    pixels = imread(io.BytesIO(figure_png(figure, dpi=100)))
    assert pixels.shape[:2] == (100, 200)
    assert pixels[0, 0].tolist() == [1.0, 1.0, 1.0, 1.0]
    assert pixels[..., 3].min() == 1.0
