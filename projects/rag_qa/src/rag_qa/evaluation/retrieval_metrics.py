"""Metrics of ranked lists, by hand, with the definitions of trec_eval.

A *ranking* is what a search returned, best first, each item once. *Judged* gives the grade of each item that somebody
has judged for the question: 0 or less is not relevant, 1 and more is relevant, more is better. What nobody has judged
counts as not relevant. R is the number of relevant items.

Every function takes one question and returns a number between 0 and 1, 0 where R is 0. Sources: Manning, Raghavan &
Schütze, "Introduction to Information Retrieval" (2008), chapter 8; Järvelin & Kekäläinen 2002, "Cumulated Gain-Based
Evaluation of IR Techniques", ACM TOIS 20; NIST's trec_eval 9 for what these leave open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import NDArray

from roadmap_shared.metrics import Interval, bootstrap_interval, share_interval

FloatArray = NDArray[np.float64]
Judged = Mapping[str, int]
Ranking = Sequence[str]


def recall_at_k(ranking: Ranking, judged: Judged, k: int) -> float:
    """Share of the relevant items among the first k: hits(k) / R."""
    return _ratio(_hits(ranking, judged, k), _n_relevant(judged))


def precision_at_k(ranking: Ranking, judged: Judged, k: int) -> float:
    """Share of relevant items in the first k: hits(k) / k, also where the ranking is shorter."""
    return _hits(ranking, judged, k) / _checked(k)


def success_at_k(ranking: Ranking, judged: Judged, k: int) -> float:
    """1 if a relevant item is among the first k, else 0; called hit rate elsewhere."""
    return float(_hits(ranking, judged, k) > 0)


def r_precision(ranking: Ranking, judged: Judged) -> float:
    """Precision at R, which is recall at R as well: hits(R) / R."""
    n_relevant = _n_relevant(judged)
    return recall_at_k(ranking, judged, n_relevant) if n_relevant else 0.0


def reciprocal_rank(ranking: Ranking, judged: Judged) -> float:
    """1 / rank of the first relevant item, 0 if there is none; its mean over questions is MRR (Voorhees 1999)."""
    for rank, item in enumerate(ranking, start=1):
        if judged.get(item, 0) > 0:
            return 1 / rank
    return 0.0


def average_precision(ranking: Ranking, judged: Judged) -> float:
    """(1 / R) Σ hits(r) / r over the ranks r of relevant items; those not found add 0. Its mean is MAP."""
    hits, total = 0, 0.0
    for rank, item in enumerate(ranking, start=1):
        if judged.get(item, 0) > 0:
            hits += 1
            total += hits / rank
    return _ratio(total, _n_relevant(judged))


def ndcg_at_k(ranking: Ranking, judged: Judged, k: int) -> float:
    """Normalised discounted cumulative gain: DCG(k) / DCG(k) of the best possible ranking.

    DCG(k) = Σ grade / log2(rank + 1) over the first k, the grade itself being the gain, as in trec_eval; others take
    2^grade - 1 (Burges et al. 2005), which agrees where all grades are 0 or 1.
    """
    gains = [max(0, judged.get(item, 0)) for item in ranking[: _checked(k)]]
    ideal = sorted((grade for grade in judged.values() if grade > 0), reverse=True)[:k]
    return _ratio(_dcg(gains), _dcg(ideal))


def rank_by_score(scores: Mapping[str, float]) -> list[str]:
    """The items of a run, best first, as trec_eval ranks them.

    trec_eval keeps scores in single precision, and puts equal ones into descending order of the items' names, byte by
    byte, whatever the order of the run.
    """
    return sorted(scores, key=lambda item: (np.float32(scores[item]), item.encode()), reverse=True)


@dataclass(frozen=True, kw_only=True)
class RetrievalScores:
    """Scores by question."""

    question_ids: tuple[str, ...]
    values: Mapping[str, FloatArray]
    """(n_questions,) for each metric: `recall@5`, `precision@5`, `success@5`, `ndcg@10`, `map`, `mrr` and
    `r_precision`."""

    def mean(self, metric: str) -> float:
        """Mean over the questions."""
        return float(self.values[metric].mean())

    def interval(self, metric: str, *, confidence: float = 0.95, n_resamples: int = 2000) -> Interval:
        """Mean and its confidence interval over questions: Wilson's for shares of hits, else the bootstrap's."""
        if np.isin(self.values[metric], (0.0, 1.0)).all():
            return share_interval(self.values[metric], confidence=confidence)
        return bootstrap_interval(self.values[metric], confidence=confidence, n_resamples=n_resamples)

    def of(self, metric: str) -> dict[str, float]:
        """Score of each question."""
        return dict(zip(self.question_ids, self.values[metric].tolist(), strict=True))

    def means(self) -> dict[str, float]:
        """Mean of each metric."""
        return {metric: self.mean(metric) for metric in self.values}


def evaluate_rankings(
    rankings: Mapping[str, Ranking], qrels: Mapping[str, Judged], cutoffs: Sequence[int] = (1, 3, 5, 10)
) -> RetrievalScores:
    """Score the rankings of all questions that have a relevant item.

    A question without a ranking scores 0 (trec_eval's option -c). One without a relevant item is left out: no ranking
    could score there.

    Args:
        rankings: question id to item ids, best first.
        qrels: question id to the grades of its judged items.
        cutoffs: ranks k.

    Raises:
        ValueError: no question has a relevant item, a ranking names an item twice, or a cutoff is below 1.
    """
    ids = tuple(question for question, judged in qrels.items() if _n_relevant(judged))
    if not ids:
        raise ValueError("no question has a relevant item: there is nothing to measure")
    rows: dict[str, list[float]] = {}
    for question in ids:
        ranking, judged = list(rankings.get(question, ())), qrels[question]
        if len(set(ranking)) < len(ranking):
            twice = next(item for item in ranking if ranking.count(item) > 1)
            raise ValueError(f"the ranking of question {question!r} names {twice!r} twice")
        for metric, value in _all_metrics(ranking, judged, cutoffs).items():
            rows.setdefault(metric, []).append(value)
    return RetrievalScores(question_ids=ids, values={metric: np.array(row) for metric, row in rows.items()})


def _all_metrics(ranking: Ranking, judged: Judged, cutoffs: Sequence[int]) -> dict[str, float]:
    at_k = {"recall": recall_at_k, "precision": precision_at_k, "success": success_at_k, "ndcg": ndcg_at_k}
    scores = {f"{name}@{k}": metric(ranking, judged, k) for name, metric in at_k.items() for k in cutoffs}
    whole = {"map": average_precision, "mrr": reciprocal_rank, "r_precision": r_precision}
    return scores | {name: metric(ranking, judged) for name, metric in whole.items()}


def _hits(ranking: Ranking, judged: Judged, k: int) -> int:
    return sum(judged.get(item, 0) > 0 for item in ranking[: _checked(k)])


def _n_relevant(judged: Judged) -> int:
    return sum(grade > 0 for grade in judged.values())


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _checked(k: int) -> int:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return k
