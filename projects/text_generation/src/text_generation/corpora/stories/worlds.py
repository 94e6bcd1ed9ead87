"""The words of the stories, read from the YAML files of this folder: themes, moods, endings and sentence frames.

A theme brings its own heroes' kinds, places, scenes, quests and troubles; a mood its times of day, weather, verbs and
adverbs; an ending its outcomes and closing sentences. To add one, write its file and name it in `fields`.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from text_generation.corpora.stories.fields import ENDINGS, MOODS, THEMES, Ending, Mood, Theme


@dataclass(frozen=True)
class Quest:
    """A wish and the three things that can become of it. The last three are clauses in the past tense."""

    want: str
    """Verb phrase in the infinitive, without a pronoun: it is also said by the hero in the first person."""

    thing: str
    """What the wish is about, in the singular."""

    why: str
    """Clause that gives the reason."""

    won: str
    lost: str
    twist: str
    """What the thing is in truth, when the ending is a surprise."""


@dataclass(frozen=True)
class Trouble:
    """An obstacle with the advice that overcomes it and what can be learned from it."""

    trouble: str
    """Clause in the past tense."""

    advice: str
    """Imperative without a pronoun: it is also used as an infinitive."""

    did: str
    """The same in the past tense."""

    moral: str
    """Clause in the present tense."""


@dataclass(frozen=True)
class ThemeWorld:
    """Where a story plays."""

    sky: str
    """Which sentences of a mood tell of the air: `weather` or `starlight`."""

    words: tuple[str, ...]
    """Words that tell the theme, in the singular; no two themes share one."""

    kinds: tuple[str, ...]
    """What the hero is, without article."""

    places: tuple[str, ...]
    """With their prepositions."""

    scenes: tuple[str, ...]
    """Clauses in the past tense: what goes on there."""

    props: tuple[str, ...]
    helpers: tuple[str, ...]
    """Without article; nobody calls a helper he or she."""

    quests: tuple[Quest, ...]
    troubles: tuple[Trouble, ...]


@dataclass(frozen=True)
class MoodVoice:
    """How a story is told."""

    words: tuple[str, ...]
    """Words that tell the mood; no two moods share one."""

    when: tuple[str, ...]
    air: tuple[str, ...]
    starlight: tuple[str, ...]
    adverb: tuple[str, ...]
    went: tuple[str, ...]
    said: tuple[str, ...]
    """Verbs of speech that follow the speaker."""

    spoke: tuple[str, ...]
    """Verbs of speech that may stand before the speaker."""

    tried: tuple[str, ...]
    """Sentences about an attempt that fails."""


@dataclass(frozen=True)
class EndingForm:
    """How a story ends."""

    markers: tuple[str, ...]
    """Words and phrases by which the ending is recognised; no two endings share one."""

    omen: tuple[str, ...]
    """Sentences early in the story that hint at the ending, without a marker of any."""

    outcome: tuple[str, ...]
    closing: tuple[str, ...]


@dataclass(frozen=True)
class World:
    """Everything that stories are made of."""

    themes: dict[Theme, ThemeWorld]
    moods: dict[Mood, MoodVoice]
    endings: dict[Ending, EndingForm]
    frames: dict[str, tuple[str, ...]]


@cache
def load_world() -> World:
    """Read the YAML files; remembered after the first call."""
    moods, endings = _read("moods.yaml"), _read("endings.yaml")
    return World(
        themes={theme: _theme(_read(f"themes/{theme}.yaml")) for theme in THEMES},
        moods={mood: MoodVoice(**_tuples(moods[mood])) for mood in MOODS},
        endings={ending: EndingForm(**_tuples(endings[ending])) for ending in ENDINGS},
        frames=_tuples(_read("frames.yaml")),
    )


def _theme(record: dict[str, Any]) -> ThemeWorld:
    quests = tuple(Quest(**quest) for quest in record["quests"])
    troubles = tuple(Trouble(**trouble) for trouble in record["troubles"])
    return ThemeWorld(**{**_tuples(record), "quests": quests, "troubles": troubles})


def _tuples(record: dict[str, Any]) -> dict[str, Any]:
    """The record with its lists made immutable."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((files("text_generation.corpora.stories") / name).read_text(encoding="utf-8"))
