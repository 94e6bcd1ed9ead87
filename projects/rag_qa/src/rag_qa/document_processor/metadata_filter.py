"""Metadata of records, and which records fulfil a filter: an inverted index, field → value → ids."""

from collections import defaultdict
from collections.abc import Iterable

from rag_qa.protocols import Metadata, Where

Value = str | int


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
