"""The lines around a highlighted quote, cut out of its page: a whole page is too small to read on a telephone."""

import io

from PIL import Image, ImageChops

_LINES = 0.05
"""Share of the page's height that is kept above and below the quote: about three lines."""

_MARGIN = 0.02
"""Share of the page's width that is kept beside the text."""


def closeup(marked: bytes, unmarked: bytes) -> bytes | None:
    """Part of a page as PNG: the quote and some lines around it, without the page's margins.

    Args:
        marked: the page with the quote highlighted, PNG.
        unmarked: the same page without, of the same size.

    None where the two do not differ: the quote has no place on the page.
    """
    page = Image.open(io.BytesIO(marked)).convert("RGB")
    box = ImageChops.difference(page, Image.open(io.BytesIO(unmarked)).convert("RGB")).getbbox()
    if box is None:
        return None
    around = round(_LINES * page.height)
    strip = page.crop((0, max(0, box[1] - around), page.width, min(page.height, box[3] + around)))
    background = Image.new("RGB", strip.size, strip.getpixel((0, 0)))
    text = ImageChops.difference(strip, background).getbbox() or (0, 0, strip.width, strip.height)
    beside = round(_MARGIN * page.width)
    out = io.BytesIO()
    strip.crop((max(0, text[0] - beside), 0, min(strip.width, text[2] + beside), strip.height)).save(out, "PNG")
    return out.getvalue()
