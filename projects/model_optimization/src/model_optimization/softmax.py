"""Logits to probabilities."""

import numpy as np
from numpy.typing import NDArray

from model_optimization.types import FloatArray


def softmax(logits: FloatArray) -> NDArray[np.float64]:
    """(..., K) logits -> (..., K) probabilities, in float64 and without overflow: the largest logit becomes 0 first."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
