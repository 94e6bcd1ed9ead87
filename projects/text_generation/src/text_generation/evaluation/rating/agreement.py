"""Do the raters agree? Krippendorff's alpha for nominal data.

alpha = 1 - D_o / D_e: the disagreement that was observed over the one expected by chance. 1: perfect; 0: as if everyone
had tossed a coin; below 0: less than chance (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"). By
Krippendorff's rule of thumb, from .8 on conclusions are safe, from .667 on tentative. Low agreement on pairs of texts
may mean careless raters, or texts that are equally good.
"""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def krippendorff_alpha(items: Sequence[Mapping[str, Hashable]]) -> float:
    """Alpha of what raters said, any number of them on each item.

    Args:
        items: for each item, rater -> value. Items with fewer than two raters tell nothing and are left out.

    Returns:
        NaN where there is no item with two raters, or everyone always said the same: chance has then no measure.
    """
    return float(alpha_of_coincidences(coincidences(items).sum(axis=0)[None])[0])


def coincidences(items: Sequence[Mapping[str, Hashable]]) -> FloatArray:
    """What each item adds to the coincidence matrix: (n_items, V, V) for V values.

    Of an item with m raters, each ordered pair of them adds 1 / (m - 1) where the row is the value of one and the
    column that of the other, so that every vote adds 1 in all.
    """
    values = {value: index for index, value in enumerate(dict.fromkeys(v for item in items for v in item.values()))}
    matrices = np.zeros((len(items), len(values), len(values)))
    for matrix, item in zip(matrices, items, strict=True):
        if len(item) < 2:
            continue
        counts = np.bincount([values[value] for value in item.values()], minlength=len(values))
        matrix += (np.outer(counts, counts) - np.diag(counts)) / (len(item) - 1)
    return matrices


def alpha_of_coincidences(matrices: FloatArray) -> FloatArray:
    """Alpha of each summed coincidence matrix: (R, V, V) -> (R,).

    With n_c the row sums and n their total: D_o = sum over c != k of o_ck / n, and D_e = sum over c != k of
    n_c n_k / (n (n - 1)).
    """
    totals = matrices.sum(axis=2)  # (R, V)
    n = totals.sum(axis=1)  # (R,)
    observed = n - np.trace(matrices, axis1=1, axis2=2)
    expected = (n**2 - (totals**2).sum(axis=1)) / np.maximum(n - 1, 1)
    known = expected > 0
    return np.where(known, 1 - observed / np.where(known, expected, 1), math.nan)
