"""Does a story do what its fields ask? Exact checks of a text, without a model.

They know the words of the built-in stories: a theme and a mood are told by their own words, an ending by the
formulations that close the story. A hero of the built-in stories has a known pronoun, and nobody else in a story is
called he or she. A story by a person may be good and fail here; one that passes names what was asked for.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from text_generation.corpora.stories.fields import ENDINGS, HEROES, MOODS, THEMES, Ending, Pronoun, StoryFields
from text_generation.corpora.stories.worlds import load_world

MIN_WORDS = 60
MAX_WORDS = 120
_ENOUGH_WORDS = 2  # different words of a theme or mood
_CLOSING_SENTENCES = 2
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_POSSESSIVE = re.compile(r"(?<=\w)['’]s\b")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?:[\"”’])?\s+(?=[\"“‘]?[A-Z0-9])")
_COMPLETE = re.compile(r"[.!?…][\"'”’)]*$")
_PRONOUN_FORMS = {
    "she": re.compile(r"\b(she|her|hers|herself)\b", re.IGNORECASE),
    "he": re.compile(r"\b(he|him|his|himself)\b", re.IGNORECASE),
}


@dataclass(frozen=True)
class StoryCheck:
    """Which demands a story meets. `reasons` has a line for each that it does not, by the name of the check."""

    hero: bool
    """The hero is named, and no other hero of the built-in stories is."""

    pronouns: bool
    """Only the hero's pronoun is used; of a hero who is not built in, only one of she and he."""

    theme: bool
    """At least two different words of the theme, and more than of any other theme."""

    mood: bool
    """At least two different words of the mood, and more than of any other mood."""

    ending: bool
    """The last two sentences close the story as asked, and in no other way."""

    length: bool
    complete: bool
    """The last sentence has an end."""

    n_words: int
    reasons: dict[str, str]

    @property
    def passed(self) -> bool:
        """Every check is met."""
        return not self.reasons

    @property
    def obeyed(self) -> bool:
        """The four control fields are obeyed, whatever the length and the last sentence."""
        return self.hero and self.theme and self.mood and self.ending


def check_story(text: str, fields: StoryFields, min_words: int = MIN_WORDS, max_words: int = MAX_WORDS) -> StoryCheck:
    """Check a story, without its header, against its fields.

    Args:
        text: the story alone.
        fields: what was asked for.
        min_words: words that it has at least.
        max_words: words that it has at most.
    """
    n_words = count_words(text)
    found = {
        "hero": _hero(text, fields.hero),
        "pronouns": _pronouns(text, fields.hero),
        "theme": _told(fields.theme, words_by_theme(text), "theme"),
        "mood": _told(fields.mood, words_by_mood(text), "mood"),
        "ending": _ending(text, fields.ending),
        "length": "" if min_words <= n_words <= max_words else f"{n_words} words, asked are {min_words} to {max_words}",
        "complete": "" if _COMPLETE.search(text.rstrip()) else "the last sentence has no end",
    }
    reasons = {name: reason for name, reason in found.items() if reason}
    return StoryCheck(**{name: not reason for name, reason in found.items()}, n_words=n_words, reasons=reasons)


def count_words(text: str) -> int:
    """Words of a text; a word with an apostrophe or a hyphen in it is one."""
    return len(_WORD.findall(text))


def uses_pronoun(text: str, pronoun: Pronoun) -> bool:
    """Whether a form of the pronoun occurs: she, her, hers or herself, or he, him, his or himself."""
    return _PRONOUN_FORMS[pronoun].search(text) is not None


def sentences(text: str) -> list[str]:
    """A text's sentences. A quotation that is followed by a small letter ends none: "Why?" asked the crab."""
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence]


def words_by_theme(text: str) -> dict[str, set[str]]:
    """For each theme, which of its words occur, in the singular."""
    return _theme_lexicon().find(text, THEMES)


def words_by_mood(text: str) -> dict[str, set[str]]:
    """For each mood, which of its words occur."""
    return _mood_lexicon().find(text, MOODS)


