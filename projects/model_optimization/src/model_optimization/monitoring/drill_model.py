"""The model that is watched in the drill: a softmax regression on embeddings, which answers texts it has not seen.

N texts, D wide, K labels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from model_optimization.monitoring.drifts import LabelledText
from model_optimization.monitoring.embeddings import Encoder
from model_optimization.types import IntArray

Array = NDArray[np.float64]
_FOLDS = 4
_L2 = 1e-3


class CrossFitted:
    """One model a fold of the base texts, each fitted without its fold.

    A model is surer of the texts that it was fitted on. Asked by the model that has not seen them, all base texts are
    alike, and any division of them into a reference and a stream is one without drift.
    """

    def __init__(self, texts: Sequence[LabelledText], encode: Encoder, seed: int) -> None:
        self.labels = tuple(sorted({item.label for item in texts}))
        places = {label: place for place, label in enumerate(self.labels)}
        self._random = np.random.default_rng(seed)
        self._folds = self._random.permutation(len(texts)) % _FOLDS
        self._encode = encode
        self.embeddings = encode([item.text for item in texts])  # (N, D)
        targets = np.array([places[item.label] for item in texts], dtype=np.int64)
        self._weights = [
            fit_softmax(self.embeddings[self._folds != fold], targets[self._folds != fold], len(self.labels))
            for fold in range(_FOLDS)
        ]
        self.logits = self._answer(self.embeddings, self._folds)

    def answer(self, texts: Sequence[str]) -> tuple[Array, Array]:
        """(N, D) embeddings and (N, K) logits of texts, each by the model of a random fold."""
        embeddings = self._encode(texts)
        return embeddings, self._answer(embeddings, self._random.integers(0, _FOLDS, len(texts)))

    def _answer(self, embeddings: Array, folds: IntArray) -> Array:
        logits = np.zeros((len(embeddings), len(self.labels)))
        for fold, weights in enumerate(self._weights):
            logits[folds == fold] = _with_ones(embeddings[folds == fold]) @ weights
        return logits


def fit_softmax(features: Array, targets: IntArray, n_labels: int) -> Array:
    """(D + 1, K) weights, the last row the offsets, of a softmax regression with a quadratic penalty."""
    ones = _with_ones(features)
    wanted = np.eye(n_labels)[targets]  # (N, K)

    def loss(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(ones.shape[1], n_labels)
        logits = ones @ weights
        value = -(wanted * log_softmax(logits, axis=1)).sum() / len(ones) + _L2 * (weights**2).sum() / 2
        gradient = ones.T @ (softmax(logits, axis=1) - wanted) / len(ones) + _L2 * weights
        return float(value), gradient.ravel()

    start = np.zeros(ones.shape[1] * n_labels)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return found.x.reshape(ones.shape[1], n_labels)


def _with_ones(features: Array) -> Array:
    """(N, D + 1)"""
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)
