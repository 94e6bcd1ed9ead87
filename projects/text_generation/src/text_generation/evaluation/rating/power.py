"""Is a comparison decided, and how many more votes would decide it?

A comparison is decided when a sign test finds that one system wins more often than it loses: ties say nothing about the
direction and drop out, and |wins - losses| - 1 must exceed z * sqrt(wins + losses), which is the normal approximation
with its correction for continuity (Dixon & Mood 1946). It counts items, not votes: several raters of one item see the
same two texts, and their votes are no independent evidence.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

MOST_ITEMS = 20_000
"""More items than this are given as "more than"."""

_PRIOR = 0.5  # of each outcome: Jeffreys' prior for three of them


@dataclass(frozen=True)
class Outlook:
    """Where a comparison of two systems stands."""

    decided: bool
    more_items: int | None
    """Items to rate in addition so that they decide it with the wanted probability: 0 when it is decided, None when
    even `MOST_ITEMS` are too few."""


def is_decided(
    wins: int | NDArray[np.int64], losses: int | NDArray[np.int64], confidence: float = 0.95
) -> NDArray[np.bool_]:
    """Whether the sign test rejects that wins and losses are equally likely, two-sided; for arrays of any shape."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    difference = np.abs(np.asarray(wins) - np.asarray(losses))
    return np.asarray(difference - 1 > z * np.sqrt(np.asarray(wins) + np.asarray(losses)))


def outlook(
    wins: int,
    losses: int,
    ties: int,
    *,
    power: float = 0.8,
    confidence: float = 0.95,
    n_simulations: int = 4000,
    seed: int = 0,
) -> Outlook:
    """How many more items decide a comparison with probability `power`, found by simulation.

    Each simulation draws the true shares of wins, losses and ties from what the items so far make plausible, the
    Dirichlet distribution with parameters wins + ½, losses + ½, ties + ½, then so many new items from these shares, and
    tests all items together. So the answer knows that a lead in a few items may be luck. It assumes that new items are
    like those so far, and that one looks once, at the end: who tests after every vote will some day see a difference
    where there is none.

    Args:
        wins, losses, ties: items so far.
        power: wanted probability.
        confidence: of the test, two-sided.
        n_simulations: the answer's own uncertainty falls with their square root.
        seed: of the simulations.

    Raises:
        ValueError: a negative count.
    """
    if min(wins, losses, ties) < 0:
        raise ValueError(f"counts must not be negative, got {wins}, {losses} and {ties}")
    if is_decided(wins, losses, confidence):
        return Outlook(True, 0)
    # The same draws for every number of items, so that the probability rises smoothly with it.
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet([wins + _PRIOR, losses + _PRIOR, ties + _PRIOR], size=n_simulations)

    def enough(more: int) -> bool:
        return decision_probability(shares, wins, losses, more, confidence, seed) >= power

    lower, upper = 0, 1
    while not enough(upper):
        if upper == MOST_ITEMS:
            return Outlook(False, None)
        lower, upper = upper, min(2 * upper, MOST_ITEMS)
    while upper - lower > max(1, upper // 100):  # closer than the simulations can tell would be idle
        middle = (lower + upper) // 2
        lower, upper = (lower, middle) if enough(middle) else (middle, upper)
    return Outlook(False, upper)


def decision_probability(
    shares: NDArray[np.float64], wins: int, losses: int, more: int, confidence: float = 0.95, seed: int = 0
) -> float:
    """Share of the simulated futures, one for each row (win, loss, tie) of `shares`, in which `more` items decide."""
    new = np.random.default_rng(seed + 1).multinomial(more, shares)  # (n_simulations, 3)
    return float(is_decided(wins + new[:, 0], losses + new[:, 1], confidence).mean())
