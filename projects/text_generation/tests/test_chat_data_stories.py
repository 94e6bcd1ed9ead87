"""Requests for stories in plain words: their answers obey, pairs differ where they should, nothing measured leaks."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text_generation.backends.types import Generation
from text_generation.config.decoding import DecodingConfig
from text_generation.corpora.stories.fields import StoryFields, all_fields, draw_fields
from text_generation.corpora.stories.writer import write_story
from text_generation.corpora.story_checker import check_story
from text_generation.training.chat_data_stories import (
    CLOSINGS,
    PLACES,
    REQUESTS,
    best_and_worst,
    fresh_fields,
    request,
    reward_rows,
    sampled_pairs,
    story_conversations,
    story_prompt,
    swap,
    swapped_pairs,
)

MIRA = StoryFields("sea", "Mira", "gentle", "happy")


@given(st.randoms(use_true_random=False), st.integers(0, 99))
def test_a_request_says_what_is_asked(rng: random.Random, seed: int):
    fields = draw_fields(rng)
    said = request(fields, seed)
    assert said == request(fields, seed)
    for part in (fields.hero, fields.mood, PLACES[fields.theme], CLOSINGS[fields.ending]):
        assert part in said
    assert "{" not in said


def test_every_way_to_ask_is_used():
    beginnings = {form[:8] for form in REQUESTS}
    assert {request(MIRA, seed)[:8] for seed in range(60)} == beginnings


def test_the_answers_obey():
    conversations = story_conversations(6, seed=1)
    for conversation, fields in zip(conversations, fresh_fields(6, seed=1), strict=True):
        asked, answer = conversation.messages
        assert (asked.role, answer.role) == ("user", "assistant")
        assert fields.hero in asked.content
        assert check_story(answer.content, fields).passed
    assert story_conversations(3, seed=1) == conversations[:3]


def test_fields_that_are_measured_are_left_out():
    without = set(fresh_fields(40, seed=3))
    assert not set(fresh_fields(200, seed=3, without=without)) & without


def test_fields_repeat_only_after_all_have_come():
    n_all = len(all_fields())
    without = all_fields()[5:]
    assert Counter(fresh_fields(10, seed=0, without=without)) == dict.fromkeys(all_fields()[:5], 2)
    assert len(set(fresh_fields(200, seed=0))) == 200 < n_all


def test_a_swapped_pair_differs_in_one_field():
    pairs = swapped_pairs(8, seed=2)
    for pair, fields in zip(pairs, fresh_fields(8, seed=2), strict=True):
        assert check_story(pair.chosen, fields).passed
        assert not check_story(pair.rejected, fields).obeyed
    assert swapped_pairs(8, seed=2) == pairs


@pytest.mark.parametrize("name", ["theme", "hero", "mood", "ending"])
def test_swapping_changes_the_field_that_is_named(name: str):
    other = swap(MIRA, name, random.Random(1))
    assert [
        field for field in ("theme", "hero", "mood", "ending") if getattr(other, field) != getattr(MIRA, field)
    ] == [name]


def test_the_obedient_answer_stands_against_the_one_that_misses_most():
    good, wrong_end = write_story(MIRA, 1).text, write_story(StoryFields("sea", "Mira", "gentle", "sad"), 1).text
    other = write_story(StoryFields("space", "Otto", "bold", "sad"), 1).text
    assert best_and_worst([wrong_end, good, other], MIRA) == (good, other)
    assert best_and_worst([wrong_end, good, ""], MIRA) == (good, wrong_end)
    assert best_and_worst([good, good], MIRA) is None
    assert best_and_worst([other, wrong_end], MIRA) is None
    assert best_and_worst(["", ""], MIRA) is None


class Storyteller:
    """Answers every second request well in every second answer, and all others with a story of somebody else."""

    def __init__(self, fields: Sequence[StoryFields]) -> None:
        self.fields = {story_prompt(each, f"7/{number}"): each for number, each in enumerate(fields, start=1)}

    def generate(self, prompts: Sequence[Any], decoding: DecodingConfig, seed: int = 0) -> list[Generation]:
        known = list(self.fields)
        texts: list[str] = []
        for index, prompt in enumerate(prompts):
            good = known.index(prompt) % 2 == 0 and index % 2 == 0
            texts.append(
                write_story(self.fields[prompt] if good else swap(self.fields[prompt], "hero", random.Random(0))).text
            )
        return [Generation(text, "stop", 1, 1) for text in texts]


def test_sampled_pairs_come_from_requests_with_both_kinds_of_answers():
    asked = fresh_fields(4, seed=7)
    pairs = sampled_pairs(Storyteller(asked), 4, 7, samples=2, decoding=DecodingConfig())  # type: ignore[arg-type]
    assert [pair.source for pair in pairs] == ["sampled:1", "sampled:3"]
    for pair, fields in zip(pairs, asked[::2], strict=True):
        assert check_story(pair.chosen, fields).passed
        assert not check_story(pair.rejected, fields).hero


def test_prompts_for_rewards_carry_their_fields():
    rows = list(reward_rows(3, seed=5))
    asked = fresh_fields(3, seed=5)
    assert [{name: row[name] for name in ("theme", "hero", "mood", "ending")} for row in rows] == [
        vars(f) for f in asked
    ]
    assert [row["prompt"] for row in rows] == [story_prompt(f, f"5/{n}") for n, f in enumerate(asked, start=1)]
