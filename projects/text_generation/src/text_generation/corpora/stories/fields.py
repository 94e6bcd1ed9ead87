"""What a story is asked to be: its control fields, and how they are written above it.

```
Theme: sea | Hero: Mira | Mood: gentle | Ending: happy

On a calm morning, gulls circled over the fishing boats. ...
```
"""

import random
import re
from dataclasses import dataclass
from typing import Literal, get_args

from roadmap_shared.errors import UserError, did_you_mean

Theme = Literal["sea", "forest", "space", "castle", "desert", "winter", "farm", "city"]
Mood = Literal["gentle", "funny", "spooky", "bold", "dreamy"]
Ending = Literal["happy", "sad", "surprise", "lesson", "open"]
Pronoun = Literal["she", "he"]

THEMES: tuple[Theme, ...] = get_args(Theme)
MOODS: tuple[Mood, ...] = get_args(Mood)
ENDINGS: tuple[Ending, ...] = get_args(Ending)

_SHE = (
    "Amara Anya Clara Dora Elsie Freya Greta Hanna Ines Kira Leila Lena "
    "Marta Maya Mira Nora Petra Priya Salma Sofia Tilda Vera Yuki Zoe"
)
_HE = (
    "Anton Bruno Casper Diego Edgar Emil Felix Hugo Jonas Kenji Kofi Luca "
    "Milo Nils Omar Oscar Otto Pavel Rafi Ravi Samir Tomas Viktor Yusuf"
)

HEROES: dict[str, Pronoun] = {**dict.fromkeys(_SHE.split(), "she"), **dict.fromkeys(_HE.split(), "he")}
"""Names of the heroes with their pronouns. None is an English word, and none is the beginning of another."""

_HEADER = re.compile(
    r"\s*Theme: (?P<theme>[^|\n]+) \| Hero: (?P<hero>[^|\n]+) \| Mood: (?P<mood>[^|\n]+) \| "
    r"Ending: (?P<ending>[^|\n]+?)[ \t]*(?:\n+|$)"
)


@dataclass(frozen=True)
class StoryFields:
    """The four control fields. The hero may be anybody; the built-in stories know those of `HEROES`."""

    theme: Theme
    hero: str
    mood: Mood
    ending: Ending

    def __post_init__(self) -> None:
        for field, known in (("theme", THEMES), ("mood", MOODS), ("ending", ENDINGS)):
            if (value := getattr(self, field)) not in known:
                raise UserError(f"there is no story {_unknown(field, value, known)}")
        if not self.hero.strip() or re.search(r"[|\n]", self.hero):
            raise UserError(f"the hero of a story needs a name on one line and without '|', not {self.hero!r}")

    @property
    def pronoun(self) -> Pronoun | None:
        """Of a hero of the built-in stories; None for another."""
        return HEROES.get(self.hero)

    @property
    def header(self) -> str:
        """The line above the story, without the blank line that follows it."""
        return f"Theme: {self.theme} | Hero: {self.hero} | Mood: {self.mood} | Ending: {self.ending}"

    @property
    def prompt(self) -> str:
        """What a model goes on from: the header and the blank line."""
        return f"{self.header}\n\n"


def _unknown(field: str, value: str, known: tuple[str, ...]) -> str:
    hint = did_you_mean(value, known) or f"Choose among {', '.join(known)}."
    return f"{field} '{value}'. {hint}"


def parse_document(text: str) -> tuple[StoryFields, str]:
    """Take a document apart: its fields, and the story below them ("" where there is none).

    Raises:
        UserError: the text does not begin with a header, or a field has a value that does not exist.
    """
    found = _HEADER.match(text)
    if found is None:
        beginning = text.strip().split("\n")[0][:80]
        raise UserError(
            f"'{beginning}' is no story header: write 'Theme: sea | Hero: Mira | Mood: gentle | Ending: happy'"
        )
    return StoryFields(**found.groupdict()), text[found.end() :].strip()  # pyright: ignore[reportArgumentType]


def all_fields() -> list[StoryFields]:
    """Every combination of fields, in a fixed order."""
    return [
        StoryFields(theme, hero, mood, ending)
        for theme in THEMES
        for hero in HEROES
        for mood in MOODS
        for ending in ENDINGS
    ]


def draw_fields(rng: random.Random) -> StoryFields:
    """One combination, each field drawn evenly and independently of the others."""
    return StoryFields(rng.choice(THEMES), rng.choice(tuple(HEROES)), rng.choice(MOODS), rng.choice(ENDINGS))
