"""How passages are found and put in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

DENSE_WEIGHTS: Mapping[str, float] = {"rrf": 0.5, "theoretical": 0.8, "min_max": 0.5, "z_score": 0.5}
"""0.5 is no preference. With the theoretical minimum of the cosine, -1, all cosines of a list lie close together, and
the dense search needs the greater weight: 0.8 is what Bruch et al. (2023) use across collections, and the best of 0.5,
0.6 ... 0.9 on the odd questions of Cranfield."""


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """From a question to the passages that an answer rests on."""

    mode: Literal["hybrid", "dense", "sparse"] = "hybrid"
    """dense: by meaning, cosine similarity of vectors; sparse: by words, BM25; hybrid: both, fused."""

    k: int = 5
    """Passages that a question gets."""

    candidates: int = 100
    """Passages that each of the two searches hands to the fusion; at least k are taken."""

    fusion: Literal["rrf", "min_max", "theoretical", "z_score"] = "theoretical"
    """rrf: reciprocal ranks (Cormack et al. 2009). The others add up scores that are made comparable: theoretical by
    the least possible and the largest (Bruch et al. 2023), min_max by the smallest and largest of each list, z_score by
    mean and standard deviation."""

    dense_weight: float | None = None
    """Weight of the dense search in the fusion, 0 to 1; the sparse one has the rest. Lowered by itself for questions in
    a language that the encoder cannot spell. None: what suits the fusion, see DENSE_WEIGHTS."""

    rrf_k: int = 60
    """Constant of reciprocal rank fusion: the larger, the less the first ranks stand out. 60 by Cormack et al. 2009."""

    mmr: float | None = None
    """Maximal marginal relevance (Carbonell and Goldstein 1998): 1 orders by relevance alone, less avoids passages that
    say the same. None: not used."""

    reranker: str | None = None
    """Cross-encoder that reads question and passage together: folder or hub id, such as
    cross-encoder/ms-marco-MiniLM-L6-v2. None: not used."""

    rerank_candidates: int = 20
    """Passages that the reranker reads."""

    multi_query: int = 0
    """Wordings of the question that are searched besides it, fused by reciprocal ranks: written by the language model
    of --generation where there is one, else made by rules, of which there are three at most."""

    rewrite: Literal["none", "rules", "model"] = "rules"
    """What completes a follow-up question of a conversation from the questions before it. rules: puts their topic words
    before it; model: the language model of --generation words it anew, which costs a request; none: nothing does."""

    def __post_init__(self) -> None:
        for name in ("k", "candidates", "rrf_k", "rerank_candidates"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"--retrieval.{name} {value} must be at least 1")
        if self.dense_weight is not None and not 0 <= self.dense_weight <= 1:
            raise ValueError(f"--retrieval.dense_weight {self.dense_weight} must be between 0 and 1, or None")
        if self.mmr is not None and not 0 <= self.mmr <= 1:
            raise ValueError(f"--retrieval.mmr {self.mmr} must be between 0 and 1, or None")
        if self.multi_query < 0:
            raise ValueError(f"--retrieval.multi_query {self.multi_query} must not be negative")
        if self.reranker is not None and not self.reranker.strip():
            raise ValueError("--retrieval.reranker must name a folder or a hub id, or be None")

    @property
    def weight_of_dense(self) -> float:
        """Weight of the dense search, 0 to 1, before the question's language is looked at."""
        fixed = {"dense": 1.0, "sparse": 0.0}.get(self.mode)
        if fixed is not None:
            return fixed
        return DENSE_WEIGHTS[self.fusion] if self.dense_weight is None else self.dense_weight
