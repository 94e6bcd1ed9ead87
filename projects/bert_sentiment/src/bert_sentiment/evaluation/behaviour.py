"""Behavioural tests: does the classifier do what anybody would expect, one ability at a time?

Accuracy on a test set averages over whatever the set holds. These tests follow CheckList (Ribeiro et al. 2020, "Beyond
Accuracy: Behavioral Testing of NLP Models with CheckList", §2) instead: for each capability, short authored cases of

- **MFT**, minimum functionality: the text has an expected label ("The film is not funny." is negative);
- **INV**, invariance: rewritings that leave the attitude alone (another name, a link) must not change the label;
- **DIR**, directional expectation: a change moves the probability of a label one way at most ("good" -> "extremely
  good" must not make it less positive).

The cases lie in `behaviour_cases/`, one JSON Lines file a capability, one case a line. Cases of one's own go into a
folder of such files.

Shapes: K labels, V rewritings of a case.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from roadmap_shared.errors import UserError, one_line
from roadmap_shared.metrics import Interval, wilson_interval

Predict = Callable[[Sequence[str]], np.ndarray]
"""N texts -> (N, K) probabilities."""

Test = Literal["MFT", "INV", "DIR"]
Direction = Literal["not_lower", "not_higher"]

CAPABILITIES = (
    "vocabulary",
    "negation",
    "intensifiers",
    "contrast",
    "comparison",
    "irony",
    "questions",
    "emoji",
    "temporal",
    "names_places_numbers",
    "punctuation_case",
    "neutral_filler",
    "markup",
)
"""The authored capabilities, from plain words to what should not matter at all."""

TOLERANCE = 0.1
"""By how much a probability may move before INV and DIR count it: CheckList's value."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test case.

    Args:
        kind: what in particular it tests: `double` within `negation`.
        expect: MFT: the labels of which any is right. DIR: the one whose probability is watched. INV: none.
        variants: INV: the rewritings. DIR: the changed text. MFT: none.
        direction: DIR: where the probability may not go.
    """

    capability: str
    test: Test
    kind: str
    domain: str
    text: str
    expect: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    direction: Direction = "not_lower"

    @property
    def texts(self) -> tuple[str, ...]:
        """The text and its variants."""
        return (self.text, *self.variants)


@dataclass(frozen=True)
class Prediction:
    """The label predicted for a text, and the probability of every label."""

    text: str
    label: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """What became of a case: the prediction for its text, and for each of its variants in their order."""

    case: Case
    failed: bool
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class BehaviourRow:
    """Failures of one capability under one type of test.

    Args:
        kind: the particular kind of case, or "" where the row holds all of them.
        n: cases that were judged; `n_left_out` more expect a label that the classifier does not have.
        failure_rate: n_failed / n with its 95 % Wilson interval; None where n is 0.
    """

    capability: str
    test: Test
    kind: str
    n: int
    n_failed: int
    n_left_out: int
    failure_rate: Interval | None


@dataclass(frozen=True)
class BehaviourResult:
    """Every judged case, and those left out because their label is missing."""

    outcomes: tuple[Outcome, ...]
    left_out: tuple[Case, ...]

    @cached_property
    def failures(self) -> tuple[Outcome, ...]:
        """The failing cases with their predictions."""
        return tuple(outcome for outcome in self.outcomes if outcome.failed)

    def rows(self, by_kind: bool = False) -> list[BehaviourRow]:
        """Capability x test type, or capability x test type x kind, in the order of the cases."""

        def key(case: Case) -> tuple[str, Test, str]:
            return case.capability, case.test, case.kind if by_kind else ""

        judged: dict[tuple[str, Test, str], list[bool]] = {}
        left_out: dict[tuple[str, Test, str], int] = {}
        for outcome in self.outcomes:
            judged.setdefault(key(outcome.case), []).append(outcome.failed)
        for case in self.left_out:
            judged.setdefault(key(case), [])
            left_out[key(case)] = left_out.get(key(case), 0) + 1
        return [
            BehaviourRow(
                *row,
                n=len(failed),
                n_failed=sum(failed),
                n_left_out=left_out.get(row, 0),
                failure_rate=wilson_interval(sum(failed), len(failed)) if failed else None,
            )
            for row, failed in judged.items()
        ]


def mft_fails(probabilities: np.ndarray, expected: Sequence[int]) -> bool:
    """Whether the most probable label (K,) is none of the expected ones."""
    return int(probabilities.argmax()) not in expected


def inv_fails(original: np.ndarray, variants: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    """Whether a rewriting changes the label, and its probability by more than the tolerance: a text on the border may
    fall on either side of it.

    Args:
        original: (K,) probabilities of the text.
        variants: (V, K) of its rewritings.
    """
    label = original.argmax()
    changed = variants.argmax(axis=1) != label  # (V,)
    moved = np.abs(variants[:, label] - original[label]) > tolerance  # (V,)
    return bool((changed & moved).any())


def dir_fails(original: float, changed: float, direction: Direction, tolerance: float = TOLERANCE) -> bool:
    """Whether the watched label's probability goes the forbidden way by more than the tolerance."""
    rise = changed - original
    return rise < -tolerance if direction == "not_lower" else rise > tolerance


