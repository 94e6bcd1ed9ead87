"""How much can be cut before a network breaks, without training in between: importance against chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model_optimization.pruning.importance import Importance, masked, normalised
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import FloatArray, Texts
from roadmap_shared.metrics import Interval, share_interval
from roadmap_shared.progress import progress

SHARES = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
Unit = Literal["heads", "neurons"]
Order = Literal["importance", "chance"]


@dataclass(frozen=True, kw_only=True)
class CutPoint:
    """Accuracy with a share of one kind of unit out."""

    unit: Unit
    order: Order
    """By what the units were chosen that went first."""

    share_cut: float
    accuracy: Interval


def cut_curves(
    classifier: TorchClassifier, rated: Importance, part: Texts, shares: Sequence[float] = SHARES, *, seed: int
) -> list[CutPoint]:
    """Accuracy on validation texts at each share of all layers' heads, then neurons, the rest of the network whole.

    The least important go first, as `rated` and each layer's norm say; beside it, as many drawn by chance.

    Args:
        classifier: stays as it is; units are masked, which gives the cut network's answers for every architecture.
        rated: of this classifier.
        part: validation texts.
        shares: to cut, ascending, between 0 and 1.
        seed: of the draw by chance.
    """
    generator = np.random.default_rng(seed)
    studied: list[tuple[Unit, list[FloatArray]]] = [
        ("heads", normalised(rated.heads)),
        ("neurons", normalised(rated.neurons)),
    ]
    points = [_point(classifier, part, unit, order, 0.0, scores) for unit, scores in studied for order in _ORDERS]
    with progress(4 * len(shares), "accuracy by share cut", "point") as bar:
        for unit, scores in studied:
            drawn = [generator.random(len(layer), dtype=np.float32) for layer in scores]
            for order, ranking in zip(_ORDERS, (scores, drawn), strict=True):
                for share in shares:
                    points.append(_point(classifier, part, unit, order, share, ranking))
                    bar.update()
    return points


_ORDERS: tuple[Order, ...] = ("importance", "chance")


def masks_without(scores: Sequence[FloatArray], share: float) -> list[NDArray[np.float32]]:
    """(U,) masks, one a layer: 0 at the lowest round(share · all) scores of all layers together."""
    together = np.concatenate(scores)
    kept = np.ones(len(together), dtype=np.float32)
    kept[np.argsort(together, kind="stable")[: round(share * len(together))]] = 0
    return np.split(kept, np.cumsum([len(layer) for layer in scores])[:-1])


def _point(
    classifier: TorchClassifier, part: Texts, unit: Unit, order: Order, share: float, scores: Sequence[FloatArray]
) -> CutPoint:
    with masked(classifier.network, **{unit: masks_without(scores, share)}):
        right = classifier.logits(part.texts).argmax(1) == part.targets
    return CutPoint(unit=unit, order=order, share_cut=share, accuracy=share_interval(right))
