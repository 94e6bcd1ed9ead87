"""HTML to the text that a browser would show, as far as the markup itself tells."""

import hashlib
import re
import warnings
from collections.abc import Iterator
from pathlib import PurePosixPath

from bs4 import (
    BeautifulSoup,
    CData,
    Comment,
    Declaration,
    Doctype,
    ProcessingInstruction,
    Tag,
    XMLParsedAsHTMLWarning,
)
from bs4.element import NavigableString

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor.encodings import decode
from rag_qa.document_processor.text_builder import TextBuilder, markdown_table, whole_page
from rag_qa.document_processor.unreadable import UnreadableDocument
from rag_qa.types import Document

_META_CHARSET = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)|<\?xml[^>]{0,100}encoding=[\"']([\w.-]+)", re.I
)
_MACHINERY = frozenset(("script", "style", "template", "noscript", "head", "svg", "math", "iframe", "object", "select"))
"""Not text of the page: dropped, and only templates counted as hidden. `noscript` is what other browsers see."""

_BLOCKS = frozenset(
    "address article aside blockquote body dd details dialog div dl dt fieldset figcaption figure footer form "
    "h1 h2 h3 h4 h5 h6 header hr html li main nav ol p pre section summary table ul caption center option".split()
)
_HIDING_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|opacity\s*:\s*0*(?:\.0\d*)?\s*(?:;|!|$)"
    r"|transform\s*:\s*scale[xy]?\(\s*0*(?:\.0\d*)?\s*[,)]"
    r"|font-size\s*:\s*(?:0*(?:\.0+)?\s*(?:px|pt|em|rem|%)?\s*(?:;|!|$)|(?:0*\.\d+|0+|1)(?:\.\d+)?(?:px|pt))"
    r"|(?:left|top|text-indent)\s*:\s*-\d{4,}px|clip\s*:\s*rect\(\s*0|clip-path\s*:\s*inset\(\s*(?:50|100)%",
    re.I,
)
_SQUEEZED = re.compile(
    r"(?<![\w-])(?:max-)?(?:height|width)\s*:\s*[01]?(?:\.\d+)?(?:px|pt|em|rem|%)?\s*(?:;|!|$)", re.I
)
_CLIPPED = re.compile(r"overflow(?:-[xy])?\s*:\s*(?:hidden|clip)", re.I)
"""What overflows a box without height or width, it hides."""

_ANY_WHITE = r"(?:#f{3,4}\b|#f{6}(?:ff)?\b|white\b|rgba?\(\s*255[\s,]+255[\s,]+255|hsla?\([^)]*?\b100%\s*[,/)])"
_WHITE = re.compile(rf"(?<![\w-])color\s*:\s*(?:{_ANY_WHITE}|transparent\b)", re.I)
_BACKGROUND = re.compile(rf"background(?:-color)?\s*:\s*(?!\s|{_ANY_WHITE}|transparent\b|none\b)", re.I)
"""A background that is not white."""

_DEEPEST_INDENT = 8


