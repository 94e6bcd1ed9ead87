"""What the steps make of answers, and how the built-in model's retries begin."""

from pathlib import Path

import pytest

from roadmap_shared.errors import UserError
from text_generation.backends.scripted import ScriptedBackend
from text_generation.config.decoding import DecodingConfig
from text_generation.config.writing import WriteConfig
from text_generation.corpora.stories.fields import StoryFields
from text_generation.corpora.stories.writer import write_story
from text_generation.writing.answers import (
    UnusableAnswerError,
    as_list,
    parse_critique,
    parse_outline,
    parse_story,
    title_of,
)
from text_generation.writing.brief import Brief, make_brief
from text_generation.writing.headers import HeaderSteps, kept_beginning
from text_generation.writing.steps import ChatSteps, Request, Step
from text_generation.writing.words import sentences_of

OUTLINE = "# The Key\n\n1. Mira loses a key.\n2. She finds it."


@pytest.mark.parametrize(
    "answer",
    [
        "Title: The Key\n1. Mira loses a key.\n2. She finds it.",
        "Sure!\n\n**Title: The Key**\n\n1) **Mira loses a key.**\n2) She finds it.\n\nLet me know!",
        "# The Key\n- Mira loses a key.\n- She finds it.",
        '<think>1. no\n2. not this</think>Title: "The Key"\n(1) Mira loses a key.\n(2) She finds it.',
        "I plan.\n1. x\n2. y</think>\n**The Key**\n* Mira loses a key.\n* She finds it.",
        "```markdown\nTitle: The Key\r\n1. Mira loses a key.\r\n2. She finds it.\n```",
    ],
)
def test_outlines_in_many_forms(answer: str) -> None:
    assert parse_outline(answer) == OUTLINE
    assert title_of(OUTLINE) == "The Key"


def test_an_outline_without_a_title() -> None:
    outline = parse_outline("1. Mira loses a key.\n2. She finds it.")
    assert outline == "1. Mira loses a key.\n2. She finds it."
    assert title_of(outline) == ""


@pytest.mark.parametrize("answer", ["", "I cannot.", "1. Only this one."])
def test_no_outline(answer: str) -> None:
    with pytest.raises(UnusableAnswerError, match=r"^holds no plot points, each on a line with its number$"):
        parse_outline(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Mira ran.\n\nShe won.",
        "Here is the story:\n\nMira ran.\n\nShe won.\n\n(Word count: 4)",
        "**The Key**\n\nMira ran.\n\nShe won.\n\n---",
        "Title: The Key\nMira ran.\n\nShe won.\n\nTHE END",
        "<story>\nMira ran.\n\nShe won.\n</story>",
        "<think>so?</think>\n\nSure, here it is:\n\n# The Key\n\nMira ran.\n\nShe won.",
    ],
)
def test_stories_in_many_forms(answer: str) -> None:
    assert parse_story(answer) == "Mira ran.\n\nShe won."


def test_no_story() -> None:
    with pytest.raises(UnusableAnswerError, match=r"^holds no story$"):
        parse_story(" \n ")
    with pytest.raises(UnusableAnswerError, match=r"^ends within its reasoning; raise --decoding.max_new_tokens$"):
        parse_story("<think>First I")


def test_critiques() -> None:
    assert parse_critique("Some thoughts:\n- Too short.\n2. No sea.\n") == ["Too short.", "No sea."]
    assert parse_critique("It drags.\nA lot.\n\nThe end is weak.") == ["It drags. A lot.", "The end is weak."]
    for nothing in ("No problems.", "- None.", "There are no major issues.", "**No problems**"):
        assert parse_critique(nothing) == []
    assert parse_critique("No problem is as bad as the ending, which comes out of nowhere and helps nobody.") != []
    assert as_list([]) == "No problems."
    assert as_list(["a", "b"]) == "- a\n- b"
    with pytest.raises(UnusableAnswerError, match=r"^is empty$"):
        parse_critique("")


