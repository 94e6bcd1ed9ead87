"""Data sets of the comparison: where they come from, parts of their texts, and tests from one to another."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bert_sentiment.comparison.data_sets import (
    NamedSplits,
    content_digest,
    is_hub_id,
    load_data_sets,
    shared_texts,
    take_share,
    too_small,
    why_no_test,
)
from bert_sentiment.config import CompareConfig

from .helpers import named, rule


def test_a_source_is_a_path_or_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "local").mkdir()
    sources = (
        "stanfordnlp/imdb",
        "imdb",
        "data/reviews.csv",
        "x.jsonl.gz",
        "owner/local",
        "/data/reviews",
        "./reviews",
    )
    assert [is_hub_id(source) for source in sources] == [True, True, False, False, False, False, False]


def test_built_in_domains_are_tested_on_their_own_texts():
    films, everything = load_data_sets(CompareConfig(datasets=("films", "all")))
    assert [part.domains for part in (films.splits.train, films.splits.validation, films.splits.test)] == [
        ["films"]
    ] * 3
    assert (
        set(everything.splits.train.domains) == set(everything.splits.test.domains) == {"films", "products", "tweets"}
    )


@given(shares=st.tuples(st.floats(0.02, 1), st.floats(0.02, 1)), seed=st.integers(0, 50), n=st.integers(10, 90))
@settings(max_examples=40, deadline=None)
def test_smaller_shares_lie_within_larger_ones_and_keep_the_proportions(shares, seed, n):
    train = rule(n, 0, ("negative", "neutral", "positive"))
    small, large = (take_share(train, share, seed) for share in sorted(shares))
    assert set(small.examples) <= set(large.examples) <= set(train.examples)
    assert len(small) == round(min(shares) * n)
    if len(small) >= 3:
        counts = Counter(small.targets)
        assert max(counts.values()) - min(counts.values()) <= 2
        assert len(counts) == 3


def test_a_share_without_two_texts_a_label_says_why():
    train = rule(20, 0)
    assert too_small(train, 0.2, 0) is None
    assert too_small(train, 0.15, 0) == (
        "15 % of the 20 training texts are 3, with 1 text of the label 'negative' (at least 2 are needed)"
    )
    assert too_small(train, 0.05, 0) == (
        "5 % of the 20 training texts are 1, with no text of the label 'positive' (at least 2 are needed)"
    )


def test_a_test_needs_the_same_labels_in_whatever_order():
    one, turned = named("one"), named("turned", labels=("positive", "negative"))
    three = named("three", labels=("negative", "neutral", "positive"))
    assert why_no_test(one, turned) is None
    assert why_no_test(one, three) == "the labels differ: only three has neutral"
    assert why_no_test(named("stars", labels=("1", "2")), one) == (
        "the labels differ: only stars has 1, 2, only one has negative, positive"
    )


def test_texts_shared_by_two_data_sets_are_counted():
    one, two = named("one", 0), named("two", 5)
    assert shared_texts(one, two) == 0
    leaked = replace(two.splits.test, examples=(*two.splits.test.examples, *one.splits.train.examples[:3]))
    assert shared_texts(one, NamedSplits("two", replace(two.splits, test=leaked))) == 3


def test_a_digest_of_texts_holds_words_labels_and_order():
    data = rule(6, 0)
    first, *others = data.examples
    variants = [
        data,
        replace(data, labels=("negative", "good")),
        replace(data, examples=(*others, first)),
        replace(data, examples=(replace(first, text=first.text + "!"), *others)),
        replace(data, examples=(replace(first, label=1), *others)),
    ]
    assert len({content_digest(variant) for variant in variants}) == len(variants)
    assert content_digest(replace(data, origin="elsewhere")) == content_digest(data)
