"""Case sets: JSONL files with the values of a template's variables and the reference answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from roadmap_shared.errors import UserError
from text_generation.json_lines import HALF_PAIR, BrokenJsonError, has_half_pair, numbered_lines, parsed

SENTIMENT_CASES = files("text_generation.prompting") / "data" / "sentiment.jsonl"
"""Shipped: short reviews with their labels, written for this repository."""


@dataclass(frozen=True)
class Case:
    """One line of a case set."""

    variables: Mapping[str, Any]
    """Values for templates; each takes those that it has a gap for."""

    reference: str
    """The answer that is hoped for; for the scorer `regex`, a regular expression."""

    source: str = "case"
    """File and line, as messages name it."""

    @property
    def key(self) -> str:
        """Equal for equal cases, wherever they stand."""
        return json.dumps([dict(self.variables), self.reference], sort_keys=True, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class RejectedLine:
    """A line that is no case, and why."""

    source: str
    reason: str


def read_cases(path: Path | Traversable) -> tuple[list[Case], list[RejectedLine]]:
    """Read a JSONL file: on each line an object with `reference` (a text) and the variables beside it.

    Returns:
        The cases, and the lines that are none.

    Raises:
        UserError: the file cannot be read, or holds no case.
    """
    name = path.name
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not a text file in UTF-8. Save it as UTF-8.") from error
    cases: list[Case] = []
    rejects: list[RejectedLine] = []
    for number, line in numbered_lines(text):
        source = f"{name}:{number}"
        found = _case(line, source)
        if isinstance(found, Case):
            cases.append(found)
        else:
            rejects.append(RejectedLine(source, found))
    if not cases:
        reason = f" (line {rejects[0].source.rpartition(':')[2]}: {rejects[0].reason})" if rejects else ""
        raise UserError(f'{path}: holds no case{reason}. Write one a line: {{"review": "…", "reference": "positive"}}')
    return cases, rejects


def _case(line: str, source: str) -> Case | str:
    """The case, or why there is none."""
    fields = fields_of(line)
    if isinstance(fields, str):
        return fields
    reference = fields.pop("reference", None)
    if not isinstance(reference, str) or not reference:
        return "has no text 'reference'"
    return Case(fields, reference, source)


def fields_of(line: str) -> dict[str, Any] | str:
    """The JSON object on a line, or why there is none."""
    try:
        fields = parsed(line)
    except BrokenJsonError as error:
        return f"is not JSON: {error.problem}" + (f" at character {error.column}" if error.column else "")
    if has_half_pair(fields):
        return f"holds {HALF_PAIR}"
    return fields if isinstance(fields, dict) else "is not a JSON object"


def rejected_in_words(rejects: Sequence[RejectedLine], n_cases: int) -> str:
    """One line for the user: "2 of 30 lines left out; the first is cases.jsonl:7: is not JSON: …". Empty without
    any."""
    if not rejects:
        return ""
    first = rejects[0]
    return f"{len(rejects)} of {len(rejects) + n_cases} lines left out; the first is {first.source}: {first.reason}"


def split_cases(cases: Sequence[Case], held_out: float, seed: int = 0) -> tuple[list[Case], list[Case]]:
    """Shuffle the cases and hold a share of them out, at least one on each side.

    Raises:
        UserError: fewer than two cases.
    """
    if len(cases) < 2:
        raise UserError(
            f"{len(cases)} case cannot be split into cases to choose by and held-out ones. Give more cases."
        )
    order = np.random.default_rng(seed).permutation(len(cases))
    n_held_out = min(max(round(held_out * len(cases)), 1), len(cases) - 1)
    return [cases[index] for index in order[n_held_out:]], [cases[index] for index in order[:n_held_out]]
