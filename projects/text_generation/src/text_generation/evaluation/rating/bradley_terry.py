"""Bradley-Terry strengths of systems from pairwise votes.

The model (Bradley & Terry 1952): system i is preferred to j with probability 1 / (1 + exp(s_j - s_i)). A tie counts as
half a win for each. Strengths s are log-odds, and their mean is 0: only differences mean something.

Shapes: K systems, R resamples.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

EXTRA_WINS = 0.5
"""Added to both sides of each pair that met. Without it, a system that won every vote would be infinitely strong. With
two systems it is the estimate of least bias (Firth 1993); with a few dozen votes it hardly shows."""

_TOLERANCE = 1e-10
_MAX_STEPS = 10_000


def bradley_terry(wins: ArrayLike, *, extra_wins: float = EXTRA_WINS, met: ArrayLike | None = None) -> FloatArray:
    """Strengths by the minorisation-maximisation algorithm (Hunter 2004, §2), of many sets of votes at once.

    Each step sets exp(s_i) to W_i / sum_j n_ij / (exp(s_i) + exp(s_j)), with W_i the wins of i and n_ij the votes on i
    and j, which never lowers the likelihood.

    Args:
        wins: (..., K, K), wins[i, j] of i over j, ties as half a win each; the diagonal is 0.
        extra_wins: added to both sides of each pair that met.
        met: (K, K), which pairs have met, and get the extra wins; None: those with a vote in any set. For resamples,
            give the pairs of the original votes.

    Returns:
        (..., K), of mean 0.

    Raises:
        ValueError: wrong shape, a negative count, or votes from which no finite strengths follow: no chain of votes
            joins all systems, or, without extra wins, one group never lost to the others (Ford 1957).
    """
    counts = np.asarray(wins, dtype=np.float64)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2] or counts.shape[-1] < 2:
        raise ValueError(f"wins must be (..., K, K) with at least two systems, got shape {counts.shape}")
    if not (counts >= 0).all() or np.diagonal(counts, axis1=-2, axis2=-1).any():
        raise ValueError("wins must not be negative, and 0 on the diagonal")
    n_systems = counts.shape[-1]
    sets = counts.reshape(-1, n_systems, n_systems)  # (R, K, K)
    pairs = sets.sum(axis=0) if met is None else np.asarray(met, dtype=np.float64)
    sets = sets + extra_wins * (pairs + pairs.T > 0)
    for each in sets if not extra_wins else sets[:1]:  # with extra wins, all have the same pairs
        _check_finite(each)
    return _maximise(sets).reshape(counts.shape[:-1])


def _maximise(wins: FloatArray) -> FloatArray:
    """(R, K, K) -> (R, K)."""
    won = wins.sum(axis=2)  # (R, K)
    votes = wins + wins.swapaxes(1, 2)  # (R, K, K)
    weights = np.ones_like(won)
    for _ in range(_MAX_STEPS):
        updated = won / (votes / (weights[:, :, None] + weights[:, None, :])).sum(axis=2)
        updated /= np.exp(np.log(updated).mean(axis=1, keepdims=True))
        change = np.abs(np.log(updated / weights)).max()
        weights = updated
        if change < _TOLERANCE:
            break
    return np.log(weights)


def _check_finite(wins: FloatArray) -> None:
    if len(groups := connected_groups(wins)) > 1:
        raise ValueError(f"no chain of votes joins the systems {' with '.join(map(str, groups))}")
    if not _reachable(wins > 0).all():
        raise ValueError("the strengths are infinite: some systems never lost to the others. Use extra_wins above 0")


def connected_groups(wins: ArrayLike) -> list[list[int]]:
    """Systems that a chain of votes joins, whoever won: one group where all can be compared. (K, K) -> indices."""
    counts = np.asarray(wins, dtype=np.float64)
    reached = _reachable(counts + counts.T > 0)
    return [list(group) for group in dict.fromkeys(tuple(np.flatnonzero(row).tolist()) for row in reached)]


def _reachable(steps: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which systems can be reached from which by any number of steps. (K, K) -> (K, K)."""
    reached = steps | np.eye(len(steps), dtype=bool)
    for middle in range(len(steps)):  # Warshall 1962
        reached |= reached[:, middle, None] & reached[None, middle]
    return reached
