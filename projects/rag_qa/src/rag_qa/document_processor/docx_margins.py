"""What a DOCX shows outside of its body: headers, footers, footnotes and endnotes, each in a part of its own."""

from collections.abc import Iterator
from typing import Any

from docx.oxml import parse_xml
from docx.oxml.ns import qn

_OFF = ("0", "false", "off")
_RELATIONSHIP = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
REFERENCES = {qn("w:footnoteReference"): "footnote", qn("w:endnoteReference"): "endnote"}
"""Tags of the marks in the text that a note belongs to."""


class Margins:
    """The parts of an opened document besides its body."""

    def __init__(self, opened: Any) -> None:
        """Raises KeyError, ValueError or lxml's XMLSyntaxError: a part is missing or damaged."""
        self._part = opened.part
        self._sections = list(opened.element.body.iter(qn("w:sectPr")))
        self._has_even_pages = _is_on(opened.settings.element.find(qn("w:evenAndOddHeaders")))
        self._notes = {kind: self._read_notes(kind) for kind in REFERENCES.values()}

    def note(self, reference: Any) -> Any | None:
        """The note that a mark in the text stands for, or None."""
        return self._notes[REFERENCES[reference.tag]].get(reference.get(qn("w:id")))

    def headers(self) -> Iterator[Any]:
        """The headers of all sections, in order. One that no page shows is left out: that of a first page which has
        none of its own, and that of even pages where they are like the others."""
        return self._referenced("w:headerReference")

    def footers(self) -> Iterator[Any]:
        """The footers, chosen in the same way."""
        return self._referenced("w:footerReference")

    def n_comments(self) -> int:
        """Remarks of reviewers, which are not read."""
        return sum(len(root) for root in self._roots("comments"))

    def _referenced(self, tag: str) -> Iterator[Any]:
        seen: set[str] = set()  # thousands of sections may name one part
        for section in self._sections:
            shown = {"default"}
            if _is_on(section.find(qn("w:titlePg"))):
                shown.add("first")
            if self._has_even_pages:
                shown.add("even")
            for reference in section.iterchildren(qn(tag)):
                identity = reference.get(qn("r:id"))
                if reference.get(qn("w:type"), "default") in shown and identity not in seen:
                    seen.add(identity)
                    yield parse_xml(self._part.related_parts[identity].blob)

    def _read_notes(self, kind: str) -> dict[str, Any]:
        """Notes by id; the lines that separate them from the text have a type, and are none."""
        found = {}
        for root in self._roots(f"{kind}s"):
            for note in root.iterchildren(qn(f"w:{kind}")):
                if note.get(qn("w:type"), "normal") == "normal":
                    found[note.get(qn("w:id"))] = note
        return found

    def _roots(self, kind: str) -> Iterator[Any]:
        for relation in self._part.rels.values():
            if relation.reltype == _RELATIONSHIP + kind and not relation.is_external:
                yield parse_xml(relation.target_part.blob)


def _is_on(switch: Any | None) -> bool:
    return switch is not None and switch.get(qn("w:val"), "true").lower() not in _OFF
