"""Every story passes the checks of its own fields and fails those of others; swapped parts are found."""

import random
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text_generation.corpora.stories.fields import ENDINGS, HEROES, MOODS, THEMES, StoryFields, all_fields
from text_generation.corpora.stories.writer import Story, write_story
from text_generation.corpora.story_checker import (
    check_story,
    closing_markers,
    count_words,
    plural,
    sentences,
    words_by_theme,
)

FIELDS = StoryFields("sea", "Mira", "gentle", "happy")
GOOD = (
    "On a calm morning the tide was low. Mira sat softly by the harbour and looked for a shell. "
    "She found one and smiled all the way home."
)
SWAPS = {"she": "he", "her": "his", "hers": "his", "herself": "himself", "he": "she", "his": "her", "him": "her"}
SWAPS["himself"] = "herself"

stories = st.builds(write_story, st.sampled_from(all_fields()), st.integers(0, 2**32))


def _failed(text: str, fields: StoryFields) -> set[str]:
    return set(check_story(text, fields).reasons)


@given(stories)
def test_a_story_passes_its_own_checks(story: Story) -> None:
    check = check_story(story.text, story.fields)
    assert check.passed, check.reasons
    assert check.obeyed
    assert 60 <= check.n_words <= 120


@given(stories, st.randoms(use_true_random=False))
def test_a_story_fails_the_checks_of_other_fields(story: Story, rng: random.Random) -> None:
    for name, known in (("theme", THEMES), ("hero", tuple(HEROES)), ("mood", MOODS), ("ending", ENDINGS)):
        other = rng.choice([value for value in known if value != getattr(story.fields, name)])
        check = check_story(story.text, replace(story.fields, **{name: other}))
        assert not getattr(check, name)
        assert not check.obeyed


@given(stories, st.sampled_from(sorted(HEROES)))
def test_a_swapped_hero_is_found(story: Story, other: str) -> None:
    hero = story.fields.hero
    if other == hero:
        return
    assert "hero" in _failed(re.sub(rf"\b{hero}\b", other, story.text), story.fields)
    if story.text.count(hero) > 1:
        assert "hero" in _failed(re.sub(rf"\b{hero}\b", other, story.text, count=1), story.fields)


@given(stories)
def test_swapped_pronouns_are_found(story: Story) -> None:
    pattern = re.compile(rf"\b({'|'.join(SWAPS)})\b", re.IGNORECASE)
    swapped, n_swaps = pattern.subn(lambda found: SWAPS[found[1].lower()], story.text)
    assert n_swaps
    assert _failed(swapped, story.fields) == {"pronouns"}
    assert _failed(pattern.sub(lambda found: SWAPS[found[1].lower()], story.text, count=1), story.fields) == {
        "pronouns"
    }


@given(stories, st.sampled_from(ENDINGS), st.integers(0, 100))
def test_a_swapped_ending_is_found(story: Story, ending: str, seed: int) -> None:
    if ending == story.fields.ending:
        return
    other = write_story(replace(story.fields, ending=ending), seed)  # pyright: ignore[reportArgumentType]
    body = [sentences for part, sentences in story.parts if part not in ("outcome", "closing")]
    tail = [sentences for part, sentences in other.parts if part in ("outcome", "closing")]
    assert "ending" in _failed(" ".join(body + tail), story.fields)


@given(stories, st.integers(1, 40))
def test_a_story_cut_off_is_incomplete(story: Story, n_characters: int) -> None:
    cut = story.text.rstrip('."!?')[:-n_characters].rstrip(' ."!?:')
    assert not check_story(cut, story.fields).complete


@pytest.mark.parametrize(
    ("text", "fields", "reasons"),
    [
        (GOOD, FIELDS, {}),
        (GOOD.replace("Mira", "Nobody"), FIELDS, {"hero": "Mira is not named"}),
        (GOOD.replace("one and", "Hugo's shell and"), FIELDS, {"hero": "Hugo named besides Mira"}),
        (GOOD.replace("She", "He"), FIELDS, {"pronouns": "Mira is she, and the story says he"}),
        (GOOD, replace(FIELDS, theme="farm"), {"theme": "0 words of the theme 'farm', needed are 2"}),
        (GOOD + " Hay, hen, cow and pig.", replace(FIELDS, theme="sea"), {
            "theme": "3 words of the theme 'sea' and 4 of 'farm'"
        }),
        (GOOD, replace(FIELDS, mood="bold"), {"mood": "0 words of the mood 'bold', needed are 2"}),
        (GOOD, replace(FIELDS, ending="sad"), {"ending": "the ending is happy (smiled), not sad"}),
        (GOOD + " In tears.", FIELDS, {"ending": "the ending is sad (tears) besides happy"}),
        (GOOD.replace("smiled", "went"), FIELDS, {
            "ending": "the last two sentences hold no formulation of the ending 'happy'"
        }),
        (GOOD[:-1], FIELDS, {"complete": "the last sentence has no end"}),
        ("", FIELDS, {
            "hero": "Mira is not named",
            "theme": "0 words of the theme 'sea', needed are 2",
            "mood": "0 words of the mood 'gentle', needed are 2",
            "ending": "the last two sentences hold no formulation of the ending 'happy'",
            "length": "0 words, asked are 5 to 120",
            "complete": "the last sentence has no end",
        }),
    ],
)  # fmt: skip
def test_reasons(text: str, fields: StoryFields, reasons: dict[str, str]) -> None:
    check = check_story(text, fields, min_words=5)
    assert check.reasons == reasons
    assert check.passed == (not reasons)


def test_a_hero_of_ones_own() -> None:
    fields = replace(FIELDS, hero="Captain Nemo")
    text = GOOD.replace("Mira", "Captain Nemo")
    assert check_story(text, fields, min_words=5).passed
    assert check_story(text.replace("She", "He"), fields, min_words=5).passed
    mixed = check_story(text + " He smiled.", fields, min_words=5)
    assert mixed.reasons == {"pronouns": "Captain Nemo is both she and he"}


def test_an_ending_counts_only_at_the_end() -> None:
    assert set(closing_markers("She wept. A day passed. Then came the sun. She smiled.")) == {"happy"}


def test_theme_words_in_the_plural_and_the_possessive() -> None:
    found = words_by_theme("The whale's song over the LIGHTHOUSES; blackberries and foxes by the clock towers.")
    assert {theme: words for theme, words in found.items() if words} == {
        "sea": {"whale", "lighthouse"},
        "forest": {"blackberry", "fox"},
        "city": {"clock tower"},
    }


@pytest.mark.parametrize(
    ("noun", "expected"),
    [("berry", "berries"), ("bay", "bays"), ("fox", "foxes"), ("beach", "beaches"), ("sea", "seas")],
)
def test_plural(noun: str, expected: str) -> None:
    assert plural(noun) == expected


def test_sentences() -> None:
    text = '"Why?" asked the crab. "Because." Then it left! "What a day," she said.'
    assert sentences(text) == ['"Why?" asked the crab.', '"Because.', "Then it left!", '"What a day," she said.']


def test_count_words() -> None:
    assert count_words("The ship's cook, a one-eyed man - said 2 words.") == 9
