"""pass@k: the probability that at least one of k samples of a problem is right.

With c right ones among n ≥ k samples, 1 - C(n - c, k) / C(n, k) is its unbiased estimate: the share of all choices of k
samples that hold a right one (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", eq. 1). The simpler
1 - (1 - c / n)^k is too low on average for k > 1.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import comb

from roadmap_shared.metrics import Interval, share_interval


def exact_pass_at_k(n: int, c: int, k: int) -> Fraction:
    """The estimate for one problem as a fraction.

    Args:
        n: samples.
        c: those that passed.
        k: samples that one may try.

    Raises:
        ValueError: not 1 <= k <= n, or not 0 <= c <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(
            f"pass@{k} needs at least {max(k, 1)} samples of each problem and k of at least 1, got n = {n}"
        )
    if not 0 <= c <= n:
        raise ValueError(f"{c} of {n} samples cannot have passed")
    return 1 - Fraction(comb(n - c, k), comb(n, k))


def pass_at_k(n: int, c: int, k: int) -> float:
    """The float nearest to `exact_pass_at_k`, whose arguments and errors it has."""
    return float(exact_pass_at_k(n, c, k))


def pass_at_k_interval(counts: Sequence[tuple[int, int]], k: int, *, seed: int = 0) -> Interval:
    """Mean pass@k over problems with its 95 % interval: Wilson's where pass@k of every problem is 0 or 1, as with
    k = n or where no sample passes, else the bootstrap's, the problems being drawn anew.

    The interval says how the score would vary with other problems of the kind; how it varies with other samples of
    the same problems shows only in n.

    Args:
        counts: (n, c) of each problem; n may differ.
        k: samples that one may try.
        seed: of the bootstrap.

    Raises:
        ValueError: no problem, or a count that `exact_pass_at_k` does not take.
    """
    return share_interval([pass_at_k(n, c, k) for n, c in counts], seed=seed)