def read_html(data: bytes, source: str, options: ReadOptions) -> Document:
    """Visible text with its headings (h1 to h6), lists and tables (rows of Markdown).

    Left out, and counted in a note: comments and elements hidden by `hidden`, `aria-hidden` or their own style.
    Stylesheets are not interpreted beyond rules of one class or id that set `display: none`.
    Raises UnreadableDocument: no visible text.
    """
    decoded = decode(data, options.encoding or _stated_charset(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)  # XHTML is read well enough as HTML
        soup = BeautifulSoup(decoded.text, "lxml")
    walk = _Walk(options.hidden_text == "drop", _hiding_names(soup), _outer_tables(soup))
    walk.read(soup.body or soup)
    text, notes = walk.builder.text, list(decoded.notes)
    if walk.n_hidden:
        notes.append(f"hidden text left out ({', '.join(sorted(walk.reasons))}): {walk.n_hidden:,} characters")
    if not text:
        hidden = "; all of it is hidden: --reading.hidden_text keep reads it" if walk.n_hidden else ""
        raise UnreadableDocument(f"{source}: has no visible text{hidden}")
    stated = " ".join(soup.title.get_text().split()) if soup.title else ""
    first = next((heading.title for heading in walk.builder.headings if heading.level == 1), "")
    language = soup.html.get("lang") if soup.html else None
    return Document(
        source=source,
        title=stated or first or PurePosixPath(source).stem,
        text=text,
        pages=whole_page(text),
        content_hash=hashlib.sha256(data).hexdigest(),
        headings=tuple(walk.builder.headings),
        metadata={
            "format": "html",
            "encoding": decoded.encoding,
            **({"language": str(language)} if language else {}),
        },
        notes=tuple(notes),
    )


class _Walk:
    """Goes through a page in order and gathers blocks. Not recursive: a page may be nested deeper than Python calls."""

    def __init__(self, drop: bool, hiding_names: frozenset[str], outer_tables: frozenset[int], n_dark: int = 0) -> None:
        self.builder = TextBuilder()
        self.n_hidden = 0
        self.reasons: set[str] = set()
        self._drop = drop
        self._hiding_names, self._outer_tables = hiding_names, outer_tables
        self._inline: list[str] = []
        self._prefix = ""
        self._level = 0
        # How many of the elements that are open are such: asking all parents of each element takes the square of time.
        self._preformatted = self._lists = 0
        self._dark = n_dark

    def read(self, root: Tag) -> None:
        """Gather all blocks below `root`."""
        stack: list[tuple[Tag | NavigableString, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            if isinstance(node, NavigableString):
                self._string(node)
            elif leaving:
                self._leave(node)
            elif self._enter(node):
                stack.append((node, True))
                stack.extend((child, False) for child in reversed(node.contents))  # type: ignore[misc]
        self._flush()

    def _string(self, node: NavigableString) -> None:
        if isinstance(node, Comment):
            if self._drop:
                self._count(node, "comments")
            else:
                self._inline.append(str(node))
        elif not isinstance(node, (Doctype, Declaration, ProcessingInstruction, CData)):
            self._inline.append(str(node) if self._preformatted else re.sub(r"\s+", " ", node))

    def _enter(self, tag: Tag) -> bool:
        """Whether the children of the tag are to be read."""
        if tag.name in _MACHINERY:
            if tag.name == "template":
                self._count(tag.get_text(), "templates")
            return False
        if self._drop and (reason := self._hiding(tag)):
            self._count(tag.get_text(), reason)
            return False
        if tag.name == "table" and id(tag) not in self._outer_tables:
            self._flush()
            caption = tag.caption.extract().get_text() if tag.caption else ""
            self.builder.add(" ".join(caption.split()))
            self.builder.add(
                markdown_table([list(self._cells(row, tag)) for row in tag.find_all("tr")]), tight=bool(caption)
            )
            return False
        if tag.name == "br":
            self._inline.append("\n")
        elif tag.name == "img" and tag.get("alt"):
            self._inline.append(f" {tag['alt']} ")
        elif tag.name in ("td", "th"):
            self._inline.append(" ")
        if tag.name in _BLOCKS or tag.name == "tr":
            self._flush()
        self._dark += _has_background(tag)
        if tag.name == "li":
            self._prefix = "  " * min(max(0, self._lists - 1), _DEEPEST_INDENT) + "- "
        elif tag.name in ("ul", "ol"):
            self._lists += 1
        elif tag.name in ("h1", "h2", "h3", "h4", "h5", "h6"):
            self._level = int(tag.name[1])
        elif tag.name == "pre":
            self._preformatted += 1
        return True

    def _leave(self, tag: Tag) -> None:
        if tag.name in _BLOCKS or tag.name == "tr":
            self._flush()
        self._dark -= _has_background(tag)
        if tag.name == "pre":
            self._preformatted -= 1
        elif tag.name in ("ul", "ol"):
            self._lists -= 1
        elif tag.name == "li":
            self._prefix = ""

    def _flush(self) -> None:
        """End the block that the inline text so far makes."""
        text = "".join(self._inline)
        self._inline.clear()
        if self._preformatted:
            self.builder.add(text.strip("\n").rstrip())
            return
        text = "\n".join(line for line in (" ".join(part.split()) for part in text.split("\n")) if line)
        if not text:
            return
        if self._level:
            self.builder.add_heading(text, self._level)
            self._level = 0
        else:
            self.builder.add(self._prefix + text, tight=bool(self._prefix))
            self._prefix = " " * len(self._prefix) if self._prefix.strip() else self._prefix

    def _cells(self, row: Tag, table: Tag) -> Iterator[str]:
        n_dark = self._dark + sum(_has_background(each) for each in (table, row.parent, row) if each is not None)
        for cell in row.find_all(("td", "th"), recursive=False):
            part = _Walk(self._drop, self._hiding_names, self._outer_tables, n_dark + _has_background(cell))
            hidden = part._hiding(cell) or part._hiding(row) if self._drop else ""
            if hidden:
                self._count(cell.get_text(), hidden)
            else:
                for child in cell.contents:
                    part.read(child) if isinstance(child, Tag) else part._string(child)  # type: ignore[arg-type]
                part._flush()
            self.n_hidden += part.n_hidden
            self.reasons |= part.reasons
            yield part.builder.text

    def _hiding(self, tag: Tag) -> str:
        if tag.has_attr("hidden") or str(tag.get("aria-hidden", "")).lower() == "true":
            return "hidden attributes"
        if tag.name == "input":
            return "hidden attributes" if tag.get("type") == "hidden" else ""
        if tag.name in ("font", "span") and str(tag.get("color", "")).lower() in ("#ffffff", "white"):
            return "styles"
        style = str(tag.get("style", ""))
        if style and (_HIDING_STYLE.search(style) or (_SQUEEZED.search(style) and _CLIPPED.search(style))):
            return "styles"
        if style and _WHITE.search(style) and not self._dark and not _has_background(tag):
            return "styles"
        names = [f".{name}" for name in tag.get_attribute_list("class")] + [f"#{tag.get('id')}"]
        return "styles" if self._hiding_names.intersection(names) else ""

    def _count(self, text: str, reason: str) -> None:
        n_characters = sum(not char.isspace() for char in text)
        if n_characters:
            self.n_hidden += n_characters
            self.reasons.add(reason)


def _has_background(tag: Tag) -> bool:
    """Whether the tag has a background of its own, on which white may be seen."""
    return tag.has_attr("bgcolor") or bool(_BACKGROUND.search(str(tag.get("style", ""))))


def _outer_tables(soup: BeautifulSoup) -> frozenset[int]:
    """Tables, by `id`, that hold another one: they arrange the page, and are no rows and columns."""
    outer: set[int] = set()
    opened: list[Tag] = []
    stack: list[tuple[Tag, bool]] = [(soup, False)]
    while stack:
        tag, leaving = stack.pop()
        if leaving:
            opened.pop()
            continue
        if tag.name == "table":
            if opened:
                outer.add(id(opened[-1]))
            opened.append(tag)
            stack.append((tag, True))
        stack.extend((child, False) for child in reversed(tag.contents) if isinstance(child, Tag))
    return frozenset(outer)


def _hiding_names(soup: BeautifulSoup) -> frozenset[str]:
    """Classes and ids (".name", "#name") that a style element of the page hides by a rule of their own."""
    names: set[str] = set()
    for style in soup.find_all("style"):
        for selectors, rules in re.findall(r"([^{}]{1,500})\{([^{}]{0,2000})\}", style.get_text()[:500_000]):
            if _HIDING_STYLE.search(rules):
                names.update(name for name in map(str.strip, selectors.split(",")) if re.fullmatch(r"[.#][\w-]+", name))
    return frozenset(names)


def _stated_charset(data: bytes) -> str:
    match = _META_CHARSET.search(data[:4096])
    name = (match.group(1) or match.group(2)).decode("ascii", "replace").lower() if match else ""
    # Browsers read these two by their supersets (WHATWG encoding standard).
    return {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252", "latin1": "cp1252"}.get(name, name)
