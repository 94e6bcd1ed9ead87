"""The Python language reference, as CPython ships it for `help()`, cut into documents that do not repeat each other.

The topics overlap: "compound statements" holds the whole text of "the for statement", which is a topic of its own. A
passage that stands in two documents makes every score of retrieval doubtful, because one copy counts as right and the
other as wrong. So each section is kept once, in the most specific topic.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from rag_qa.types import Document, Heading, Page
from roadmap_shared.errors import UserError
from roadmap_shared.offline.text import python_reference

MINIMUM_WORDS = 30
"""A topic with fewer is no document: its text stays where a larger topic includes it."""

_HEADING = re.compile(r'^(?P<title>\S.*)\n(?P<line>([*=\-~^"])\3{2,})$', re.MULTILINE)
_LEVELS = {"*": 1, "=": 2, "-": 3, "~": 4, "^": 5, '"': 6}


@dataclass(frozen=True)
class _Section:
    """From a heading to the next one of the same or a higher level; offsets into the topic."""

    title: str
    start: int
    body: int
    """Offset behind the heading's underline."""

    end: int


def python_documents() -> list[Document]:
    """The topics of the running Python, in alphabetical order of their keys.

    Raises:
        UserError: this Python was built without `pydoc_data`.
    """
    origin = python_reference().origin  # raises the UserError
    from pydoc_data.topics import topics

    return topic_documents(topics, origin)


def topic_documents(topics: Mapping[str, str], origin: str) -> list[Document]:
    """One document `python/<key>.txt` for each topic: near-empty topics and repeated ones are left out, and so are the
    sections that are another topic word for word.

    Raises:
        UserError: no topic is left.
    """
    distinct = _distinct({key: text.strip("\n") for key, text in topics.items()})
    owners = {_words(_body(text)): key for key, text in distinct.items()}
    documents = []
    for key, text in sorted(distinct.items()):
        kept, omitted = _without_sections_of_others(key, text, owners)
        if len(_words(kept)) >= MINIMUM_WORDS:
            documents.append(_document(key, kept, omitted, origin))
    if not documents:
        raise UserError("this Python's help topics (pydoc_data.topics) are empty: use a full CPython")
    return documents


def find_headings(text: str) -> tuple[Heading, ...]:
    """Underlined headings as Sphinx writes them in plain text: a line of asterisks under the title of the document,
    then `=`, `-` and `~` for each level below."""
    return tuple(
        Heading(
            level=_LEVELS[match["line"][0]], title=match["title"], start=match.start("title"), end=match.end("title")
        )
        for match in _HEADING.finditer(text)
    )


def _distinct(topics: Mapping[str, str]) -> dict[str, str]:
    """Topics that are long enough, each text once, under the key that its title names if there is one."""
    keys_of: dict[tuple[str, ...], list[str]] = {}
    for key in sorted(topics):
        words = _words(topics[key])
        if len(words) >= MINIMUM_WORDS:
            keys_of.setdefault(words, []).append(key)
    best = [
        min(keys, key=lambda key: (key not in _words(topics[key].split("\n")[0]), key)) for keys in keys_of.values()
    ]
    return {key: topics[key] for key in best}


def _without_sections_of_others(
    key: str, text: str, owners: Mapping[tuple[str, ...], str]
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The text without the sections that another topic holds, and (title, key of that topic) of what was left out."""
    parts: list[str] = []
    omitted: list[tuple[str, str]] = []
    position = 0
    for section in _sections(text):
        owner = owners.get(_words(text[section.body : section.end]))
        if section.start < position or owner in (None, key):
            continue
        parts.append(text[position : section.start])
        omitted.append((section.title, owner))
        position = section.end
    return "".join([*parts, text[position:]]).strip("\n"), tuple(omitted)


def _sections(text: str) -> list[_Section]:
    """All sections in order of their start; a subsection follows the section that holds it."""
    matches = list(_HEADING.finditer(text))
    sections = []
    for place, match in enumerate(matches):
        level = _LEVELS[match["line"][0]]
        following = (later.start() for later in matches[place + 1 :] if _LEVELS[later["line"][0]] <= level)
        sections.append(_Section(match["title"], match.start(), match.end(), next(following, len(text))))
    return sections


def _body(text: str) -> str:
    """The topic without its own heading, which stands one level lower where the topic is part of another."""
    match = _HEADING.match(text)
    return text[match.end() :] if match else text


def _words(text: str) -> tuple[str, ...]:
    """What two topics are compared by: underlines and the width of the page do not count."""
    return tuple(re.findall(r"\w+", text))


def _document(key: str, text: str, omitted: tuple[tuple[str, str], ...], origin: str) -> Document:
    headings = find_headings(text)
    notes = tuple(f"its section {title} is the document python/{owner}.txt" for title, owner in omitted)
    return Document(
        source=f"python/{key}.txt",
        title=headings[0].title if headings else key,
        text=text,
        pages=(Page(number=1, start=0, end=len(text)),),
        content_hash=hashlib.sha256(text.encode()).hexdigest(),
        headings=headings,
        metadata={"format": "text", "language": "en", "origin": origin},
        notes=notes,
    )
