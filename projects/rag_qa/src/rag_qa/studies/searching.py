"""Every question searched for once: rankings are measured, answers are written and failures are traced from this."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag_qa.corpus.questions import Gold
from rag_qa.evaluation.evaluation_set import EvaluationQuestion, holds
from rag_qa.retrieval.fusion import Ranking
from rag_qa.retrieval.stages import Stages
from rag_qa.studies.owner import OwnersRetriever
from rag_qa.types import Retrieved
from roadmap_shared.progress import progress

SPARE = 10
"""Passages searched for beyond k, from which those move up whose gold neighbours are taken away."""


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What the search found for one question."""

    stages: Stages
    """Rankings as the fusion and the answer had them."""

    baselines: Mapping[str, Ranking]
    """Rankings of `dense` and `sparse`, also of one that the fusion left out for this question, such as the vectors of
    an encoder that does not know its language. Only those that the configuration asks for."""

    final: tuple[int, ...] | None
    """Ids of chunks in the order after the reranker and MMR; None where neither is configured."""

    passages: tuple[Retrieved, ...]
    """The first k + SPARE, best first."""

    def read(self, k: int) -> list[Retrieved]:
        """The k passages that an answer rests on."""
        return list(self.passages[:k])

    def without(self, gold: Sequence[Gold], k: int) -> list[Retrieved]:
        """The first k passages of an index that does not hold the gold passages: see `without_gold`."""
        return without_gold(self.passages, gold, k)


def search_all(
    retriever: OwnersRetriever, questions: Sequence[EvaluationQuestion], depth: int = 0
) -> dict[str, Searched]:
    """Search for every question, once.

    Args:
        retriever: as it is configured.
        questions: of one set.
        depth: passages of `final`, where there is one.

    Returns:
        By question id.
    """
    config = retriever.config
    modes = ("sparse", "dense") if config.mode == "hybrid" else (config.mode,)
    alone = {mode: retriever.alone(mode) for mode in modes}
    reordered = config.reranker is not None or config.mmr is not None
    spare = config.k + SPARE
    found: dict[str, Searched] = {}
    for question in progress(questions, "searching", "question"):
        stages = retriever.stages(question.text)
        passages = retriever.finished(stages, max(spare, depth) if reordered else spare)
        found[question.id] = Searched(
            stages=stages,
            baselines={
                mode: stages.searches[mode] if mode in stages.searches else one.stages(question.text).searches[mode]
                for mode, one in alone.items()
            },
            final=tuple(item.chunk.id for item in passages[:depth]) if reordered else None,
            passages=tuple(passages[:spare]),
        )
    return found


def ids_of(ranking: Ranking) -> list[int]:
    """Ids without their scores."""
    return [id for id, _ in ranking]


def without_gold(passages: Sequence[Retrieved], gold: Sequence[Gold], k: int) -> list[Retrieved]:
    """The first k passages of an index that does not hold the gold passages.

    The chunks that share a character with one of them are dropped from a longer list. That differs from an index
    without them only in BM25's document frequencies, which one passage hardly changes.
    """
    return [item for item in passages if not any(holds(item.chunk, passage, share=0.0) for passage in gold)][:k]
