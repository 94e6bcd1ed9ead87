"""Does a text do what was asked? Checks of any text, without a model.

Built-in stories are checked exactly, by `corpora.story_checker`. Of any other text these checks are estimates, each
stated with its rule: they see words and names, not meaning. A good story may fail one; a text that passes them all
names its theme, spells its hero in one way, ends in the words of its ending and has its length.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass

from text_generation.corpora.stories.fields import ENDINGS, StoryFields
from text_generation.corpora.story_checker import check_story, closing_markers
from text_generation.writing.brief import Brief
from text_generation.writing.words import (
    COMMON_WORDS,
    content_words,
    count_words,
    edit_distance,
    is_unspaced,
    occurring,
    sentences_of,
    words_of,
)

CONSTRAINTS = ("theme", "hero", "pronouns", "mood", "ending", "length", "complete")
"""Names of the checks, in the order of reports. The mood is checked in built-in stories only."""

LARGEST_STRANGE_SHARE = 1 / 3
"""Of the pronouns near the hero's name, at most this share may be somebody else's."""

CLOSING_SHARE = 1 / 4
"""The part of a text in which its ending is looked for, at its end."""

_TITLES = frozenset(
    "aunt baron brother captain count dame doctor dr duke emperor empress father general grandfather grandmother "
    "inspector judge king lady lord major master miss mister mother mr mrs ms old prince princess professor queen "
    "saint sergeant sir sister the uncle von van de la".split()
)
_FORMS = {
    "she": re.compile(r"\b(?:she|her|hers|herself)\b", re.IGNORECASE),
    "he": re.compile(r"\b(?:he|him|his|himself)\b", re.IGNORECASE),
    "they": re.compile(r"\b(?:they|them|theirs?|themself|themselves)\b", re.IGNORECASE),
}
_OPENS_WITH_PRONOUN = re.compile(r"[\"“‘']?(?:she|he)\b", re.IGNORECASE)
_COMPLETE = re.compile(r"[.!?…。！？][\"'”’)」』*_]*$")


@dataclass(frozen=True)
class ConstraintCheck:
    """Which demands a text meets."""

    met: dict[str, bool]
    """By the name of the check."""

    reasons: dict[str, str]
    """Why a demand is not met, for each that is not."""

    n_words: int

    @property
    def passed(self) -> bool:
        """Every demand is met."""
        return not self.reasons

    @property
    def share(self) -> float:
        """Share of the demands that are met."""
        return sum(self.met.values()) / len(self.met)


def check_built_in(text: str, fields: StoryFields, brief: Brief) -> ConstraintCheck:
    """Check a built-in story by `check_story`: against its control fields, and the brief's length."""
    found = check_story(text, fields, brief.min_words, brief.max_words)
    return ConstraintCheck({name: getattr(found, name) for name in CONSTRAINTS}, found.reasons, found.n_words)


def check_constraints(text: str, brief: Brief) -> ConstraintCheck:
    """Check any text.

    - theme: at least half of the theme's content words occur, in any regular English form.
    - hero: the name or a part of it occurs, and no other spelling of it (`other_spellings`).
    - pronouns: near the hero's name (`pronouns_of_hero`) at most a third are the other kind; a single one beside right
      ones is taken to be somebody else's. Where no pronoun is asked for, it is the more frequent of she and he; of a
      hero who is they, both are the other kind.
    - ending: one of the five of the built-in stories is told by its formulations in the closing quarter, more often
      than any other; of another phrase, half of the content words occur there.
    - length: in words; in a script without blanks, in signs.
    - complete: the last sentence has an end.
    """
    n_words = count_words(text)
    asked = f"asked are {brief.min_words} to {brief.max_words}"
    found = {
        "theme": _phrase(brief.theme, text, "theme"),
        "hero": _hero(text, brief),
        "pronouns": _pronouns(text, brief),
        "ending": _ending(text, brief.ending),
        "length": "" if brief.min_words <= n_words <= brief.max_words else f"{n_words} words, {asked}",
        "complete": "" if _COMPLETE.search(text.rstrip()) else "the last sentence has no end",
    }
    reasons = {name: reason for name, reason in found.items() if reason}
    return ConstraintCheck({name: not reason for name, reason in found.items()}, reasons, n_words)


