"""What each stage of a search found: the rankings behind a list of passages."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rag_qa.retrieval.fusion import Ranking
from rag_qa.types import Chunk, Retrieved


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Rankings of one question, best first, before chunks are fetched for them."""

    searches: Mapping[str, Ranking]
    """`dense` and `sparse`, as far as they were asked."""

    fused: Ranking
    """Of both; of the one, where only one was asked."""

    queries: tuple[str, ...]
    """What was searched for: the question, and other wordings of it. `searches` are those of the question itself."""

    dense_weight: float = 0.0
    """Weight that the dense search had in the fusion, 0 to 1."""


@dataclass
class Ranks:
    """Ranks and scores of passages, gathered stage by stage."""

    ranks: dict[int, dict[str, int]] = field(default_factory=dict)
    scores: dict[int, dict[str, float]] = field(default_factory=dict)

    def note(self, stage: str, ranking: Ranking) -> None:
        """Add a stage's ranking."""
        for rank, (passage, score) in enumerate(ranking, start=1):
            self.ranks.setdefault(passage, {})[stage] = rank
            self.scores.setdefault(passage, {})[stage] = score

    def score(self, passage: int) -> float:
        """The reranker's where it read the passage, else that of the fusion."""
        scores = self.scores[passage]
        return scores.get("reranked", scores["fused"])

    def retrieved(self, chunk: Chunk) -> Retrieved:
        """The chunk with all that was noted of it."""
        return Retrieved(
            chunk=chunk, score=self.score(chunk.id), ranks=self.ranks[chunk.id], scores=self.scores[chunk.id]
        )
