"""What a variant gets right, and where it differs from the original. Shapes: N texts, K labels."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from model_optimization.ledger.behaviour import Capability, behaviour_study
from model_optimization.ledger.flips import FlipStudy, flip_study
from model_optimization.types import Classifier, FloatArray, Texts
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import Interval, PairedComparison, paired_bootstrap, share_interval


@dataclass(frozen=True, kw_only=True)
class Quality:
    """A variant's answers on the test texts."""

    accuracy: Interval
    against_original: PairedComparison | None
    """Accuracy minus the original's, paired by text; None for the original."""

    flips: FlipStudy | None
    """None for the original."""

    behaviour: tuple[Capability, ...] | None
    """None where the labels are not those of sentiment."""

    logits: FloatArray
    """(N, K) on the test texts."""

    @property
    def behaviour_share(self) -> float | None:
        """Mean over the capabilities of the share of pairs that are right."""
        return None if self.behaviour is None else float(np.mean([one.passed.estimate for one in self.behaviour]))


def measure_quality(
    classifier: Classifier, test: Texts, original: FloatArray | None = None, *, batch_size: int = 16
) -> Quality:
    """Classify the test texts in batches of the size that is served.

    Args:
        classifier: the variant.
        test: with at least two texts.
        original: (N, K) logits of the original on the same texts. None: this is the original.
        batch_size: texts a batch; the ranges of dynamic quantisation, and so its answers, depend on it.

    Raises:
        UserError: the classifier gives numbers that are none.
    """
    logits = classifier.logits(test.texts, batch_size)
    if not np.isfinite(logits).all():
        raise UserError("its logits are not finite: it overflowed, or its weights are damaged")
    right = logits.argmax(1) == test.targets
    comparison = None
    if original is not None:
        comparison = paired_bootstrap(original.argmax(1) == test.targets, right)
    return Quality(
        accuracy=share_interval(right),
        against_original=comparison,
        flips=None if original is None else flip_study(test, classifier.labels, original, logits),
        behaviour=behaviour_study(partial(classifier.logits, batch_size=batch_size), classifier.labels),
        logits=logits,
    )
