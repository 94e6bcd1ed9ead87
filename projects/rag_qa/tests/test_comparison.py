"""Two configurations compared: counts and the questions that changed, by hand."""

import pytest

from rag_qa.evaluation.comparison import compare
from roadmap_shared.metrics import paired_bootstrap

A = {"q1": 0.5, "q2": 1.0, "q3": 0.2, "q4": 0.1 + 0.2, "q5": 0.0}
B = {"q1": 1.0, "q2": 0.5, "q3": 0.9, "q4": 0.3, "q5": 0.0}


def test_wins_losses_and_ties() -> None:
    comparison = compare("ndcg@10", A, B, n_changed=2)
    assert (comparison.wins, comparison.losses, comparison.ties) == (("q1", "q3"), ("q2",), 2)
    assert [(change.question_id, change.a, change.b) for change in comparison.changed] == [
        ("q3", 0.2, 0.9),
        ("q2", 1.0, 0.5),
    ]
    assert comparison.paired == paired_bootstrap(list(A.values()), list(B.values()))
    assert comparison.mean_a == pytest.approx(0.4)
    assert not comparison.certain
    assert comparison.line().startswith("ndcg@10: 0.4000 -> 0.5400, difference +0.1400 (")
    assert comparison.line().endswith("; of 5 questions 2 better, 1 worse, 2 equal")


def test_the_order_of_the_questions_does_not_matter() -> None:
    assert compare("x", A, dict(reversed(B.items()))) == compare("x", A, B)


def test_a_constant_gain_is_certain() -> None:
    assert compare("x", {"a": 0.0, "b": 0.5}, {"a": 0.25, "b": 0.75}).certain
    assert compare("x", {"a": 0.25, "b": 0.75}, {"a": 0.0, "b": 0.5}).certain
    assert not compare("x", {"a": 0.25, "b": 0.75}, {"a": 0.25, "b": 0.75}).certain


def test_of_equal_changes_the_losses_come_first() -> None:
    comparison = compare("x", {"a": 0.0, "b": 0.5, "c": 0.0}, {"a": 0.5, "b": 0.0, "c": 0.75})
    assert [change.question_id for change in comparison.changed] == ["c", "b", "a"]


def test_other_questions_are_refused() -> None:
    message = "both configurations must be scored on the same questions, but 'q5' has one score only"
    with pytest.raises(ValueError) as caught:
        compare("x", A, {name: score for name, score in B.items() if name != "q5"})
    assert str(caught.value) == message
    with pytest.raises(ValueError) as caught:
        compare("x", {}, {})
    assert str(caught.value) == "there are no questions to compare on"
