"""Labels in their natural order, texts held out of the training, and samples."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_sentiment.data.labelled import natural_order
from bert_sentiment.data.splitting import fold, hold_out, sample
from bert_sentiment.data.types import Example


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["positive", "neutral", "negative"], ("negative", "neutral", "positive")),
        (["Positive", "irrelevant", "Negative"], ("Negative", "Positive", "irrelevant")),
        (
            ["very positive", "positive", "very negative", "negative"],
            ("very negative", "negative", "positive", "very positive"),
        ),
        (["10", "9", "-1", "2.5"], ("-1", "2.5", "9", "10")),
        (["nan", "2", "10"], ("10", "2", "nan")),
        (["b", "a", "C"], ("a", "b", "C")),
    ],
)
def test_labels_have_their_natural_order(labels: list[str], expected: tuple[str, ...]) -> None:
    assert natural_order(labels) == expected


examples = st.lists(
    st.builds(Example, st.sampled_from(["a", "A ", "b", "c", "d  e", "D e", "f", "g", "h"]), st.integers(0, 2)),
    min_size=1,
    max_size=60,
)


@given(examples, st.floats(0.01, 0.89), st.integers(0, 100))
def test_holding_out_keeps_equal_texts_together(rows: list[Example], share: float, seed: int) -> None:
    rest, held = hold_out(rows, share, seed)
    assert Counter(rest) + Counter(held) == Counter(rows)
    assert not {fold(example.text) for example in rest} & {fold(example.text) for example in held}
    assert rest


@given(st.integers(2, 60), st.integers(2, 60), st.floats(0.01, 0.89))
def test_each_label_gives_its_share(n_first: int, n_second: int, share: float) -> None:
    rows = [Example(f"{index}", int(index >= n_first)) for index in range(n_first + n_second)]
    rest, held = hold_out(rows, share, 7)
    for label, total in ((0, n_first), (1, n_second)):
        expected = min(max(1, round(share * total)), total - 1)
        assert sum(example.label == label for example in held) == expected
    assert list(rest) == [row for row in rows if row in rest]


def test_a_frequent_text_does_not_fill_the_test() -> None:
    rows = [Example("Good", 1)] * 80 + [Example(f"good {index}", 1) for index in range(20)]
    for seed in range(20):
        _, held = hold_out(rows, 0.2, seed)
        assert Counter(held)[rows[0]] == 0
        assert len(held) == 19 or len(held) == 20


def test_a_sample_keeps_the_proportions_and_every_label() -> None:
    rows = tuple(Example(f"{index}", 0 if index < 900 else 1 if index < 999 else 2) for index in range(1000))
    drawn = sample(rows, 100, 3)
    counts = Counter(example.label for example in drawn)
    assert len(drawn) == 100
    assert counts[2] == 1
    assert abs(counts[0] - 90) <= 1
    assert list(drawn) == sorted(drawn, key=rows.index)
    assert sample(rows, 100, 3) == drawn != sample(rows, 100, 4)
    assert sample(rows, None, 3) is rows
