"""From a sentence frame to a sentence: choices, slots, articles and capitals.

A frame is text with two marks: `[mild|calm]` is a choice, and `{name}` a slot whose text may hold both marks again.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

_MARK = re.compile(r"([\[\]|]|\{\w+\})")
_ARTICLE = re.compile(r"\b([Aa])n? (?=[\"']?(\w[\w-]*))")
_SENTENCE_START = re.compile(r"(^\"?|[.!?] \"?|\.\" \"?|(?<=\s)\")([a-z])")
# Spelt with a vowel but spoken with a consonant, and the reverse.
_CONSONANT_SOUND = re.compile(r"(one|once|use|uni|eu|ew)", re.IGNORECASE)
_VOWEL_SOUND = re.compile(r"([aeiou]|hour|honest|honour|heir)", re.IGNORECASE)


@dataclass(frozen=True)
class Slot:
    """`{name}` in a frame."""

    name: str


@dataclass(frozen=True)
class Choice:
    """`[mild|calm]` in a frame."""

    options: tuple["Frame", ...]


Frame = tuple[str | Slot | Choice, ...]
"""A parsed frame: texts, slots and choices in their order."""


@cache
def parse_frame(frame: str) -> Frame:
    """Take a frame apart.

    Raises:
        ValueError: a bracket is not closed, or closed twice.
    """
    marks = [mark for mark in _MARK.split(frame) if mark]
    parsed, rest = _parse(marks, 0, inside=False)
    if rest != len(marks):
        raise ValueError(f"frame {frame!r}: a ']' too many")
    return parsed[0]


def _parse(marks: list[str], position: int, inside: bool) -> tuple[list[Frame], int]:
    """The options from `position` on, to the end or to the bracket that closes them, and the position behind."""
    options: list[list[str | Slot | Choice]] = [[]]
    while position < len(marks):
        mark = marks[position]
        position += 1
        if mark == "[":
            inner, position = _parse(marks, position, inside=True)
            options[-1].append(Choice(tuple(inner)))
        elif mark == "]":
            return [tuple(option) for option in options], position if inside else position - 1
        elif mark == "|" and inside:
            options.append([])
        elif mark.startswith("{"):
            options[-1].append(Slot(mark[1:-1]))
        else:
            options[-1].append(mark)
    if inside:
        raise ValueError(f"frame {''.join(marks)!r}: a '[' is not closed")
    return [tuple(option) for option in options], position


class Grammar:
    """Expands frames with the slots of one story and one random generator.

    A slot that has several texts is drawn anew each time, and no text twice before all have been used.
    """

    def __init__(self, slots: Mapping[str, str | Sequence[str]], rng: random.Random) -> None:
        self._slots = slots
        self._rng = rng
        self._unused: dict[str, list[str]] = {}

    def expand(self, frame: str) -> str:
        """The frame as finished sentences: capitals at their beginnings, `a` and `an` as spoken.

        Raises:
            KeyError: the frame names a slot that the story has not.
        """
        return capitalise(indefinite_articles(self._expand(parse_frame(frame))))

    def _expand(self, frame: Frame) -> str:
        texts: list[str] = []
        for part in frame:
            match part:
                case Slot(name):
                    texts.append(self._expand(parse_frame(self._text_of(name))))
                case Choice(options):
                    texts.append(self._expand(self._rng.choice(options)))
                case _:
                    texts.append(part)
        return "".join(texts)

    def _text_of(self, slot: str) -> str:
        value = self._slots[slot]
        if isinstance(value, str):
            return value
        left = self._unused.get(slot)
        if not left:
            left = self._unused[slot] = self._rng.sample(value, len(value))
        return left.pop()


def indefinite_articles(text: str) -> str:
    """`a` before a consonant sound, `an` before a vowel sound."""
    return _ARTICLE.sub(lambda found: f"{found[1]}{'n' if _starts_with_vowel_sound(found[2]) else ''} ", text)


def _starts_with_vowel_sound(word: str) -> bool:
    return not _CONSONANT_SOUND.match(word) and _VOWEL_SOUND.match(word) is not None


def capitalise(text: str) -> str:
    """Capitals at the beginning of the text, of each sentence and of each quotation.

    After `?"` and `!"` the sentence may go on ("Why?" asked the crab), and nothing is changed.
    """
    return _SENTENCE_START.sub(lambda found: found[1] + found[2].upper(), text)
