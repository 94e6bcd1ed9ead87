"""Stories composed from the words of a theme, a mood and an ending.

The order of telling is opening, wish, trouble, an attempt that fails, advice, deed, outcome and closing. Which frames
are used, whether the hero carries something, where the weather is told, whether the ending is hinted at and which
details of the theme meet are drawn: two stories with the same fields share a plot's skeleton and few sentences.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from roadmap_shared.errors import UserError, did_you_mean
from text_generation.corpora.stories.fields import HEROES, StoryFields, draw_fields
from text_generation.corpora.stories.grammar import Grammar
from text_generation.corpora.stories.worlds import MoodVoice, ThemeWorld, World, load_world
from text_generation.corpora.story_checker import MAX_WORDS, check_story, count_words, uses_pronoun

_PRONOUNS = {
    "she": {"she": "she", "her": "her", "him": "her", "hers": "hers", "herself": "herself"},
    "he": {"she": "he", "her": "his", "him": "him", "hers": "his", "herself": "himself"},
}
_ORDER = ("opening", "want", "trouble", "advice", "action", "outcome", "closing")
# Parts that not every story has: with what chance, and before which other part.
_OPTIONAL = (
    ("omen", 0.8, ("want", "trouble")),
    ("prop", 0.3, ("want", "trouble")),
    ("attempt", 0.7, ("advice",)),
    ("air", 0.8, ("opening", "want", "advice")),
)
_MAX_DRAFTS = 200


@dataclass(frozen=True)
class Story:
    """A story with the fields it was written for."""

    fields: StoryFields
    parts: tuple[tuple[str, str], ...]
    """(what it tells, its sentences), in the order of telling: ("opening", "On a calm morning, ..."), ..."""

    @property
    def text(self) -> str:
        """The story in one paragraph."""
        return " ".join(sentences for _, sentences in self.parts)

    @property
    def document(self) -> str:
        """Header, blank line, story and line end: one document of the corpus."""
        return f"{self.fields.prompt}{self.text}\n"


def write_story(fields: StoryFields, seed: int | str = 0) -> Story:
    """Write one story; the same fields and seed give the same story.

    Drafts that miss a check of `story_checker` (a quarter of them, mostly by too few words of the mood) or never call
    the hero she or he are thrown away.

    Raises:
        UserError: the hero is none of the built-in stories.
    """
    if fields.hero not in HEROES:
        hint = did_you_mean(fields.hero, HEROES) or f"Choose among {', '.join(HEROES)}."
        raise UserError(f"the built-in stories know no hero '{fields.hero}'. {hint}")
    rng = random.Random(f"{fields.header}/{seed}")
    for _ in range(_MAX_DRAFTS):
        story = draft_story(fields, rng)
        # The length is the cheapest check.
        if count_words(story.text) > MAX_WORDS or not uses_pronoun(story.text, HEROES[fields.hero]):
            continue
        if check_story(story.text, fields).passed:
            return story
    raise AssertionError(f"no draft for {fields.header} passed its checks")


def write_stories(count: int, seed: int = 0) -> Iterator[Story]:
    """Write `count` different stories with fields drawn by the seed. The first ones do not depend on the count."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        story = write_story(draw_fields(rng), rng.getrandbits(32))
        if story.text not in seen:
            seen.add(story.text)
            yield story


def draft_story(fields: StoryFields, rng: random.Random) -> Story:
    """One draw of the grammar, unchecked."""
    world = load_world()
    theme, mood = world.themes[fields.theme], world.moods[fields.mood]
    grammar = Grammar(_slots(fields, theme, mood, rng), rng)
    frames = _frames(world, fields, rng)
    told = {part: grammar.expand(frames[part]) for part in _ORDER}
    order: list[str] = list(_ORDER)
    room = MAX_WORDS - count_words(" ".join(told.values()))
    for part, chance, anchors in rng.sample(_OPTIONAL, len(_OPTIONAL)):
        # An opening that tells what the hero has leaves nothing for a sentence about it.
        if rng.random() >= chance or (part == "prop" and "{prop}" in frames["opening"]):
            continue
        sentence = grammar.expand(frames[part])
        if (n_words := count_words(sentence)) <= room:
            room -= n_words
            told[part] = sentence
            order.insert(order.index(rng.choice(anchors)), part)
    return Story(fields, tuple((part, told[part]) for part in order))


def _frames(world: World, fields: StoryFields, rng: random.Random) -> dict[str, str]:
    """A frame for each part that a story may have."""
    theme, mood, ending = world.themes[fields.theme], world.moods[fields.mood], world.endings[fields.ending]
    return {
        **{part: rng.choice(frames) for part, frames in world.frames.items()},
        "air": rng.choice(mood.starlight if theme.sky == "starlight" else mood.air),
        "attempt": rng.choice(mood.tried),
        "omen": rng.choice(ending.omen),
        "outcome": rng.choice(ending.outcome),
        "closing": rng.choice(ending.closing),
    }


def _slots(
    fields: StoryFields, theme: ThemeWorld, mood: MoodVoice, rng: random.Random
) -> dict[str, str | tuple[str, ...]]:
    """What the slots of this story's frames hold: the details of its theme, drawn once, and the words of its mood."""
    quest, trouble = rng.choice(theme.quests), rng.choice(theme.troubles)
    kind, helper = rng.choice(theme.kinds), rng.choice(theme.helpers)
    return {
        **_PRONOUNS[HEROES[fields.hero]],
        # As often by name: a story that names its hero more often teaches sooner that the header's name is meant.
        "she": (HEROES[fields.hero], fields.hero),
        **vars(quest),
        **vars(trouble),
        "name": fields.hero,
        "kind": kind,
        "a_kind": f"a {kind}",
        "helper_short": _head_noun(helper),
        "a_helper": f"a {helper}",
        "place": rng.choice(theme.places),
        "prop": rng.choice(theme.props),
        "scene": theme.scenes,
        "when": mood.when,
        "adverb": mood.adverb,
        "went": mood.went,
        "said": mood.said,
        "spoke": mood.spoke,
    }


def _head_noun(phrase: str) -> str:
    """`turtle` of `old turtle`, `nurse` of `old nurse of the king`."""
    for preposition in (" of ", " with ", " in ", " on ", " from "):
        phrase = phrase.split(preposition)[0]
    return phrase.split()[-1]
