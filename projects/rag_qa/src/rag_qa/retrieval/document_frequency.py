"""How much a term's rarity counts in each variant of BM25 (Kamphuis et al. 2020, table 1, in bm25s's form)."""

import math


def idf(method: str, n_passages: int, frequency: int) -> float:
    """Inverse document frequency of a term that `frequency` of `n_passages` hold, 1 at least.

    Raises:
        ValueError: there is no such variant.
    """
    odds = (n_passages - frequency + 0.5) / (frequency + 0.5)
    if method == "lucene":
        return math.log(1 + odds)
    if method == "robertson":
        return math.log(max(1.0, odds))
    if method == "atire":
        return math.log(n_passages / frequency)
    if method == "bm25l":
        return math.log((n_passages + 1) / (frequency + 0.5))
    if method == "bm25+":
        return math.log((n_passages + 1) / frequency)
    raise ValueError(f"there is no variant {method!r} of BM25")
