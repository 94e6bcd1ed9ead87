"""Rewards: the share of the story checker's demands, and programs that pass in the sandbox."""

import json
from pathlib import Path
from typing import Any

import pytest

from roadmap_shared.errors import UserError
from text_generation.backends.types import Message
from text_generation.coding.problems import Problem
from text_generation.coding.verifier import Task, Verdict, Verifier
from text_generation.corpora.stories.fields import StoryFields
from text_generation.corpora.stories.writer import write_story
from text_generation.training.rewards import (
    SYNTAX_REWARD,
    code_reward,
    problem_rows,
    read_story_requests,
    story_reward,
    text_of_answer,
)

MIRA = StoryFields("sea", "Mira", "gentle", "happy")
DOUBLE = Problem("p/double", "Doubles x.", "", "double", ("assert double(3) == 6",))


def columns(*fields: StoryFields) -> dict[str, Any]:
    return {name: [getattr(each, name) for each in fields] for name in ("theme", "hero", "mood", "ending")}


def answered(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_a_story_is_paid_by_the_share_of_demands_that_it_meets():
    story = write_story(MIRA, 1).text
    sad = write_story(StoryFields("sea", "Mira", "gentle", "sad"), 1).text
    cut = " ".join(story.split()[:70])
    stories = [story, f" {story}\n", sad, ""]
    # The empty one names nobody wrongly and uses no wrong pronoun: one demand of seven.
    assert story_reward(stories, **columns(MIRA, MIRA, MIRA, MIRA)) == pytest.approx([1.0, 1.0, 6 / 7, 1 / 7])
    assert story_reward([cut], **columns(MIRA))[0] < 1


def test_an_answer_may_be_a_conversation():
    story = write_story(MIRA, 1).text
    assert story_reward([answered(story)], **columns(MIRA), trainer_state=None) == [1.0]
    assert text_of_answer([{"role": "tool", "content": "3"}, *answered("four")]) == "four"


class Judge:
    """Passes programs that multiply."""

    def verify(self, task: Task) -> Verdict:
        passed = "*" in task.source
        return Verdict("passed" if passed else "wrong", "", int(passed), 1, 0.0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("```python\ndef double(x):\n    return 2 * x\n```", 1.0),
        ("```python\ndef double(x):\n    return x + 1\n```", SYNTAX_REWARD),
        ("```python\ndef double(x):\n    y = x\n    return x +\n```", 0.0),
        ("I cannot.", 0.0),
        ("", 0.0),
    ],
)
def test_a_program_is_paid_for_passing_its_tests(answer: str, expected: float):
    reward = code_reward(Judge(), [DOUBLE])  # type: ignore[arg-type]
    assert reward([answered(answer)], task_id=["p/double"]) == [expected]


def test_the_sandbox_decides():
    reward = code_reward(Verifier(), [DOUBLE])
    right, cheat = (
        "def double(x):\n    return 2 * x",
        "class Six:\n    def __eq__(self, other):\n        return True\ndef double(x):\n    return Six()",
    )
    assert reward([right, cheat], task_id=["p/double"] * 2) == [1.0, SYNTAX_REWARD]


def test_rows_of_problems_ask_for_their_functions():
    (row,) = problem_rows([DOUBLE])
    assert row["task_id"] == "p/double"
    assert "Doubles x." in row["prompt"][-1].content
    assert "`double`" in row["prompt"][-1].content


def test_requests_of_ones_own(tmp_path: Path):
    path = tmp_path / "asked.jsonl"
    rows = [{"prompt": "A story, please.", **vars(MIRA)}, {"prompt": "Another.", **vars(MIRA), "theme": "see"}]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found, rejects = read_story_requests(path)
    assert found == [{"prompt": (Message("user", "A story, please."),), **vars(MIRA), "source": "asked.jsonl:1"}]
    assert [(each.source, each.reason) for each in rejects] == [
        ("asked.jsonl:2", "there is no story theme 'see'. Did you mean 'sea'?")
    ]
    path.write_text("{}\n")
    with pytest.raises(UserError) as error:
        read_story_requests(path)
    assert str(error.value) == (
        f"{path}: holds no row with prompt, theme, hero, mood and ending: 1 row left out: asked.jsonl:1 (has no "
        "'prompt')"
    )
