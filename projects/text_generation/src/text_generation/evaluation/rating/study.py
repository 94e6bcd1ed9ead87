"""A study: pairs of texts for the same prompt. Which system wrote which is in another file, its key.

The study file names no system, so that it can be handed to raters, and a server that reads it has nothing to give away.
Its first line is {"study": name, "question": ..., "style": ...}, the others are the items.
"""

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from roadmap_shared.errors import UserError
from text_generation.json_lines import json_lines, read_text

Style = Literal["prose", "code"]
_STYLES = ("prose", "code")
_FINGERPRINT_DIGITS = 16


@dataclass(frozen=True)
class Item:
    """Two texts to compare."""

    item: str
    """Its name: a number that tells nothing about the systems."""

    prompt: str
    first: str
    second: str


@dataclass(frozen=True)
class Study:
    """What raters see."""

    name: str
    question: str
    style: Style
    items: tuple[Item, ...]

    @property
    def fingerprint(self) -> str:
        """Digest of the question and all items: votes on a study that was changed since are votes on another one."""
        content = json.dumps([self.question, [asdict(item) for item in self.items]], ensure_ascii=True, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:_FINGERPRINT_DIGITS]

    def order(self, rater: str) -> list[Item]:
        """The items in the order in which this rater gets them, the same every time."""
        items = list(self.items)
        self._generator(rater).shuffle(items)
        return items

    def swapped(self, rater: str) -> bool:
        """Whether this rater sees the second text of every item as A. As each pair of systems is balanced in the items
        themselves, it is balanced for each rater; and raters differ, so that no text is always A."""
        return bool(self._generator(rater).getrandbits(1))

    def _generator(self, rater: str) -> random.Random:
        return random.Random(f"{self.fingerprint} {rater}")


@dataclass(frozen=True)
class Key:
    """Which systems wrote the first and the second text of each item."""

    study: str
    """Fingerprint of the study."""

    systems: tuple[str, ...]
    authors: dict[str, tuple[str, str]]
    """Item -> (system of the first text, system of the second)."""


def key_path(study: Path) -> Path:
    """Where the key of a study file is: NAME.key.json beside NAME.jsonl."""
    return study.with_suffix(".key.json")


def votes_path(study: Path) -> Path:
    """Where the votes on a study are, unless said otherwise: NAME.votes.jsonl beside NAME.jsonl."""
    return study.with_suffix(".votes.jsonl")


def read_study(path: Path) -> Study:
    """Read a study file. A damaged line is an error, not left out: the fingerprint would change.

    Raises:
        UserError: it cannot be read, or a line is not what it should be; the line is named.
    """
    header: dict[str, Any] | None = None
    items: list[Item] = []
    for number, value in json_lines(read_text(path)):
        if isinstance(value, str):
            raise UserError(f"{path}:{number}: {value}: restore the file, for its votes refer to it as it was")
        if header is None:
            header = value
            if not isinstance(value.get("question"), str) or value.get("style") not in _STYLES:
                raise UserError(f"{path}:{number}: no study file. Make one with rate --outputs FILE")
            continue
        items.append(_item(value, path, number))
    if header is None or not items:
        raise UserError(f"{path}: has no items. Make a study with rate --outputs FILE")
    names = [item.item for item in items]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: item '{next(name for name in names if names.count(name) > 1)}' occurs twice")
    return Study(str(header.get("study", path.stem)), header["question"], cast(Style, header["style"]), tuple(items))


def _item(value: dict[str, Any], path: Path, number: int) -> Item:
    fields = [value.get(name) for name in ("item", "prompt", "first", "second")]
    if not all(isinstance(field, str) for field in fields):
        raise UserError(f"{path}:{number}: an item needs item, prompt, first and second, each a text")
    return Item(*cast(list[str], fields))


def read_key(path: Path, study: Study) -> Key:
    """Read the key of a study.

    Raises:
        UserError: it cannot be read, is damaged, or belongs to another study.
    """
    try:
        value = json.loads(read_text(path))
        authors = {item: (str(first), str(second)) for item, (first, second) in value["authors"].items()}
        key = Key(str(value["study"]), tuple(map(str, value["systems"])), authors)
        names = {name for pair in authors.values() for name in pair}
        complete = set(authors) == {item.item for item in study.items} and names <= set(key.systems)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: is no key file, or damaged: it comes with the study") from None
    if key.study != study.fingerprint:
        raise UserError(f"{path}: is the key of study {key.study}, not of this one ({study.fingerprint})")
    if not complete:
        raise UserError(f"{path}: does not fit the study's items: restore it")
    return key
