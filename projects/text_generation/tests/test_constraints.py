"""The constraint checker: against values by hand, and against the built-in stories, whose answers are known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from text_generation.corpora.stories.fields import ENDINGS, HEROES, MOODS, THEMES, StoryFields
from text_generation.corpora.stories.writer import write_story
from text_generation.corpora.story_checker import check_story
from text_generation.writing.brief import Brief, make_brief
from text_generation.writing.constraints import (
    check_built_in,
    check_constraints,
    closing,
    other_spellings,
    pronouns_of_hero,
)
from text_generation.writing.words import content_words, count_words, edit_distance, occurring, sentences_of, stem

GOOD = (
    "Mira had a key to the old tower. She lost it in the long grass. Her brother had seen a magpie with his own eyes, "
    "and he told Mira. She climbed the oak and found the key in its nest. In the end Mira smiled all the way home."
)
KEY = Brief(theme="a lost key", hero="Mira", pronoun="she", ending="happy", min_words=20, max_words=60)


def test_a_story_that_does_what_was_asked() -> None:
    check = check_constraints(GOOD, KEY)
    assert check.passed, check.reasons
    assert check.share == 1
    assert check.n_words == len(GOOD.split())
    assert set(check.met) == {"theme", "hero", "pronouns", "ending", "length", "complete"}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "theme",
            GOOD.replace("key", "ring").replace("lost", "dropped"),
            "of the theme 'a lost key' the text lacks lost, key",
        ),
        ("hero", GOOD.replace("Mira", "Lena"), "Mira is not named"),
        ("hero", GOOD.replace("told Mira", "told Myra"), "Mira is also spelt Myra"),
        (
            "pronouns",
            GOOD.replace("She", "He").replace("Her brother", "A brother"),
            "Mira is she, and near the name the text says he 2 times and she 0 times",
        ),
        (
            "ending",
            GOOD.replace("smiled", "wept"),
            "the closing sentences hold no formulation of the ending 'happy'",
        ),
        ("length", "Mira lost the key and smiled.", "6 words, asked are 20 to 60"),
        ("complete", GOOD.removesuffix("."), "the last sentence has no end"),
    ],
)
def test_what_a_story_misses(name: str, text: str, reason: str) -> None:
    check = check_constraints(text, KEY)
    assert check.reasons == {name: reason}
    assert [each for each, met in check.met.items() if not met] == [name]


def test_an_ending_that_another_one_outweighs() -> None:
    text = "Mira lost the key. She looked for it. They smiled. But Mira wept in tears of sorrow, and the key was gone."
    check = check_constraints(text, KEY)
    assert check.reasons["ending"] == "the closing sentences speak of the ending 'sad' more than of 'happy'"


def test_an_ending_in_words_of_ones_own() -> None:
    brief = Brief(theme="key", hero="Mira", ending="the tower falls into the sea", min_words=1)
    before = "Mira had a key. " * 8
    assert check_constraints(before + "Then the towers fell into the seas.", brief).met["ending"]
    missed = check_constraints("The tower stood by the sea. " + before, brief)
    assert missed.reasons["ending"] == (
        "of the ending 'the tower falls into the sea' the closing sentences lack tower, falls, sea"
    )


@pytest.mark.parametrize(
    ("text", "hero", "cast", "spellings"),
    [
        ("Mira and Myra and Mirra.", "Mira", (), ["Myra", "Mirra"]),
        ("MIRA ran. Mira's hat was Mira’s own.", "Mira", (), []),
        ("And all the others ran to Ann. Any would.", "Ann", (), []),
        ("Tom met Tim.", "Tom", ("Tim",), []),
        ("Tom met Tim.", "Tom", (), ["Tim"]),
        ("Alexsander woke. Alexander slept.", "Alexander", (), ["Alexsander"]),
        ("Zoë met Zoe.", "Zoë", (), ["Zoe"]),
        ("Captain Flynn and captain Flint.", "Captain Flint", (), []),
        ("Captain Flent came.", "Captain Flint", (), ["Flent"]),
        # It is written small elsewhere: a word, and no name.
        ("Mare it was, for a mare it was. Mara wept.", "Mara", (), []),
    ],
)
def test_other_spellings_of_the_name(text: str, hero: str, cast: tuple[str, ...], spellings: list[str]) -> None:
    assert other_spellings(text, Brief(theme="key", hero=hero, cast=cast)) == spellings


def test_pronouns_are_counted_near_the_hero_only() -> None:
    brief = Brief(theme="key", hero="Mira", cast=("Tom",), pronoun="she")
    text = (
        "Tom lost his hat and he wept. He ran. Mira took her bag. She ran. The old man saw him. "
        "Tom and Mira hid; he won."
    )
    assert pronouns_of_hero(text, brief) == {"she": 2, "he": 0, "they": 0}
    assert check_constraints(text, brief).met["pronouns"]


def test_a_hero_who_is_they() -> None:
    brief = Brief(theme="key", hero="Sam", pronoun="they", min_words=1)
    assert check_constraints("Sam lost the key. They sang. Sam found their key.", brief).met["pronouns"]
    reasons = check_constraints("Sam lost the key. He sang. Sam found his key.", brief).reasons
    assert reasons["pronouns"] == "Sam is they, and near the name the text says he 2 times and they 0 times"


def test_without_a_pronoun_either_will_do_but_not_both() -> None:
    brief = Brief(theme="key", hero="Robin", min_words=1)
    assert check_constraints("Robin lost a key. He sang. Robin took his hat.", brief).met["pronouns"]
    both = check_constraints("Robin lost a key. He sang. Robin took her hat. She ran. Robin shook his head.", brief)
    assert both.reasons["pronouns"] == "Robin is she, and near the name the text says he 2 times and she 2 times"


def test_a_chinese_story() -> None:
    brief = Brief(theme="钥匙", hero="小明", ending="回家", min_words=10, max_words=40)
    check = check_constraints("小明丢了钥匙。他找了很久。最后他找到了钥匙，高高兴兴地回家了。", brief)
    assert check.passed, check.reasons
    assert check.n_words == 27


fields = st.builds(
    StoryFields,
    st.sampled_from(THEMES),
    st.sampled_from(sorted(HEROES)),
    st.sampled_from(MOODS),
    st.sampled_from(ENDINGS),
)


@settings(deadline=None, max_examples=15)
@given(fields, fields)
def test_built_in_stories_are_judged_as_by_their_own_checker(asked: StoryFields, other: StoryFields) -> None:
    given_values = {name: getattr(asked, name) for name in ("theme", "hero", "mood", "ending")}
    brief = make_brief(given_values, "headers")
    assert (brief.min_words, brief.max_words, brief.pronoun) == (60, 120, asked.pronoun)
    assert check_built_in(write_story(asked).text, asked, brief).passed
    story = write_story(other).text
    ours, theirs = check_built_in(story, asked, brief), check_story(story, asked)
    assert ours.reasons == theirs.reasons
    assert all(ours.met[name] == getattr(theirs, name) for name in ours.met)


def slow_distance(a: str, b: str) -> int:
    """By the definition, without a table."""
    if not a or not b:
        return len(a) + len(b)
    found = [slow_distance(a[1:], b) + 1, slow_distance(a, b[1:]) + 1, slow_distance(a[1:], b[1:]) + (a[0] != b[0])]
    if len(a) > 1 and len(b) > 1 and a[0] == b[1] and a[1] == b[0]:
        found.append(slow_distance(a[2:], b[2:]) + 1)
    return min(found)


@settings(deadline=None, max_examples=100)
@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_edit_distance_against_its_definition(a: str, b: str) -> None:
    assert edit_distance(a, b) == slow_distance(a, b)


def test_words() -> None:
    assert stem("storms") == stem("storm")
    assert stem("losing") == stem("lose") == stem("loses")
    assert stem("stories") == stem("story")
    assert stem("running") == stem("runs")
    assert stem("glasses") == stem("glass") != stem("glade")
    assert content_words("A lost key, and the Lost dog's bone") == ["lost", "key", "dog", "bone"]
    assert content_words("the one") == ["the", "one"]
    assert occurring(["key", "boat", "海"], "Keys, and 大海.") == ["key", "海"]
    assert count_words("Mira's well-known hat: 3 海 你好") == 7


def test_sentences() -> None:
    text = 'Mr. Fox ran. "Why?" asked Mira. "Go!" She hid… 他走了。她来了！\n\nthe end'
    assert sentences_of(text) == [
        "Mr. Fox ran.",
        '"Why?" asked Mira.',
        '"Go!"',
        "She hid…",
        "他走了。",
        "她来了！",
        "the end",
    ]
    assert sentences_of("") == []
    assert closing("A. B. C. D. E. F. G. H. I.") == "G. H. I."
    assert closing("Only this.") == "Only this."


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"theme": "key"}, "the story's hero is missing: give it with --hero"),
        ({"hero": "Mira"}, "the story's theme is missing: give it with --theme"),
        ({"theme": "key", "hero": "a\nb"}, "the story's hero must be a text on one line, not 'a\\nb'"),
        ({"theme": 5, "hero": "Mira"}, "the story's theme must be a text on one line, not 5"),
        ({"theme": "key", "hero": "Mira", "cast": "Tom"}, "cast must be a list of names, not 'Tom'"),
        ({"theme": "key", "hero": "Mira", "endings": "x"}, "a story has no 'endings'. Did you mean 'ending'?"),
        ({"theme": "key", "hero": "Mira", "pronoun": "it"}, "the pronoun must be she, he or they, not 'it'"),
        (
            {"theme": "key", "hero": "Mira", "min_words": 9, "max_words": 5},
            "min_words 9 must not be above max_words 5",
        ),
        ({"theme": "key", "hero": "Mira", "max_words": True}, "max_words must be a whole number from 1 on, not True"),
    ],
)
def test_a_brief_that_is_none(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make_brief(values, "chat")
    assert str(caught.value) == message


def test_a_brief_of_the_built_in_stories() -> None:
    with pytest.raises(UserError, match=r"^there is no story theme 'a lost key'\. Choose among sea, forest, space"):
        make_brief({"theme": "a lost key", "hero": "Mira"}, "headers")
    assert make_brief({"theme": "sea", "hero": "Mira", "max_words": 40}, "headers").min_words == 40
    stored = {"theme": "sea", "hero": "Mira", "ending": "sad"}
    brief = make_brief({"theme": None, "ending": None, "mood": "bold"}, "headers", stored)
    assert (brief.theme, brief.mood, brief.ending) == ("sea", "bold", "sad")
