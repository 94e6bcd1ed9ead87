"""How words are counted."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SparseConfig:
    """BM25 over stemmed English words, and over words and character pairs of Chinese."""

    method: Literal["lucene", "robertson", "atire", "bm25l", "bm25+"] = "lucene"
    """Variant of BM25 (Kamphuis et al. 2020, "Which BM25 do you mean?")."""

    k1: float = 1.2
    """How long a word's repetition in a passage goes on to count: 0 not at all, 2 for long. 1.2 and b 0.75 are the
    values of Robertson and Zaragoza (2009, section 3.5), and Lucene's."""

    b: float = 0.75
    """How much long passages are held back: 0 not at all, 1 in proportion to their length."""

    delta: float = 0.5
    """Of bm25l and bm25+: what a word's occurrence is worth at least, however long the passage (Lv and Zhai 2011)."""

    stemming: bool = True
    """Whether English words are cut to their stems by Snowball: "retrieved" finds "retrieval"."""

    stop_words: bool = True
    """Whether English stop words are left out of a question that has other words too."""

    def __post_init__(self) -> None:
        if not self.k1 >= 0:
            raise ValueError(f"--sparse.k1 {self.k1} must not be negative")
        if not 0 <= self.b <= 1:
            raise ValueError(f"--sparse.b {self.b} must be between 0 and 1")
        if not self.delta >= 0:
            raise ValueError(f"--sparse.delta {self.delta} must not be negative")
