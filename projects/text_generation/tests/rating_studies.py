"""What the tests of rating share: a small study of three systems, its book of votes, and error messages."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from roadmap_shared.errors import UserError
from text_generation.evaluation.rating.making import Output, make_study, write_study
from text_generation.evaluation.rating.study import read_study
from text_generation.evaluation.rating.votes import VoteBook

SYSTEMS = ("alpha-model", "beta-model", "gamma-model")


def outputs(n_prompts: int = 7, systems: Sequence[str] = SYSTEMS) -> list[Output]:
    # No text tells its system: what the raters get can then be searched for the names.
    return [
        Output(f"prompt {n}", name, f"text {n}.{index}") for n in range(n_prompts) for index, name in enumerate(systems)
    ]


def written_study(folder: Path) -> Path:
    """A study of 21 items, with its key beside it."""
    path = folder / "study.jsonl"
    write_study(make_study("stories", outputs()), path)
    return path


def new_book(study: Path) -> VoteBook:
    """A book without votes, in a folder that is not there yet."""
    return VoteBook(read_study(study), study.parent / "votes" / "all.jsonl")


def error_of(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
