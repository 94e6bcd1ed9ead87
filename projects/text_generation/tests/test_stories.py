"""The story grammar: its mechanics, its word lists, and the variety of what it writes."""

import random
import re
from collections import Counter
from dataclasses import fields as dataclass_fields
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from text_generation.corpora.stories.fields import (
    ENDINGS,
    HEROES,
    MOODS,
    THEMES,
    StoryFields,
    all_fields,
    draw_fields,
    parse_document,
)
from text_generation.corpora.stories.grammar import Grammar, capitalise, indefinite_articles, parse_frame
from text_generation.corpora.stories.worlds import load_world
from text_generation.corpora.stories.writer import Story, draft_story, write_stories, write_story
from text_generation.corpora.story_checker import check_story, closing_markers, sentences, words_by_mood, words_by_theme

FIELDS = StoryFields("sea", "Mira", "gentle", "happy")


@pytest.fixture(scope="module")
def stories() -> list[Story]:
    return list(write_stories(1000, seed=5))


# Fields


def test_there_are_enough_fields() -> None:
    assert (len(THEMES), len(HEROES), len(MOODS), len(ENDINGS)) == (8, 48, 5, 5)
    assert Counter(HEROES.values()) == {"she": 24, "he": 24}
    assert len(all_fields()) == 8 * 48 * 5 * 5


def test_no_hero_is_the_beginning_of_another() -> None:
    assert not [(a, b) for a in HEROES for b in HEROES if a != b and b.startswith(a)]


def test_header_is_read_back() -> None:
    text = f"{FIELDS.prompt}Mira slept.\nAnd woke.\n"
    assert text.startswith("Theme: sea | Hero: Mira | Mood: gentle | Ending: happy\n\nMira")
    assert parse_document(text) == (FIELDS, "Mira slept.\nAnd woke.")
    assert parse_document(FIELDS.header) == (FIELDS, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Once upon a time",
            "'Once upon a time' is no story header: write 'Theme: sea | Hero: Mira | Mood: gentle | Ending: happy'",
        ),
        (
            "Theme: see | Hero: Mira | Mood: gentle | Ending: happy",
            "there is no story theme 'see'. Did you mean 'sea'?",
        ),
        (
            "Theme: sea | Hero: Mira | Mood: xyz | Ending: happy",
            "there is no story mood 'xyz'. Choose among gentle, funny, spooky, bold, dreamy.",
        ),
    ],
)
def test_bad_header(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_document(text)
    assert str(error.value) == message


def test_unknown_hero_of_a_built_in_story() -> None:
    with pytest.raises(UserError) as error:
        write_story(StoryFields("sea", "Miro", "gentle", "happy"))
    assert str(error.value) == "the built-in stories know no hero 'Miro'. Did you mean 'Mira'?"


# Grammar


def test_choices_may_hold_slots_and_choices() -> None:
    grammar = Grammar({"x": "[y|z]", "many": ("1", "2", "3")}, random.Random(0))
    texts = {grammar.expand("[a {x}|[b|c] {x}]!") for _ in range(200)}
    assert texts == {f"{first} {second}!" for first in "ABC" for second in "yz"}


def test_a_slot_repeats_nothing_before_all_is_used() -> None:
    grammar = Grammar({"many": ("1", "2", "3")}, random.Random(0))
    drawn = [grammar.expand("{many}") for _ in range(6)]
    assert sorted(drawn[:3]) == sorted(drawn[3:]) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [("[a|b", "frame '[a|b': a '[' is not closed"), ("a]", "frame 'a]': a ']' too many")],
)
def test_unbalanced_frame(frame: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_frame(frame)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a old owl", "an old owl"),
        ("an young fox", "a young fox"),
        ("a one-eyed gull and a hour", "a one-eyed gull and an hour"),
        ("a unicorn, a umbrella", "a unicorn, an umbrella"),
        ("Once a eagle. A owl", "Once an eagle. An owl"),
        ("banana apple", "banana apple"),
    ],
)
def test_articles(text: str, expected: str) -> None:
    assert indefinite_articles(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("she ran. he slept.", "She ran. He slept."),
        ('she said, "go." then she left.', 'She said, "Go." Then she left.'),
        ('"why?" asked the crab.', '"Why?" asked the crab.'),
        ("what a day! it rained.", "What a day! It rained."),
    ],
)
def test_capitals(text: str, expected: str) -> None:
    assert capitalise(text) == expected


# Word lists


def _every_frame() -> list[tuple[tuple[str, str], str]]:
    """((what owns it, where it stands), text) of every text of the worlds, its marks taken out."""
    world = load_world()
    texts: list[tuple[tuple[str, str], str]] = []
    for theme, own in world.themes.items():
        for name in ("kinds", "places", "scenes", "props", "helpers"):
            texts += [((theme, name), text) for text in getattr(own, name)]
        for record in (*own.quests, *own.troubles):
            texts += [((theme, name), text) for name, text in vars(record).items()]
    for mood, voice in world.moods.items():
        names = [field.name for field in dataclass_fields(voice) if field.name != "words"]
        texts += [((mood, name), text) for name in names for text in getattr(voice, name)]
    for ending, form in world.endings.items():
        texts += [((ending, name), text) for name in ("omen", "outcome", "closing") for text in getattr(form, name)]
    texts += [(("frames", name), text) for name, frames in world.frames.items() for text in frames]
    return [(owner, re.sub(r"[\[\]|{}_]", " ", text)) for owner, text in texts]