def run_behaviour(
    predict: Predict, labels: Sequence[str], cases: Sequence[Case] | None = None, tolerance: float = TOLERANCE
) -> BehaviourResult:
    """Judge a classifier on the cases.

    A case whose expected labels the classifier does not have at all (neutral ones for a two-label classifier) is left
    out. Label names are compared without regard to case. Every different text is predicted once, in one call.

    Args:
        predict: classifier under test.
        labels: its K label names, in the order of its probabilities.
        cases: the authored ones by default.
        tolerance: by how much a probability may move before INV and DIR count it.

    Raises:
        ValueError: `predict` returns another shape than one row a text and one column a label.
    """
    cases = load_cases() if cases is None else cases
    index = {label.lower(): position for position, label in enumerate(labels)}
    judged = [case for case in cases if not case.expect or _expected(case, index)]
    texts = list(dict.fromkeys(text for case in judged for text in case.texts))
    probabilities = np.asarray(predict(texts)) if texts else np.zeros((0, len(labels)))
    if probabilities.shape != (len(texts), len(labels)):
        raise ValueError(f"expected probabilities of shape {(len(texts), len(labels))}, got {probabilities.shape}")
    by_text = dict(zip(texts, probabilities, strict=True))
    return BehaviourResult(
        outcomes=tuple(
            Outcome(
                case,
                _fails(case, [by_text[text] for text in case.texts], index, tolerance),
                tuple(_prediction(text, by_text[text], labels) for text in case.texts),
            )
            for case in judged
        ),
        left_out=tuple(case for case in cases if case.expect and not _expected(case, index)),
    )


def _expected(case: Case, index: Mapping[str, int]) -> list[int]:
    """Indices of the expected labels that the classifier has."""
    return [index[label.lower()] for label in case.expect if label.lower() in index]


def _fails(case: Case, probabilities: list[np.ndarray], index: Mapping[str, int], tolerance: float) -> bool:
    """Judge a case by the (K,) probabilities of its text and of each variant."""
    expected = _expected(case, index)
    match case.test:
        case "MFT":
            return mft_fails(probabilities[0], expected)
        case "INV":
            return inv_fails(probabilities[0], np.stack(probabilities[1:]), tolerance)
        case "DIR":
            original, changed = (row[expected[0]] for row in probabilities)
            return dir_fails(original, changed, case.direction, tolerance)


def _prediction(text: str, probabilities: np.ndarray, labels: Sequence[str]) -> Prediction:
    return Prediction(
        text=text,
        label=labels[int(probabilities.argmax())],
        probabilities={label: float(value) for label, value in zip(labels, probabilities, strict=True)},
    )


def load_cases(folder: Path | None = None) -> tuple[Case, ...]:
    """The authored cases, or those of a folder of `<capability>.jsonl` files.

    Raises:
        UserError: the folder has no such file, or a line is no case.
    """
    if folder is None:
        authored = files("bert_sentiment.evaluation") / "behaviour_cases"
        sources = [(name, authored / f"{name}.jsonl") for name in CAPABILITIES]
    else:
        sources = [(path.stem, path) for path in sorted(folder.glob("*.jsonl"))]
        if not sources:
            raise UserError(f"{folder}: has no .jsonl file with behavioural test cases")
    return tuple(
        _read_case(line, capability, f"{path}:{number}")
        for capability, path in sources
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if line.strip()
    )


def _read_case(line: str, capability: str, place: str) -> Case:
    """The case on a line of a file; `place` is where it stands."""
    try:
        record: dict[str, Any] = {"capability": capability, **json.loads(line)}
        for name in ("expect", "variants"):
            if not isinstance(record.get(name, []), list):
                raise TypeError(f"'{name}' must be a list")
            record[name] = tuple(record.get(name, []))
        case = Case(**record)
    except (ValueError, TypeError) as error:
        # json and dataclasses name the position and the field.
        raise UserError(f"{place}: is no behavioural test case ({one_line(error)})") from error
    if problem := _problem(case):
        raise UserError(f"{place}: {problem}")
    return case


def _problem(case: Case) -> str:
    """What a case lacks for its type of test, or ""."""
    n_expected, n_variants = len(case.expect), len(case.variants)
    if not all(isinstance(text, str) for text in (*case.texts, *case.expect)):
        return "texts and labels must be strings"
    if case.test not in get_args(Test):
        return f"unknown test '{case.test}': write MFT, INV or DIR"
    if case.direction not in get_args(Direction):
        return f"unknown direction '{case.direction}': write not_lower or not_higher"
    if case.test == "MFT" and (n_expected == 0 or n_variants):
        return "an MFT case has labels under 'expect' and no variants"
    if case.test == "INV" and (n_expected or n_variants == 0):
        return "an INV case has variants and no labels under 'expect'"
    if case.test == "DIR" and (n_expected, n_variants) != (1, 1):
        return "a DIR case has one label under 'expect' and one variant"
    return ""