def other_spellings(text: str, brief: Brief) -> list[str]:
    """Names in a text that look like the hero's: Myra and Mirra, where she is Mira.

    Words with a capital that are one edit away from a part of the name (two from six letters on), are no name of the
    cast, no common word and never written small. The name in capitals is the name.
    """
    hero = words_of(brief.hero)
    parts = [part.lower() for part in _name_parts(brief.hero)]
    known = {part.lower() for name in (brief.hero, *brief.cast) for part in words_of(name)}
    words = dict.fromkeys(words_of(text))
    small = {word for word in words if word[0].islower()}
    strange = [
        word
        for word in words
        if word[0].isupper() and word.lower() not in known | COMMON_WORDS and word.lower() not in small
    ]
    return [
        word
        for word in strange
        if word not in hero
        and any(edit_distance(word.lower(), part) <= (1 if len(part) < 6 else 2) for part in parts if len(part) > 2)
    ]


def pronouns_of_hero(text: str, brief: Brief) -> Counter[str]:
    """How often she, he and they occur, in any case, near the hero's name.

    Near are the words behind the name in a sentence that names nobody of the cast, and the sentences right after it
    that begin with she or he and name nobody of the cast either.
    """
    hero = _any_of(_name_parts(brief.hero))
    others = _any_of([part for name in brief.cast for part in _name_parts(name)])
    counts: Counter[str] = Counter()
    follows = False
    for sentence in sentences_of(text):
        named = hero.search(sentence)
        if others.search(sentence):
            follows = False
            continue
        near = sentence[named.end() :] if named else sentence
        follows = named is not None or (follows and _OPENS_WITH_PRONOUN.match(sentence) is not None)
        if follows:
            counts.update({pronoun: len(form.findall(near)) for pronoun, form in _FORMS.items()})
    return counts


def closing(text: str) -> str:
    """The last quarter of a text's sentences, two at least."""
    parts = sentences_of(text)
    return " ".join(parts[-max(2, math.ceil(len(parts) * CLOSING_SHARE)) :])


def _name_parts(name: str) -> list[str]:
    """The words of a name without titles; all of them where nothing else is left."""
    parts = words_of(name)
    return [part for part in parts if part.lower() not in _TITLES] or parts


def _any_of(words: list[str]) -> re.Pattern[str]:
    """Finds one of the words, as it stands or in capitals."""
    forms = {form for word in words for form in (word, word.upper())}
    bounded = [re.escape(form) if is_unspaced(form) else rf"\b{re.escape(form)}\b" for form in sorted(forms)]
    return re.compile("|".join(bounded) or r"(?!)")


def _hero(text: str, brief: Brief) -> str:
    if not _any_of(_name_parts(brief.hero)).search(text):
        return f"{brief.hero} is not named"
    wrong = other_spellings(text, brief)
    return f"{brief.hero} is also spelt {', '.join(wrong)}" if wrong else ""


def _pronouns(text: str, brief: Brief) -> str:
    counts = pronouns_of_hero(text, brief)
    own_form = brief.pronoun or ("she" if counts["she"] >= counts["he"] else "he")
    strange = {form: counts[form] for form in ("she", "he") if form != own_form and counts[form]}
    own, n_strange = counts[own_form], sum(strange.values())
    lone = n_strange == 1 and own > 0
    if lone or n_strange <= LARGEST_STRANGE_SHARE * (own + n_strange):
        return ""
    said = " and ".join(f"{form} {count} times" for form, count in strange.items())
    return f"{brief.hero} is {own_form}, and near the name the text says {said} and {own_form} {own} times"


def _ending(text: str, asked: str) -> str:
    if asked not in ENDINGS:
        return _phrase(asked, closing(text), "ending")
    counts: Counter[str] = Counter()
    for sentence in sentences_of(closing(text)):
        for ending, markers in closing_markers(sentence).items():
            counts[ending] += len(markers)
    if not counts[asked]:
        return f"the closing sentences hold no formulation of the ending '{asked}'"
    rival, most = counts.most_common(1)[0]
    return (
        "" if most == counts[asked] else f"the closing sentences speak of the ending '{rival}' more than of '{asked}'"
    )


def _phrase(phrase: str, text: str, what: str) -> str:
    """Why fewer than half of the phrase's content words occur; "" when they do."""
    wanted = content_words(phrase)
    found = occurring(wanted, text)
    if 2 * len(found) >= len(wanted):
        return ""
    missing = ", ".join(word for word in wanted if word not in found)
    place = "the closing sentences" if what == "ending" else "the text"
    return f"of the {what} '{phrase}' {place} lack{'s' if what == 'theme' else ''} {missing}"
