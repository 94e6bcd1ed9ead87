"""The close-up of a quote holds it, some lines around it, and neither margins nor the rest of the page."""

import io

import pytest
from PIL import Image, ImageDraw

from rag_qa.app.ui_closeup import closeup


def page(*, marked: bool) -> bytes:
    """200 by 1000 pixels: black lines at 100, 500 and 900 from 50 to 150; the middle one on yellow if marked."""
    image = Image.new("RGB", (200, 1000), "white")
    draw = ImageDraw.Draw(image)
    if marked:
        draw.rectangle((50, 495, 149, 515), fill=(255, 236, 110))
    for top in (100, 500, 900):
        draw.rectangle((50, top, 149, top + 9), fill="black")
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_the_quote_and_its_surroundings() -> None:
    cut = closeup(page(marked=True), page(marked=False))
    assert cut is not None
    image = Image.open(io.BytesIO(cut)).convert("RGB")
    assert image.size == (100 + 2 * 4, 21 + 2 * 50)
    assert image.getpixel((4, 50)) == (255, 236, 110)
    assert image.getpixel((4, 56)) == (0, 0, 0)
    assert image.getpixel((0, 0)) == image.getpixel((107, 120)) == (255, 255, 255)


@pytest.mark.parametrize("marked", [True, False])
def test_nothing_is_marked(marked: bool) -> None:
    assert closeup(page(marked=marked), page(marked=marked)) is None
