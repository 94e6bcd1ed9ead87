import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_sentiment.data.types import Example
from bert_sentiment.evaluation.slices import SMALLEST, accuracy_by_slice, length_quartiles
from roadmap_shared.metrics import wilson_interval

LABELS = ("negative", "positive")


def examples() -> list[Example]:
    """20 films, all right but the 5 ironic ones; 12 tweets, of which 6 are right; 8 products, all wrong."""
    return [
        *(Example("f", label=i % 2, domain="films", tags=("irony",) if i < 5 else ()) for i in range(20)),
        *(Example("t", label=i % 2, domain="tweets", tags=("emoji", "irony")) for i in range(12)),
        *(Example("p", label=1, domain="products") for i in range(8)),
    ]


def predictions() -> np.ndarray:
    targets = np.array([example.label for example in examples()])
    wrong = np.array([i < 5 for i in range(20)] + [i < 6 for i in range(12)] + [True] * 8)
    return np.where(wrong, 1 - targets, targets)


def test_slices_by_hand() -> None:
    lengths = np.repeat([5, 10, 15, 40], 10)
    found = {(part.kind, part.name): part for part in accuracy_by_slice(examples(), predictions(), lengths, LABELS)}
    counts = {key: (round(part.accuracy.estimate * part.n), part.n) for key, part in found.items()}
    assert counts == {
        ("domain", "films"): (15, 20),
        ("domain", "tweets"): (6, 12),
        ("domain", "products"): (0, 8),
        ("tag", "irony"): (6, 17),
        ("tag", "emoji"): (6, 12),
        ("length", "5 to 5 tokens"): (5, 10),
        ("length", "10 to 10 tokens"): (10, 10),
        ("length", "15 to 15 tokens"): (4, 10),
        ("length", "40 to 40 tokens"): (2, 10),
        # 10 negative films, of which the 1st, 3rd and 5th are wrong, and 6 negative tweets, 3 of them wrong.
        ("label", "negative"): (10, 16),
        ("label", "positive"): (11, 24),
    }
    assert found["domain", "films"].accuracy == wilson_interval(15, 20)


def test_worst_slices_come_first_and_those_too_small_last() -> None:
    parts = accuracy_by_slice(examples(), predictions(), np.repeat([5, 10, 15, 40], 10), LABELS)
    assert [part.name for part in parts if part.too_small] == ["products"]
    assert parts[-1].name == "products"
    accuracies = [part.accuracy.estimate for part in parts[:-1]]
    assert accuracies == sorted(accuracies)
    assert all(part.n >= SMALLEST for part in parts[:-1])


def test_a_slice_of_all_texts_is_left_out() -> None:
    films = [example for example in examples() if example.domain == "films"]
    parts = accuracy_by_slice(films, predictions()[:20], np.full(20, 7), LABELS)
    assert {(part.kind, part.name) for part in parts} == {
        ("tag", "irony"),
        ("label", "negative"),
        ("label", "positive"),
    }


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_length_quartiles_are_ordered_and_balanced(lengths: list[int]) -> None:
    values = np.array(lengths)
    quartiles = length_quartiles(values)
    by_length = quartiles[np.argsort(values)]
    assert (np.diff(by_length) >= 0).all()
    assert all(len(set(quartiles[values == length])) == 1 for length in values)
    if len(set(lengths)) == len(lengths):
        sizes = np.bincount(quartiles, minlength=4)
        assert sizes.max() - sizes.min() <= 2


def test_length_quartiles_by_hand() -> None:
    assert length_quartiles([3, 1, 2, 4, 8, 6, 7, 5]).tolist() == [1, 0, 0, 1, 3, 2, 3, 2]
    # Quartiles 2, 3, 4: a length on the edge belongs below it.
    assert length_quartiles([1, 2, 3, 4, 5]).tolist() == [0, 0, 1, 2, 3]


def test_another_number_of_predictions_is_an_error() -> None:
    with pytest.raises(ValueError) as error:
        accuracy_by_slice(examples(), [0, 1], np.ones(40), LABELS)
    assert str(error.value) == (
        "expected as many predictions and lengths as examples, and at least one, got 40 examples, predictions of shape "
        "(2,) and lengths of shape (40,)"
    )