def test_templates_of_ones_own(tmp_path: Path) -> None:
    text = (
        "name: outline\nversion: '1'\ndescription: x\nvariables: {theme: t, hero: h}\n"
        "text: 'Plan {{ theme }}, {{ hero }}'\n"
    )
    (tmp_path / "outline.yaml").write_text(text)
    steps = ChatSteps(DecodingConfig(), templates=tmp_path)
    brief = Brief(theme="sea", hero="Mira")
    request = steps.request("outline", brief, {})
    assert isinstance(request, Request)
    assert request.prompts == ("Plan sea, Mira",)
    (tmp_path / "outline.yaml").write_text(text.replace("hero", "villain"))
    with pytest.raises(UserError, match=r"outline.yaml: 1 variable has no value: villain \(h\)"):
        ChatSteps(DecodingConfig(), templates=tmp_path).request("outline", brief, {})
    (tmp_path / "drafft.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        ChatSteps(DecodingConfig(), templates=tmp_path)
    assert str(caught.value) == f"--templates {tmp_path}: 'drafft.yaml' belongs to no step. Did you mean 'draft'?"
    with pytest.raises(UserError) as caught:
        ChatSteps(DecodingConfig(), templates=tmp_path / "none")
    assert str(caught.value) == f"--templates {tmp_path / 'none'}: no such folder"


SEA = StoryFields("sea", "Mira", "gentle", "happy")
BRIEF = make_brief({"theme": "sea", "hero": "Mira"}, "headers")


def test_where_a_retry_goes_on() -> None:
    story = write_story(SEA, seed=3).text
    parts = sentences_of(story)
    assert kept_beginning(story, SEA, BRIEF) == story
    # The ending is missed: the last three sentences are written anew.
    other = " ".join([*parts[:-1], "Mira sadly wept."])
    assert kept_beginning(other, SEA, BRIEF) == " ".join(parts[:-3])
    # Another hero comes in: everything from that sentence on.
    strange = " ".join([*parts[:2], "Otto came by.", *parts[2:]])
    roomy = make_brief({"theme": "sea", "hero": "Mira", "max_words": 150}, "headers")
    assert kept_beginning(strange, SEA, roomy) == " ".join(parts[:2])
    # The theme is missed, or the story is too long: nothing can stay.
    assert kept_beginning(story, StoryFields("city", "Mira", "gentle", "happy"), BRIEF) == ""
    assert kept_beginning(f"{story} {story}", SEA, BRIEF) == ""
    assert kept_beginning("", SEA, BRIEF) == ""


def test_the_built_in_model_keeps_the_best_of_several_drafts() -> None:
    good, bad = write_story(SEA, seed=1).text, write_story(StoryFields("city", "Otto", "bold", "sad"), seed=1).text
    backend = ScriptedBackend([bad, good, "", bad])
    steps = HeaderSteps(backend, DecodingConfig(max_new_tokens=500), samples=4)
    assert steps.request("outline", BRIEF, {}) == SEA.header
    request = steps.request("draft", BRIEF, {"outline": SEA.header})
    assert isinstance(request, Request)
    assert request.prompts == (SEA.prompt,) * 4
    assert (request.decoding.max_new_tokens, request.decoding.stop) == (200, ("\n\n",))
    assert request.read([bad, good, "", bad]) == good
    done: dict[Step, str] = {"outline": SEA.header, "draft": good}
    assert steps.request("critique", BRIEF, done) == "No problems."
    assert steps.request("revision", BRIEF, {**done, "critique": "No problems."}) == good
    with pytest.raises(UnusableAnswerError, match=r"^holds no story$"):
        request.read(["", " \n"])


def test_a_retry_of_the_built_in_model_goes_on_from_what_is_kept() -> None:
    good = write_story(SEA, seed=1).text
    parts = sentences_of(good)
    draft = " ".join([*parts[:-1], "Mira sadly wept."])
    steps = HeaderSteps(ScriptedBackend([]), DecodingConfig(), samples=2)
    done: dict[Step, str] = {"outline": SEA.header, "draft": draft}
    assert steps.request("critique", BRIEF, done) == "- the ending is sad (sadly, wept), not happy"
    request = steps.request("revision", BRIEF, {**done, "critique": "-"})
    assert isinstance(request, Request)
    kept = " ".join(parts[:-3])
    assert request.prompts == (SEA.prompt + kept,) * 2
    rest = " ".join(parts[-3:])
    assert request.read([f" {rest}", " She wept."]) == good
    assert request.read(["She wept.", rest]) == good


def test_no_room_for_a_story() -> None:
    steps = HeaderSteps(ScriptedBackend([], context_window=5), DecodingConfig())
    with pytest.raises(UserError) as caught:
        steps.request("baseline", BRIEF, {})
    assert str(caught.value) == f"scripted has no room for a story after '{SEA.header}'. Shorten the names."


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": 0}, "--samples 0 must be at least 1"),
        ({"samples": 2, "decoding": DecodingConfig(strategy="greedy")}, "--samples 2 drafts differ with "),
        ({"briefs": Path("b.jsonl"), "mood": "x"}, "--mood goes without --briefs: write it into the lines of b.jsonl"),
        ({"templates": Path("t"), "style": "headers"}, "--templates goes with --style chat"),
    ],
)
def test_settings_that_contradict_each_other(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WriteConfig(**values)  # type: ignore[arg-type]


def test_the_number_of_samples() -> None:
    assert WriteConfig().n_samples == 1
    assert WriteConfig(style="headers").n_samples == 8
    assert WriteConfig(style="headers", decoding=DecodingConfig(strategy="greedy")).n_samples == 1
