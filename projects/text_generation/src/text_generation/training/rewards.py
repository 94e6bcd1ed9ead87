"""Rewards that a program can check (Lambert et al. 2024, "Tülu 3", section 6): what GRPO makes larger.

A reward function takes answers and the columns of their rows, each a list with one entry an answer, and returns one
number an answer. This is the form that TRL calls.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError
from text_generation.backends.types import Message
from text_generation.coding.extraction import extract_code
from text_generation.coding.problems import Problem
from text_generation.coding.prompts import CodeRequest, chat_prompt
from text_generation.coding.verifier import Verifier
from text_generation.corpora.stories.fields import Ending, Mood, StoryFields, Theme
from text_generation.corpora.story_checker import check_story
from text_generation.corpora.types import Reject
from text_generation.training.chat_data import Row, RowError, prompt_of, read_rows, text_of

RewardFunction = Callable[..., list[float]]
Answer = str | Sequence[dict[str, Any]]
"""A text, or the turns of a conversation that were generated, of which the last one counts."""

SYNTAX_REWARD = 0.1
"""For code that is Python but does not pass: without it, a model that solves nothing yet would get no signal at all."""

_DEMANDS = ("hero", "pronouns", "theme", "mood", "ending", "length", "complete")


def text_of_answer(answer: Answer) -> str:
    """What an answer says."""
    return answer if isinstance(answer, str) else str(answer[-1]["content"])


def story_reward(
    completions: Sequence[Answer],
    theme: Sequence[Theme],
    hero: Sequence[str],
    mood: Sequence[Mood],
    ending: Sequence[Ending],
    **_: Any,
) -> list[float]:
    """For each story, the share of the checker's seven demands that it meets.

    A share and not all-or-nothing: where no answer of a group meets all, the better ones still stand out.
    """
    rewards: list[float] = []
    for answer, *wanted in zip(completions, theme, hero, mood, ending, strict=True):
        check = check_story(text_of_answer(answer).strip(), StoryFields(*wanted))  # pyright: ignore[reportArgumentType]
        rewards.append(sum(getattr(check, name) for name in _DEMANDS) / len(_DEMANDS))
    return rewards


def code_reward(verifier: Verifier, problems: Iterable[Problem]) -> RewardFunction:
    """A reward for programs: 1 for one that passes its problem's tests in the sandbox, `SYNTAX_REWARD` for one that is
    Python, 0 otherwise. A share of the tests would pay for an answer that is right by chance on half of them."""
    by_id = {problem.task_id: problem for problem in problems}

    def passes_tests(completions: Sequence[Answer], task_id: Sequence[str], **_: Any) -> list[float]:
        rewards: list[float] = []
        for answer, name in zip(completions, task_id, strict=True):
            problem = by_id[name]
            found = extract_code(text_of_answer(answer), problem.entry_point)
            if not found.code:
                rewards.append(0.0)
            else:
                passed = verifier.verify(problem.task(found.code)).passed
                rewards.append(1.0 if passed else SYNTAX_REWARD if found.intact else 0.0)
        return rewards

    return passes_tests


def problem_rows(problems: Iterable[Problem]) -> list[Row]:
    """A row for each problem: the prompt, and the task's id for `code_reward`."""
    return [
        {"prompt": messages(chat_prompt(CodeRequest.of(problem))), "task_id": problem.task_id} for problem in problems
    ]


def messages(prompt: Any) -> tuple[Message, ...]:
    """A prompt as turns; a text is one turn of the user."""
    return (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)


def read_story_requests(path: Path, max_rows: int | None = None) -> tuple[list[Row], list[Reject]]:
    """Rows for `story_reward` from a .jsonl file with prompt, theme, hero, mood and ending.

    Raises:
        UserError: the file cannot be read, or none of its rows can be used.
    """
    return read_rows(path, story_request, max_rows, "prompt, theme, hero, mood and ending")


def story_request(row: Row, source: str) -> Row:
    """A row with its prompt as messages and its fields checked.

    Raises:
        RowError: a part is missing, or there is no such theme, mood or ending.
    """
    prompt = prompt_of(row)
    theme, hero, mood, ending = (text_of(row, name) for name in ("theme", "hero", "mood", "ending"))
    try:
        fields = StoryFields(theme, hero, mood, ending)  # type: ignore[arg-type]  # it checks them itself
    except UserError as error:
        raise RowError(str(error)) from None
    return {"prompt": prompt, **vars(fields), "source": source}
