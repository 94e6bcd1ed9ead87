"""How well each search finds the passages with the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rag_qa.config import EvaluationConfig
from rag_qa.document_processor.index import Index
from rag_qa.evaluation.comparison import Comparison, compare
from rag_qa.evaluation.evaluation_set import (
    EvaluationQuestion,
    document_ranking,
    gold_qrels,
    gold_ranking,
)
from rag_qa.evaluation.retrieval_metrics import RetrievalScores, evaluate_rankings
from rag_qa.retrieval.stages import Stages
from rag_qa.studies.owner import OwnersRetriever
from rag_qa.types import Chunk
from roadmap_shared.errors import UserError
from roadmap_shared.progress import progress

NAMES = {"sparse": "BM25", "dense": "embeddings", "fused": "both, fused", "final": "reranked"}
Unit = Literal["passages", "documents"]


@dataclass(frozen=True, kw_only=True)
class RetrievalStudy:
    """Scores of every search on the same questions."""

    unit: Unit
    """What a ranking is made of."""

    scores: Mapping[str, RetrievalScores]
    """By search: `sparse`, `dense`, `fused`, and `final` where passages are reranked after the fusion."""

    stages: Mapping[str, Stages]
    """Rankings by question id."""

    comparisons: Mapping[str, Comparison]
    """nDCG of the best ranking against each other one."""

    @property
    def last(self) -> str:
        """Name of the ranking that the answers rest on: the last of the stages that ran."""
        return list(self.scores)[-1]

    @property
    def best(self) -> RetrievalScores:
        """Its scores."""
        return self.scores[self.last]


def study_retrieval(
    index: Index,
    retriever: OwnersRetriever,
    questions: Sequence[EvaluationQuestion],
    config: EvaluationConfig,
    unit: Unit | None = None,
) -> RetrievalStudy:
    """Ask every question that has a known passage or document.

    Args:
        index: that the retriever searches.
        retriever: as it is configured; each single search is measured on all questions, also where the fusion leaves
            it out.
        questions: of one set.
        config: cutoffs and depth.
        unit: what rankings are made of. None: passages where all questions have gold passages, else documents.

    Raises:
        UserError: no question has a known passage or document.
    """
    asked = [
        question for question in questions if question.gold or any(grade > 0 for grade in question.relevant.values())
    ]
    if not asked:
        raise UserError("no question has a known passage or document, so that there is nothing to find")
    unit = unit or ("passages" if all(question.gold for question in asked) else "documents")
    chunks = {chunk.id: chunk for chunk in index.all_chunks()}
    stages: dict[str, Stages] = {}
    rankings: dict[str, dict[str, list[str]]] = {}
    for question in progress(asked, "searching", "question"):
        stages[question.id], found = rankings_of(retriever, question.text, config)
        for name, ids in found.items():
            passages = [chunks[id] for id in ids[: config.depth] if id in chunks]
            rankings.setdefault(name, {})[question.id] = named(passages, question, unit, config)
    qrels = {question.id: gold_qrels(question.gold) if unit == "passages" else question.relevant for question in asked}
    scores = {name: evaluate_rankings(found, qrels, config.cutoffs) for name, found in rankings.items()}
    return RetrievalStudy(unit=unit, scores=scores, stages=stages, comparisons=compared(scores, config))


def rankings_of(
    retriever: OwnersRetriever, question: str, config: EvaluationConfig
) -> tuple[Stages, dict[str, list[int]]]:
    """What happened to a question, and ids of chunks, best first, of each search and of what comes after them."""
    stages = retriever.stages(question, config.depth)
    if retriever.config.mode != "hybrid":
        rankings = {name: ids_of(ranking) for name, ranking in stages.searches.items()}
    else:
        # The fusion leaves a search out where it is of no use to a question, such as one in a language that the
        # encoder does not know. As a baseline it is measured there, too.
        searched = dict(stages.searches)
        for name in ("sparse", "dense"):
            if name not in searched:
                searched[name] = retriever.alone(name).stages(question, config.depth).searches[name]
        rankings = {name: ids_of(searched[name]) for name in ("sparse", "dense")} | {"fused": ids_of(stages.fused)}
    if retriever.config.reranker is not None or retriever.config.mmr is not None:
        rankings["final"] = [item.chunk.id for item in retriever.search(question, config.cutoffs[-1])]
    return stages, rankings


def ids_of(ranking: Sequence[tuple[int, float]]) -> list[int]:
    """Ids without their scores."""
    return [id for id, _ in ranking]


def named(chunks: Sequence[Chunk], question: EvaluationQuestion, unit: Unit, config: EvaluationConfig) -> list[str]:
    """The ranking in the names that the judgements use."""
    if unit == "passages":
        return gold_ranking(chunks, question.gold, config.gold_share)
    return document_ranking(chunks)


def compared(scores: Mapping[str, RetrievalScores], config: EvaluationConfig) -> dict[str, Comparison]:
    """The last ranking against each one before it, by nDCG at the last cutoff."""
    metric = f"ndcg@{config.cutoffs[-1]}"
    *others, last = scores
    return {
        name: compare(
            metric,
            scores[name].of(metric),
            scores[last].of(metric),
            n_changed=config.n_changed,
            confidence=config.confidence,
            n_resamples=config.n_resamples,
        )
        for name in others
    }
