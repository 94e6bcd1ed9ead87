"""Prediction flips: the texts to which a variant gives another label than the original.

Two models of the same accuracy may disagree on many texts, and each user who relied on one of them sees a change (Yan
et al. 2021, "Positive-Congruent Training"). Shapes: N texts, K labels.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model_optimization.softmax import softmax
from model_optimization.types import FloatArray, Texts
from roadmap_shared.files import atomic_write
from roadmap_shared.metrics import Interval, wilson_interval


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One text that changed its label."""

    text: str
    target: str
    before: str
    after: str
    confidence_before: float
    """Probability of the label that the original gave."""

    confidence_after: float
    """Probability of the label that the variant gives."""


@dataclass(frozen=True, kw_only=True)
class FlipStudy:
    """All flips of a variant on a set of texts."""

    share: Interval
    """Of the texts, with its 95 % Wilson interval."""

    flips: tuple[Flip, ...]
    """The surest first: those on which both models were least in doubt."""

    harmful: int
    """Texts that were right before and are wrong after: negative flips."""

    helpful: int
    """Texts that were wrong before and are right after."""


def flip_study(part: Texts, labels: Sequence[str], before: FloatArray, after: FloatArray) -> FlipStudy:
    """Compare the logits (N, K) of the original with those of a variant on the same texts.

    Raises:
        ValueError: the logits are not of these texts.
    """
    if before.shape != after.shape or len(before) != len(part) or not len(part):
        raise ValueError(f"logits of {before.shape} and {after.shape} do not belong to {len(part)} texts")
    old, new = before.argmax(1), after.argmax(1)
    flipped = np.flatnonzero(old != new)
    p_old, p_new = softmax(before), softmax(after)
    found = [
        Flip(
            text=part.texts[index],
            target=labels[int(part.targets[index])],
            before=labels[int(old[index])],
            after=labels[int(new[index])],
            confidence_before=float(p_old[index, old[index]]),
            confidence_after=float(p_new[index, new[index]]),
        )
        for index in flipped
    ]
    right_before, right_after = old == part.targets, new == part.targets
    return FlipStudy(
        share=wilson_interval(len(flipped), len(part)),
        flips=tuple(sorted(found, key=lambda one: -min(one.confidence_before, one.confidence_after))),
        harmful=int((right_before & ~right_after).sum()),
        helpful=int((~right_before & right_after).sum()),
    )


def write_flips(path: Path, studies: Mapping[str, FlipStudy | None]) -> None:
    """One JSON line a flip: the variant, the text, and what was said of it before and after."""
    lines = [
        json.dumps({"variant": name} | asdict(flip), ensure_ascii=False)
        for name, study in studies.items()
        if study is not None
        for flip in study.flips
    ]
    atomic_write(path, "".join(f"{line}\n" for line in lines))
