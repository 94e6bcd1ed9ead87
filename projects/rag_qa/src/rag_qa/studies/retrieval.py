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
from rag_qa.studies.searching import Searched, ids_of
from rag_qa.types import Chunk
from roadmap_shared.errors import UserError

NAMES = {"sparse": "BM25", "dense": "embeddings", "fused": "both, fused", "final": "reranked"}
Unit = Literal["passages", "documents"]


@dataclass(frozen=True, kw_only=True)
class RetrievalStudy:
    """Scores of every search on the same questions."""

    unit: Unit
    """What a ranking is made of."""

    scores: Mapping[str, RetrievalScores]
    """By search: `sparse`, `dense`, `fused`, and `final` where passages are reranked after the fusion."""

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
    searched: Mapping[str, Searched],
    questions: Sequence[EvaluationQuestion],
    config: EvaluationConfig,
    unit: Unit | None = None,
) -> RetrievalStudy:
    """Score what was found for every question that has a known passage or document.

    Args:
        index: that was searched.
        searched: what was found, by question id.
        questions: of one set.
        config: cutoffs and depth.
        unit: what rankings are made of. None: passages where all questions have gold passages, else documents.

    Raises:
        UserError: no question has a known passage or document.
    """
    asked = with_known(questions)
    unit = unit or ("passages" if all(question.gold for question in asked) else "documents")
    chunks = {chunk.id: chunk for chunk in index.all_chunks()}
    rankings: dict[str, dict[str, list[str]]] = {}
    for question in asked:
        for name, ids in rankings_of(searched[question.id]).items():
            passages = [chunks[id] for id in ids[: config.depth] if id in chunks]
            rankings.setdefault(name, {})[question.id] = named(passages, question, unit, config)
    qrels = {question.id: gold_qrels(question.gold) if unit == "passages" else question.relevant for question in asked}
    scores = {name: evaluate_rankings(found, qrels, config.cutoffs) for name, found in rankings.items()}
    return RetrievalStudy(unit=unit, scores=scores, comparisons=compared(scores, config))


def with_known(questions: Sequence[EvaluationQuestion]) -> list[EvaluationQuestion]:
    """Questions with a known passage or document. Raises UserError: there is none."""
    asked = [
        question for question in questions if question.gold or any(grade > 0 for grade in question.relevant.values())
    ]
    if not asked:
        raise UserError("no question has a known passage or document, so that there is nothing to find")
    return asked


def rankings_of(found: Searched) -> dict[str, list[int]]:
    """Ids of chunks, best first, of each search and of what comes after them."""
    rankings = {name: ids_of(ranking) for name, ranking in found.baselines.items()}
    if len(found.baselines) > 1:
        rankings["fused"] = ids_of(found.stages.fused)
    if found.final is not None:
        rankings["final"] = list(found.final)
    return rankings


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
