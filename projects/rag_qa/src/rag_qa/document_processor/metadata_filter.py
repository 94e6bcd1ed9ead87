"""Metadata of records, and which records fulfil a filter: an inverted index, field → value → ids."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from rag_qa.protocols import Metadata, Where

Value = str | int
Text = TypeVar("Text", bound=Value)

# A server's JSON holds no half of a surrogate pair, which a file name may contain, and PostgreSQL's no U+0000. They are
# written as numbers after a code point that Unicode reserves for uses inside a program; that one is doubled where it
# occurs itself, so that no two strings become one.
_ESCAPE = "\ufdd0"
_NO_SERVER_TEXT = re.compile("[\0\ud800-\udfff\ufdd0]")


class MetadataIndex:
    """Answers `where` without looking at a single record: conditions are unions and intersections of id sets."""

    def __init__(self) -> None:
        self._records: dict[int, Metadata] = {}
        self._postings: dict[str, dict[Value, set[int]]] = defaultdict(lambda: defaultdict(set))

    def __contains__(self, id: int) -> bool:
        return id in self._records

    def __getitem__(self, id: int) -> Metadata:
        return self._records[id]

    def add(self, id: int, metadata: Metadata) -> None:
        self._records[id] = metadata
        for field, value in _pairs(metadata):
            self._postings[field][value].add(id)

    def remove(self, id: int) -> None:
        """Forget a record. Raises KeyError: it is not there."""
        for field, value in _pairs(self._records.pop(id)):
            postings = self._postings[field]
            postings[value].discard(id)
            if not postings[value]:
                del postings[value]

    def matching(self, where: Where) -> set[int]:
        """Ids of the records that fulfil all conditions; the caller does not change the set."""
        if not where:
            return set(self._records)
        found = [self._any_of(condition.field, condition.any_of) for condition in where]
        return set.intersection(*sorted(found, key=len)) if len(found) > 1 else found[0]

    def _any_of(self, field: str, values: tuple[Value, ...]) -> set[int]:
        postings = self._postings.get(field, {})
        present = [postings[value] for value in dict.fromkeys(values) if value in postings]
        return present[0] if len(present) == 1 else set().union(*present)


def check_metadata(metadata: Metadata) -> None:
    """Raises ValueError: a value is neither a string nor a whole number nor a tuple of strings."""
    for field, value in metadata.items():
        plain = isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
        if not plain and not (isinstance(value, tuple) and all(isinstance(one, str) for one in value)):
            raise ValueError(f"metadata {field!r} is {value!r}: give a string, a whole number or a tuple of strings")


def _pairs(metadata: Metadata) -> Iterable[tuple[str, Value]]:
    for field, value in metadata.items():
        for one in value if isinstance(value, tuple) else (value,):
            yield field, one


def server_text(value: Text) -> Text:
    """A field's name or value as any server can keep it; different ones stay different."""
    return cast(Text, _NO_SERVER_TEXT.sub(_as_number, value)) if isinstance(value, str) else value


def server_record(metadata: Metadata) -> dict[str, Any]:
    """A record as any server can keep it. Fields with several values become lists."""
    return {
        server_text(field): [server_text(one) for one in value] if isinstance(value, tuple) else server_text(value)
        for field, value in metadata.items()
    }


def _as_number(found: re.Match[str]) -> str:
    return _ESCAPE + (_ESCAPE if found[0] == _ESCAPE else f"{ord(found[0]):04x}")