def closing_markers(text: str) -> dict[Ending, set[str]]:
    """For each ending that the last two sentences hold a marker of, these markers."""
    closing = " ".join(sentences(text)[-_CLOSING_SENTENCES:])
    found = _ending_lexicon().find(closing, ENDINGS)
    return {ending: found[ending] for ending in ENDINGS if found[ending]}


def _hero(text: str, hero: str) -> str:
    if not re.search(rf"\b{re.escape(hero)}\b", text):
        return f"{hero} is not named"
    others = sorted((HEROES.keys() & set(_words(text))) - {hero})
    return f"{', '.join(others)} named besides {hero}" if others else ""


def _pronouns(text: str, hero: str) -> str:
    used = {pronoun: sorted(set(map(str.lower, form.findall(text)))) for pronoun, form in _PRONOUN_FORMS.items()}
    if hero in HEROES:
        wrong = used["he" if HEROES[hero] == "she" else "she"]
        return f"{hero} is {HEROES[hero]}, and the story says {', '.join(wrong)}" if wrong else ""
    return f"{hero} is both she and he" if used["she"] and used["he"] else ""


def _told(asked: str, found: dict[str, set[str]], field: str) -> str:
    """Why the words that were found do not tell what was asked; "" when they do."""
    own = len(found[asked])
    if own < _ENOUGH_WORDS:
        return f"{own} words of the {field} '{asked}', needed are {_ENOUGH_WORDS}"
    rival = max((name for name in found if name != asked), key=lambda name: len(found[name]))
    if len(found[rival]) >= own:
        return f"{own} words of the {field} '{asked}' and {len(found[rival])} of '{rival}'"
    return ""


def _ending(text: str, asked: Ending) -> str:
    found = closing_markers(text)
    if set(found) == {asked}:
        return ""
    others = [f"{ending} ({', '.join(sorted(markers))})" for ending, markers in found.items() if ending != asked]
    if not others:
        return f"the last two sentences hold no formulation of the ending '{asked}'"
    return f"the ending is {' and '.join(others)}{f' besides {asked}' if asked in found else f', not {asked}'}"


def _words(text: str) -> list[str]:
    """The words of a text without punctuation and without the 's of the possessive."""
    return _WORD.findall(_POSSESSIVE.sub("", text))


@dataclass(frozen=True)
class _Lexicon:
    """Words and phrases, each with its owner (a theme, mood or ending) and its form in the owner's list."""

    words: dict[str, tuple[str, str]]
    phrases: dict[str, tuple[str, str]]

    @classmethod
    def of(cls, entries: Iterable[tuple[str, str, str]]) -> "_Lexicon":
        """From (form in the text, owner, form in the list)."""
        forms = {form: (owner, listed) for form, owner, listed in entries}
        phrases = {form: forms[form] for form in forms if " " in form}
        return cls({form: forms[form] for form in forms.keys() - phrases.keys()}, phrases)

    def find(self, text: str, owners: Iterable[str]) -> dict[str, set[str]]:
        """For each owner what occurs in the text of its words and phrases."""
        words = _words(text.lower())
        joined = f" {' '.join(words)} "
        hits = [self.words[word] for word in self.words.keys() & set(words)]
        hits += [place for phrase, place in self.phrases.items() if f" {phrase} " in joined]
        found: dict[str, set[str]] = {owner: set() for owner in owners}
        for owner, listed in hits:
            found[owner].add(listed)
        return found


@cache
def _theme_lexicon() -> _Lexicon:
    """Singular and plural of each theme's words."""
    return _Lexicon.of(
        (form, theme, word)
        for theme, world in load_world().themes.items()
        for word in world.words
        for form in (word, plural(word))
    )


@cache
def _mood_lexicon() -> _Lexicon:
    return _Lexicon.of((word, mood, word) for mood, voice in load_world().moods.items() for word in voice.words)


@cache
def _ending_lexicon() -> _Lexicon:
    return _Lexicon.of(
        (marker, ending, marker) for ending, form in load_world().endings.items() for marker in form.markers
    )


def plural(noun: str) -> str:
    """The regular plural."""
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return noun + ("es" if re.search(r"(s|x|z|ch|sh)$", noun) else "s")
