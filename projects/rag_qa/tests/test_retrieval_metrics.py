"""Retrieval metrics against pytrec_eval, and against values worked out by hand."""

from math import log2

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_qa.evaluation.retrieval_metrics import (
    average_precision,
    evaluate_rankings,
    ndcg_at_k,
    precision_at_k,
    r_precision,
    rank_by_score,
    recall_at_k,
    reciprocal_rank,
    success_at_k,
)

ITEMS = st.sampled_from([f"d{i}" for i in range(12)] + ["é", "z", "Z", "文", "🙂", "10", "9"])
JUDGED = st.dictionaries(ITEMS, st.integers(-1, 4), max_size=12)
# Scores that tie exactly, and scores that tie in single precision only.
RUNS = st.dictionaries(
    ITEMS, st.sampled_from([0.0, -1.5, 1.0, 1.0 + 1e-9, 0.3, 7.25, 1e30, 1e-30]), min_size=1, max_size=15
)
THEIRS = {"recall": "recall", "precision": "P", "success": "success", "ndcg": "ndcg_cut"}
CUTOFFS = (1, 3, 5, 10)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.tuples(JUDGED, RUNS), min_size=1, max_size=4))
def test_equal_to_pytrec_eval(cases: list[tuple[dict[str, int], dict[str, float]]]) -> None:
    qrels = {f"q{i}": judged for i, (judged, _) in enumerate(cases) if any(grade > 0 for grade in judged.values())}
    runs = {f"q{i}": run for i, (_, run) in enumerate(cases)}
    if not qrels:
        return
    wanted = {f"{name}.{','.join(map(str, CUTOFFS))}" for name in THEIRS.values()} | {"map", "recip_rank", "Rprec"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, wanted).evaluate(runs)
    ours = evaluate_rankings({name: rank_by_score(run) for name, run in runs.items()}, qrels, CUTOFFS)
    assert set(theirs) == set(ours.question_ids)
    names = {f"{our}@{k}": f"{their}_{k}" for our, their in THEIRS.items() for k in CUTOFFS}
    names |= {"map": "map", "mrr": "recip_rank", "r_precision": "Rprec"}
    assert set(names) == set(ours.values)
    for our, their in names.items():
        for question, value in ours.of(our).items():
            assert value == pytest.approx(theirs[question][their], abs=1e-9), our


def test_by_hand() -> None:
    ranking, judged = ["a", "b", "c", "d", "e"], {"b": 2, "d": 1, "x": 3, "a": 0}
    assert recall_at_k(ranking, judged, 2) == 1 / 3
    assert recall_at_k(ranking, judged, 5) == 2 / 3
    assert precision_at_k(ranking, judged, 4) == 2 / 4
    assert precision_at_k(ranking, judged, 10) == 2 / 10
    assert (success_at_k(ranking, judged, 1), success_at_k(ranking, judged, 2)) == (0, 1)
    assert reciprocal_rank(ranking, judged) == 1 / 2
    assert average_precision(ranking, judged) == (1 / 2 + 2 / 4) / 3
    assert r_precision(ranking, judged) == 1 / 3
    dcg, ideal = 2 / log2(3) + 1 / log2(5), 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert ndcg_at_k(ranking, judged, 5) == pytest.approx(dcg / ideal, abs=1e-15)
    assert ndcg_at_k(ranking, judged, 2) == pytest.approx(2 / log2(3) / (3 + 2 / log2(3)), abs=1e-15)


def test_nothing_relevant_scores_nothing() -> None:
    for metric in (recall_at_k, precision_at_k, success_at_k, ndcg_at_k):
        assert metric(["a"], {"a": 0}, 1) == 0
    for metric in (reciprocal_rank, average_precision, r_precision):
        assert metric(["a"], {}) == 0


def test_a_question_without_a_ranking_scores_nothing_and_one_without_relevant_items_is_left_out() -> None:
    scores = evaluate_rankings({"q1": ["a"], "q3": ["a"]}, {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 0}}, (1,))
    assert scores.question_ids == ("q1", "q2")
    assert scores.of("mrr") == {"q1": 1, "q2": 0}
    assert scores.means()["ndcg@1"] == 0.5
    interval = scores.interval("recall@1")
    assert (interval.estimate, round(interval.low, 4), round(interval.high, 4)) == (0.5, 0.0945, 0.9055)  # Wilson
    mixed = evaluate_rankings({"q1": ["b", "a"], "q2": ["a"]}, {"q1": {"a": 1}, "q2": {"a": 1}}, (1,))
    assert (mixed.interval("mrr").low, mixed.interval("mrr").high) == (0.5, 1.0)


def test_ties_go_as_in_trec_eval() -> None:
    assert rank_by_score({"a": 1.0, "b": 1.0, "c": 2.0}) == ["c", "b", "a"]
    assert rank_by_score({"a": 1.0 + 1e-9, "b": 1.0}) == ["b", "a"]
    assert np.float32(1.0 + 1e-9) == np.float32(1.0)


@pytest.mark.parametrize(
    ("rankings", "qrels", "cutoffs", "message"),
    [
        ({}, {"q": {"a": 0}}, (1,), "no question has a relevant item: there is nothing to measure"),
        ({"q": ["a", "b", "a"]}, {"q": {"a": 1}}, (1,), "the ranking of question 'q' names 'a' twice"),
        ({"q": ["a"]}, {"q": {"a": 1}}, (0,), "k must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_measured(
    rankings: dict[str, list[str]], qrels: dict[str, dict[str, int]], cutoffs: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        evaluate_rankings(rankings, qrels, cutoffs)
    assert str(caught.value) == message
