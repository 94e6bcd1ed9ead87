"""What the styles of a DOCX say of a paragraph or a run: heading level, list depth, visibility."""

import re
from functools import lru_cache
from typing import Any

from docx.oxml.ns import qn

_VAL = qn("w:val")
_MAX_CHAIN = 20
_TINY_HALF_POINTS = 4
_HEADING_NAME = re.compile(r"(?:heading|标题)\s*([1-9])", re.IGNORECASE)


class Styles:
    """The styles of a document by their id, with what they take from the styles they are based on."""

    def __init__(self, opened: Any) -> None:
        self._by_id = {style.get(qn("w:styleId")): style for style in opened.styles.element.iterchildren(qn("w:style"))}
        self.property = lru_cache(maxsize=4096)(self._property)

    def _property(self, style_id: str, group: str, name: str) -> Any:
        """The nearest w:`name` in w:`group` (pPr or rPr) along the chain of styles, or None."""
        for _ in range(_MAX_CHAIN):  # a chain may be a circle in a damaged file
            style = self._by_id.get(style_id)
            if style is None:
                return None
            found = style.find(f"{qn(f'w:{group}')}/{qn(f'w:{name}')}")
            if found is not None:
                return found
            based = style.find(qn("w:basedOn"))
            style_id = "" if based is None else based.get(_VAL, "")
        return None

    def of_paragraph(self, paragraph: Any, name: str) -> Any:
        """A paragraph's own property, else its style's."""
        own = paragraph.find(f"{qn('w:pPr')}/{qn(f'w:{name}')}")
        return own if own is not None else self.property(style_id(paragraph, "p"), "pPr", name)

    def heading_level(self, paragraph: Any) -> int:
        """1 to 9 for a heading, 0 for other paragraphs; the style named Title is level 1."""
        outline = self.of_paragraph(paragraph, "outlineLvl")
        if outline is not None and outline.get(_VAL, "").isdigit() and int(outline.get(_VAL)) < 9:
            return int(outline.get(_VAL)) + 1
        style = self._by_id.get(style_id(paragraph, "p"))
        name = "" if style is None or style.find(qn("w:name")) is None else style.find(qn("w:name")).get(_VAL, "")
        if name.lower() == "title":
            return 1
        match = _HEADING_NAME.fullmatch(name.strip())
        return int(match.group(1)) if match else 0

    def list_depth(self, paragraph: Any) -> int | None:
        """0 for an item of the outermost list, None for a paragraph that is no list item."""
        numbering = self.of_paragraph(paragraph, "numPr")
        if numbering is None:
            return None
        number, depth = numbering.find(qn("w:numId")), numbering.find(qn("w:ilvl"))
        if number is not None and number.get(_VAL) == "0":  # 0 takes a list away
            return None
        value = "0" if depth is None else depth.get(_VAL, "0")
        return min(int(value), 8) if value.isdigit() else 0


def style_id(element: Any, kind: str) -> str:
    """The style that a paragraph ("p") or run ("r") names."""
    found = element.find(f"{qn(f'w:{kind}Pr')}/{qn(f'w:{kind}Style')}")
    return "" if found is None else found.get(_VAL, "")


def hiding_reason(run: Any, paragraph: Any, styles: Styles) -> str:
    """Why a run is not seen, or "": its own properties first, then its style's, then the paragraph style's."""

    def stated(name: str) -> Any:
        own = run.find(f"{qn('w:rPr')}/{qn(f'w:{name}')}")
        for style in (style_id(run, "r"), style_id(paragraph, "p")):
            if own is None and style:
                own = styles.property(style, "rPr", name)
        return own

    for name in ("vanish", "webHidden"):
        vanish = stated(name)
        if vanish is not None and vanish.get(_VAL, "true").lower() not in ("0", "false", "off"):
            return f"w:{name}"
    size = stated("sz")
    if size is not None and size.get(_VAL, "").isdigit() and int(size.get(_VAL)) < _TINY_HALF_POINTS:
        return "tiny"
    colour = stated("color")
    if colour is not None and colour.get(_VAL, "").upper() == "FFFFFF" and not _on_dark(run, paragraph, stated):
        return "white"
    return ""


def _on_dark(run: Any, paragraph: Any, stated: Any) -> bool:
    """Whether run, paragraph or table cell has a shading or highlight of its own, on which white may be seen."""
    if stated("shd") is not None or stated("highlight") is not None:
        return True
    if paragraph.find(f"{qn('w:pPr')}/{qn('w:shd')}") is not None:
        return True
    parents = (qn("w:tc"), qn("w:tbl"), qn("w:txbxContent"))
    for parent in run.iterancestors(*parents):
        if parent.tag == parents[2] or parent.find(f".//{qn('w:shd')}") is not None:
            return True
        if parent.tag == parents[1] and parent.find(f"{qn('w:tblPr')}/{qn('w:tblStyle')}") is not None:
            return True  # header rows of many table styles are dark
    return False
