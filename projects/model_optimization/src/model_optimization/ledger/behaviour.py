"""Behavioural tests of sentiment classifiers, after CheckList (Ribeiro et al. 2020, §2).

A case is a pair of texts that differ in one thing: a negation, which of two sides comes out on top, an intensifier, an
emoji. Accuracy on a test set hardly moves when a small model forgets what a negation does; these pairs do.

A pair is right when both texts get their label. Of an intensifier, the second text must not be less sure than the
first either, by more than `TOLERANCE`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from model_optimization.softmax import softmax
from model_optimization.types import FloatArray
from roadmap_shared.metrics import Interval, wilson_interval

CAPABILITIES = ("negation", "contrast", "intensifiers", "emoji")
TOLERANCE = 0.1
"""By how much a probability may fall before it counts: CheckList's value."""

Polarity = Literal["negative", "positive"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two texts that differ in one thing."""

    texts: tuple[str, str]
    expect: tuple[Polarity, Polarity]
    stronger: bool = False
    """Whether the second says the same more strongly."""


@dataclass(frozen=True, kw_only=True)
class Capability:
    """What a classifier makes of the pairs of one kind."""

    name: str
    passed: Interval
    """Share of the pairs that are right, with its 95 % Wilson interval."""

    failures: tuple[str, ...]
    """The pairs that are wrong, in words."""


@cache
def pairs_of(capability: str) -> tuple[Pair, ...]:
    """The authored pairs of a capability."""
    text = (files("model_optimization.ledger") / "behaviour_cases" / f"{capability}.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines()]
    return tuple(
        Pair(texts=tuple(one["texts"]), expect=tuple(one["expect"]), stronger=one.get("stronger", False))
        for one in records
    )


def polarity_of(labels: Sequence[str]) -> dict[Polarity, int] | None:
    """Which output says negative and which positive, whatever their full names; None for labels of another kind."""
    found: dict[Polarity, int] = {}
    for polarity in ("negative", "positive"):
        named = [index for index, label in enumerate(labels) if label.casefold().startswith(polarity[:3])]
        if len(named) != 1:
            return None
        found[polarity] = named[0]
    return found


def behaviour_study(
    logits_of: Callable[[Sequence[str]], FloatArray], labels: Sequence[str]
) -> tuple[Capability, ...] | None:
    """What a classifier does on the pairs; None where its labels are not those of sentiment.

    Args:
        logits_of: N texts to (N, K) logits.
        labels: the K labels.
    """
    outputs = polarity_of(labels)
    if outputs is None:
        return None
    return tuple(_capability(name, logits_of, labels, outputs) for name in CAPABILITIES)


def _capability(
    name: str,
    logits_of: Callable[[Sequence[str]], FloatArray],
    labels: Sequence[str],
    outputs: dict[Polarity, int],
) -> Capability:
    pairs = pairs_of(name)
    probabilities = softmax(logits_of([text for pair in pairs for text in pair.texts]))  # (2 pairs, K)
    failures = []
    for index, pair in enumerate(pairs):
        rows = probabilities[2 * index : 2 * index + 2]
        wanted = [outputs[label] for label in pair.expect]
        said = [labels[row.argmax()] for row in rows]
        if any(row.argmax() != output for row, output in zip(rows, wanted, strict=True)):
            failures.append(" / ".join(f"{text} → {label}" for text, label in zip(pair.texts, said, strict=True)))
        elif pair.stronger and rows[1, wanted[1]] < rows[0, wanted[0]] - TOLERANCE:
            before, after = rows[0, wanted[0]], rows[1, wanted[1]]
            failures.append(f"{pair.texts[0]} → {before:.2f} / {pair.texts[1]} → {after:.2f}")
    return Capability(
        name=name, passed=wilson_interval(len(pairs) - len(failures), len(pairs)), failures=tuple(failures)
    )
