"""Accuracy on parts of the test texts: where a good average hides a bad corner.

Shapes: N texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bert_sentiment.data.types import Example
from roadmap_shared.metrics import Interval, wilson_interval

SMALLEST = 10
"""Texts below which a slice is too small to say anything: its interval spans most of what is possible."""

SliceKind = Literal["domain", "tag", "length", "label"]


@dataclass(frozen=True)
class Slice:
    """The texts that share a property, and the accuracy on them with its 95 % Wilson interval.

    On a slice by label the accuracy is that label's recall. `too_small` marks fewer than `SMALLEST` texts.
    """

    kind: SliceKind
    name: str
    n: int
    accuracy: Interval

    @property
    def too_small(self) -> bool:
        return self.n < SMALLEST


def accuracy_by_slice(
    examples: Sequence[Example], predictions: ArrayLike, token_lengths: ArrayLike, labels: Sequence[str]
) -> list[Slice]:
    """Every slice by domain, tag, quartile of the token length and label: the worst first, those too small last.

    A slice that would hold all texts (the only domain) is left out. Slices overlap, and the lowest of many figures is
    low by chance too: the interval of a single slice does not account for its having been picked as the worst.

    Args:
        examples: N labelled texts.
        predictions: (N,) index of the predicted label of each.
        token_lengths: (N,) tokens of each, before truncation.
        labels: names of the labels.

    Raises:
        ValueError: the lengths differ, or there are no texts.
    """
    predicted, lengths = np.asarray(predictions), np.asarray(token_lengths)
    if not len(examples) or predicted.shape != (len(examples),) or lengths.shape != (len(examples),):
        raise ValueError(
            f"expected as many predictions and lengths as examples, and at least one, got {len(examples)} examples, "
            f"predictions of shape {predicted.shape} and lengths of shape {lengths.shape}"
        )
    targets = np.array([example.label for example in examples])
    correct = predicted == targets
    slices = [
        Slice(kind, name, int(members.sum()), wilson_interval(int(correct[members].sum()), int(members.sum())))
        for kind, name, members in _memberships(examples, targets, lengths, labels)
        if 0 < members.sum() < len(examples)
    ]
    return sorted(slices, key=lambda part: (part.too_small, part.accuracy.estimate, -part.n))


def _memberships(
    examples: Sequence[Example], targets: NDArray[np.int_], lengths: NDArray[np.int_], labels: Sequence[str]
) -> Iterator[tuple[SliceKind, str, NDArray[np.bool_]]]:
    """Kind, name and (N,) members of each slice."""
    for domain in sorted({example.domain for example in examples}):
        yield "domain", domain, np.array([example.domain == domain for example in examples])
    for tag in sorted({tag for example in examples for tag in example.tags}):
        yield "tag", tag, np.array([tag in example.tags for example in examples])
    quartiles = length_quartiles(lengths)
    for quartile in range(4):
        members = quartiles == quartile
        if members.any():
            yield "length", f"{lengths[members].min()} to {lengths[members].max()} tokens", members
    for index, label in enumerate(labels):
        yield "label", label, targets == index


def length_quartiles(lengths: ArrayLike) -> NDArray[np.int_]:
    """(N,) quartile of each length, 0 for the shortest to 3. Equal lengths share a quartile, so that the four are of
    unequal size, or empty, where many texts are equally long."""
    values = np.asarray(lengths)
    edges = np.quantile(values, [0.25, 0.5, 0.75])
    return np.searchsorted(edges, values, side="left")
