"""What a story is asked to be."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from roadmap_shared.errors import UserError, did_you_mean
from text_generation.config.writing import WritingStyle
from text_generation.corpora.stories.fields import HEROES, StoryFields
from text_generation.corpora.story_checker import MAX_WORDS, MIN_WORDS
from text_generation.json_lines import Reject, json_lines, read_text

HeroPronoun = Literal["she", "he", "they"]
_LENGTHS: dict[WritingStyle, tuple[int, int]] = {"chat": (200, 600), "headers": (MIN_WORDS, MAX_WORDS)}
_ONE_LINE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True, kw_only=True)
class Brief:
    """The demands on one story."""

    theme: str
    hero: str
    pronoun: HeroPronoun | None = None
    """None: any, but the same throughout."""

    cast: tuple[str, ...] = ()
    """Names of other characters."""

    mood: str = "gentle"
    ending: str = "happy"
    min_words: int = 200
    max_words: int = 600

    def __post_init__(self) -> None:
        for name in ("theme", "hero", "mood", "ending"):
            _check_text(name, getattr(self, name))
        for name in self.cast:
            _check_text("cast", name)
        if self.pronoun is not None and self.pronoun not in get_args(HeroPronoun):
            raise UserError(f"the pronoun must be she, he or they, not {self.pronoun!r}")
        for name in ("min_words", "max_words"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise UserError(f"{name} must be a whole number from 1 on, not {getattr(self, name)!r}")
        if self.min_words > self.max_words:
            raise UserError(f"min_words {self.min_words} must not be above max_words {self.max_words}")

    @property
    def story_fields(self) -> StoryFields:
        """The same as control fields of the built-in stories.

        Raises:
            UserError: the built-in stories do not know the theme, the mood or the ending.
        """
        return StoryFields(self.theme, self.hero, self.mood, self.ending)  # pyright: ignore[reportArgumentType]

    @property
    def demands(self) -> str:
        """The demands as a list, a line each, for a prompt."""
        hero = f"Hero: {self.hero}"
        if self.pronoun is not None:
            hero += f" (pronoun: {self.pronoun})"
        lines = [
            f"Theme: {self.theme}. Let the story say what it is about.",
            f"{hero}. Spell the name exactly so, and keep to one pronoun.",
            *([f"Other characters: {', '.join(self.cast)}"] if self.cast else []),
            f"Mood: {self.mood}",
            f"Ending: {self.ending}",
            f"Length: {self.min_words} to {self.max_words} words",
        ]
        return "\n".join(f"- {line}" for line in lines)

    def record(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**asdict(self), "cast": list(self.cast)}


def make_brief(given: Mapping[str, Any], style: WritingStyle, stored: Mapping[str, Any] | None = None) -> Brief:
    """A brief of the values that are given (not None), then of those that a folder holds, then of the defaults.

    Raises:
        UserError: theme or hero is missing, a name is unknown, a value is of the wrong kind, or the built-in stories do
            not know it.
    """
    known = [field.name for field in fields(Brief)]
    values = {**(stored or {}), **{name: value for name, value in given.items() if value is not None}}
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known) or f"Known: {', '.join(known)}."
            raise UserError(f"a story has no '{name}'. {hint}")
    for name in ("theme", "hero"):
        if not values.get(name):
            raise UserError(f"the story's {name} is missing: give it with --{name}")
    cast = values.get("cast", ())
    if not isinstance(cast, list | tuple):
        raise UserError(f"cast must be a list of names, not {cast!r}")
    shortest, longest = _LENGTHS[style]
    lengths = {"min_words": shortest, "max_words": longest}
    # With one end given, the other's default must not contradict it.
    if type(values.get("min_words")) is int and values.get("max_words") is None:
        lengths["max_words"] = max(longest, values["min_words"])
    if type(values.get("max_words")) is int and values.get("min_words") is None:
        lengths["min_words"] = min(shortest, values["max_words"])
    pronoun = values.get("pronoun") or (HEROES.get(values["hero"]) if isinstance(values["hero"], str) else None)
    brief = Brief(**{**lengths, **values, "cast": tuple(cast), "pronoun": pronoun})
    if style == "headers":
        _ = brief.story_fields  # checks them
    return brief


def read_briefs(path: Path, style: WritingStyle) -> tuple[list[Brief], list[Reject]]:
    """Read a JSONL file of briefs; a line that is none is passed over and reported.

    Raises:
        UserError: the file cannot be read, or holds no brief.
    """
    briefs: list[Brief] = []
    rejects: list[Reject] = []
    for number, value in json_lines(read_text(path)):
        if isinstance(value, str):
            rejects.append(Reject(path, number, value))
            continue
        try:
            briefs.append(make_brief(value, style))
        except UserError as error:
            rejects.append(Reject(path, number, str(error).split(": give it with --")[0]))
    if not briefs:
        why = f" ({rejects[0]})" if rejects else ""
        raise UserError(f'{path}: holds no story to write{why}. Write {{"theme": ..., "hero": ...}} on each line.')
    return briefs, rejects


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not _ONE_LINE.fullmatch(value) or not re.search(r"\w", value):
        raise UserError(f"the story's {name} must be a text on one line, not {value!r}")
