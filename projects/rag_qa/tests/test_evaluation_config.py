"""Settings of the evaluation that do not fit."""

from typing import Any

import pytest

from rag_qa.config.evaluation import EvaluationConfig


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cutoffs": ()}, "--evaluation.cutoffs is empty: give ranks of at least 1 in ascending order"),
        ({"cutoffs": (5, 1)}, "--evaluation.cutoffs 5 1: give ranks of at least 1 in ascending order"),
        ({"cutoffs": (0, 1)}, "--evaluation.cutoffs 0 1: give ranks of at least 1 in ascending order"),
        ({"depth": 9}, "--evaluation.depth 9 must reach the last of --evaluation.cutoffs, 10"),
        ({"gold_share": 0}, "--evaluation.gold_share 0 must lie above 0 and be 1 at most"),
        ({"split": "../x"}, "--evaluation.split '../x' must be the name of a file in qrels, without .tsv"),
        ({"limit": 0}, "--evaluation.limit 0 must be at least 1, or None for all questions"),
        ({"confidence": 1}, "--evaluation.confidence 1 must lie between 0 and 1"),
        ({"n_resamples": 0}, "--evaluation.n_resamples 0 must be at least 1"),
        ({"n_changed": -1}, "--evaluation.n_changed -1 must not be negative"),
    ],
)
def test_messages(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        EvaluationConfig(**given)
    assert str(caught.value) == message
