"""Logistic regression for a handful of features."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Logistic:
    """P(y = 1 | x) = sigmoid(bias + Σ_j weights_j (x_j - mean_j) / scale_j)."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(N, F) -> (N,)."""
        return (np.asarray(x, dtype=np.float64) - self.mean) / self.scale @ self.weights + self.bias


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z), without overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, dtype=np.float64)))


def fit_logistic(x: np.ndarray, y: np.ndarray, l2: float = 1.0, n_steps: int = 50) -> Logistic:
    """Least negative log-likelihood + l2 / 2 · |weights|² of the standardised features, by Newton's method (iteratively
    reweighted least squares; Hastie, Tibshirani & Friedman 2009, §4.4.1). The bias is not penalised.

    Args:
        x: (N, F).
        y: (N,) of truth values, both of them present.
        l2: strength of the penalty, against the sum over the examples.
        n_steps: at most so many steps; fewer where the step gets smaller than 1e-10.
    """
    x, target = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    design = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    penalty = np.append(np.full(x.shape[1], l2), 1e-9)
    w = np.zeros(design.shape[1])
    for _ in range(n_steps):
        p = sigmoid(design @ w)
        gradient = design.T @ (p - target) + penalty * w
        hessian = (design.T * np.maximum(p * (1 - p), 1e-9)) @ design + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        w = w - _damped(design, target, penalty, w, step, gradient)
        if np.abs(step).max() < 1e-10:
            break
    return Logistic(mean, scale, w[:-1], float(w[-1]))


def _damped(
    design: np.ndarray, target: np.ndarray, penalty: np.ndarray, w: np.ndarray, step: np.ndarray, gradient: np.ndarray
) -> np.ndarray:
    """The step, halved until the loss falls: a whole Newton step may overshoot where the classes are far apart."""

    def loss(weights: np.ndarray) -> float:
        logits = design @ weights
        return float(np.sum(np.logaddexp(0.0, logits) - target * logits) + 0.5 * np.sum(penalty * weights**2))

    before, size = loss(w), 1.0
    while size > 1e-6 and loss(w - size * step) > before - 1e-4 * size * float(gradient @ step):
        size /= 2
    return size * step