def test_no_text_borrows_a_word_that_tells_another_field() -> None:
    strangers = []
    for (owner, name), text in _every_frame():
        if name == "starlight":  # told in the theme space only
            continue
        found = {**words_by_theme(text), **words_by_mood(text), **closing_markers(text)}
        strangers += [(owner, name, text, key) for key, words in found.items() if words and key != owner]
    assert strangers == []


def test_every_closing_holds_a_marker_of_its_ending_and_of_no_other() -> None:
    for (owner, name), text in _every_frame():
        if name == "closing":
            assert set(closing_markers(text)) == {owner}, text


def test_only_the_hero_has_a_pronoun() -> None:
    for owner, text in _every_frame():
        # The slots are called {she} {her} {him} {hers} {herself}; they stand in no text as plain words.
        assert not re.search(r"\b(he|his|himself)\b", text), (owner, text)
    for frame in _raw_frames():
        assert not re.search(r"(?<![{\w])(she|her|hers|him|herself)(?![}\w])", frame, re.IGNORECASE), frame


def _raw_frames() -> list[str]:
    world = load_world()
    parts = [*world.frames.values()]
    parts += [form for own in world.endings.values() for form in (own.omen, own.outcome, own.closing)]
    parts += [(*voice.when, *voice.air, *voice.starlight, *voice.tried) for voice in world.moods.values()]
    parts += [tuple(vars(record).values()) for own in world.themes.values() for record in (*own.quests, *own.troubles)]
    return [frame for frames in parts for frame in frames]


def test_what_the_hero_says_holds_no_pronoun() -> None:
    for own in load_world().themes.values():
        for text in [quest.want for quest in own.quests] + [trouble.advice for trouble in own.troubles]:
            assert "{" not in text, text


def test_themes_bring_their_own() -> None:
    world = load_world()
    for name in ("kinds", "places", "scenes", "props", "helpers", "quests", "troubles"):
        entries = [entry for theme in world.themes.values() for entry in getattr(theme, name)]
        assert len(set(entries)) == len(entries), name
        assert all(len(getattr(theme, name)) >= 5 for theme in world.themes.values())


# Stories


def test_fields_and_seed_decide_the_story() -> None:
    assert write_story(FIELDS, 3) == write_story(FIELDS, 3)
    assert write_story(FIELDS, 3) != write_story(FIELDS, 4)
    assert write_story(FIELDS, 3).document.startswith(FIELDS.prompt)
    assert write_story(FIELDS, 3).document.endswith("\n")


def test_the_first_stories_do_not_depend_on_the_count(stories: list[Story]) -> None:
    assert list(write_stories(50, seed=5)) == stories[:50]
    assert list(write_stories(5, seed=6)) != stories[:5]


def test_fields_are_drawn_evenly(stories: list[Story]) -> None:
    for name, known in (("theme", THEMES), ("mood", MOODS), ("ending", ENDINGS)):
        counts = Counter(getattr(story.fields, name) for story in stories)
        expected = len(stories) / len(known)
        assert all(abs(counts[value] - expected) < 5 * expected**0.5 for value in known)
    assert {story.fields.hero for story in stories} == set(HEROES)


def test_twenty_thousand_drafts_have_no_duplicate() -> None:
    rng = random.Random(1)
    drafts = {_without_hero(draft_story(draw_fields(rng), rng)) for _ in range(20_000)}
    assert len(drafts) == 20_000


def test_most_drafts_are_kept() -> None:
    rng = random.Random(2)
    drafts = [draft_story(draw_fields(rng), rng) for _ in range(500)]
    assert mean(check_story(draft.text, draft.fields).passed for draft in drafts) > 0.65


def _without_hero(story: Story) -> str:
    return re.sub(rf"\b{story.fields.hero}\b", "X", story.text)


def _four_grams(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return set(zip(*(words[start:] for start in range(4)), strict=False))


def _overlap(first: Story, second: Story) -> float:
    """Share of the shorter story's 4-grams that the other holds, heroes' names aside."""
    a, b = _four_grams(_without_hero(first)), _four_grams(_without_hero(second))
    return len(a & b) / min(len(a), len(b))


def test_sentences_repeat_little(stories: list[Story]) -> None:
    """With the heroes' names masked, 66 % of the sentences of 1,000 stories are different ones."""
    told = [sentence for story in stories for sentence in sentences(_without_hero(story))]
    assert len(set(told)) / len(told) > 0.6
    # "The first hour went well." is the most frequent one.
    assert Counter(told).most_common(1)[0][1] < 0.08 * len(stories)


def test_stories_share_few_four_grams(stories: list[Story]) -> None:
    """Two stories of different fields share 1 % of their 4-grams, two with the same fields 5 %."""
    rng = random.Random(0)
    different = [_overlap(*rng.sample(stories, 2)) for _ in range(1000)]
    assert mean(different) < 0.015
    same = [_overlap(write_story(fields, 1), write_story(fields, 2)) for fields in rng.sample(all_fields(), 150)]
    assert mean(same) < 0.07
    assert max(same) < 0.5


@given(st.integers(0, 2**32))
def test_typography(seed: int) -> None:
    text = write_story(draw_fields(random.Random(seed)), seed).text
    assert not re.search(
        r"[\[\]{}|_]|  | [.,!?;:]|\.\.|[,.]{2}|\ba (?!one)[aeio]\w|\ban [bcdfgjklmnpqrstvwxz]", text
    ), text
    assert text.count('"') % 2 == 0
    assert all(re.match(r"[\"A-Z]", sentence) for sentence in sentences(text))
    assert "\n" not in text
