"""A classifier that fails one text at a time: a text that cannot be computed takes none of its batch with it."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from model_optimization.deployment.latency_model import LatencyModel, probe
from model_optimization.types import Classifier, FloatArray, TokenIds
from roadmap_shared.errors import UserError, one_line

_PROBE_WORD = "good "


class Failed(Exception):
    """The network cannot compute a text; the message says why, for the server's log."""


class BatchRunner:
    """Belongs to one thread."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def tokens(self, texts: Sequence[str]) -> list[TokenIds | Failed]:
        """Token numbers of each text, or why it has none."""
        return _each(self._classifier.token_ids, texts)

    def logits(self, sequences: Sequence[TokenIds]) -> list[FloatArray | Failed]:
        """(K,) logits of each text of a batch, or why it has none. Numbers that are not finite are no logits."""

        def finite(batch: Sequence[TokenIds]) -> list[FloatArray]:
            logits = self._classifier.logits_of_tokens(batch)
            if logits.shape != (len(batch), len(self._classifier.labels)) or not np.isfinite(logits).all():
                raise FloatingPointError(f"logits of shape {logits.shape}, or not finite")
            return list(logits)

        return _each(finite, sequences)


def _each(compute: Callable[[Sequence], Sequence], inputs: Sequence) -> list:
    """Results for all inputs at once; where that fails, one by one, to find those at fault."""
    try:
        return list(compute(inputs))
    except Exception as error:  # whatever a network raises: the other requests must not suffer from it
        if len(inputs) == 1:
            return [Failed(f"{type(error).__name__}: {one_line(error)[:300]}")]
    return [result for one in inputs for result in _each(compute, [one])]


def warm_up(classifier: Classifier, max_batch: int) -> LatencyModel:
    """Compute batches of several sizes and lengths: memory is allocated before the first client comes, and it is known
    what batches cost.

    Raises:
        UserError: the classifier cannot compute them.
    """
    model = LatencyModel()
    runner = BatchRunner(classifier)

    def run(n: int, tokens: int) -> float:
        begun = time.perf_counter()
        results = runner.logits([ids[:tokens]] * n)
        if failed := next((result for result in results if isinstance(result, Failed)), None):
            raise UserError(f"the model fails on its first texts: {failed}")
        return time.perf_counter() - begun

    found = runner.tokens([_PROBE_WORD * classifier.max_length])[0]
    if isinstance(found, Failed):
        raise UserError(f"the model's tokenizer fails on its first text: {found}")
    ids = found
    probe(run, model, min(classifier.max_length, len(ids)), max_batch)
    return model
