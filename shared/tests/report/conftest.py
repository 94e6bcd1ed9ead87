from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from roadmap_shared.report import Block, Report, Section, render

VOID = {"meta", "br", "img", "link", "hr", "input", "source", "wbr", "area", "base", "col", "embed", "track"}


class Page(HTMLParser):
    """A parsed page: its elements with attributes, and the text inside each element of a class or tag."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self._open: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.elements.append((tag, values))
        if tag not in VOID:
            self._open.append((tag, values.get("class", "")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        marks = tuple(mark for tag, names in self._open for mark in (tag, *(f".{name}" for name in names.split())))
        self.texts.append((marks, data))

    def text_in(self, mark: str) -> str:
        """All text inside elements with this tag ("td") or class (".value"), joined."""
        return "".join(data for marks, data in self.texts if mark in marks)

    def all_in(self, mark: str) -> list[str]:
        """The pieces of text inside elements with this tag or class, blank ones left out."""
        return [data.strip() for marks, data in self.texts if mark in marks and data.strip()]

    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]


@pytest.fixture
def page():
    """Parses an HTML text."""
    return Page


@pytest.fixture
def page_of():
    """Renders a report with these blocks in one section, and parses it."""

    def build(blocks: Sequence[Block], **settings) -> Page:
        defaults = {"title": "Title", "project": "project", "command": "make project-1"}
        return Page(render(Report(sections=[Section("Section", blocks)], **{**defaults, **settings})))

    return build
