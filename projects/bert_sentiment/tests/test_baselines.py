import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.pipeline import make_pipeline

from bert_sentiment.data.types import Example, SentimentDataset
from bert_sentiment.evaluation.baselines import (
    Fit,
    LinearPredictor,
    cjk_share,
    fit_majority,
    fit_tfidf,
    frozen_encoder,
    log_loss,
)
from roadmap_shared.errors import UserError
from roadmap_shared.offline.sentiment import LABELS, Split, sentiment_texts

TWO = ("negative", "positive")


def dataset(labels: Sequence[str], pairs: Sequence[tuple[str, int]]) -> SentimentDataset:
    return SentimentDataset(tuple(labels), tuple(Example(text, label) for text, label in pairs), "written by the test")


def built_in(split: Split, languages: Sequence[str] = ("en",)) -> SentimentDataset:
    texts = sentiment_texts(split, languages=languages)
    return dataset(LABELS, [(text.text, LABELS.index(text.label)) for text in texts])


def accuracy(predict: Callable[[Sequence[str]], np.ndarray], test: SentimentDataset) -> float:
    return float((predict(test.texts).argmax(axis=1) == test.targets).mean())


def small(n: int = 40) -> SentimentDataset:
    words = [("dull", "grim"), ("bright", "lovely")]
    return dataset(TWO, [(f"a {words[i % 2][i % 3 % 2]} film number {i}", i % 2) for i in range(n)])


def lengths_and_vowels(texts: Sequence[str]) -> np.ndarray:
    """Some (N, 2) features of texts: letters, share of the letter i."""
    return np.array([[len(text), text.count("i") / max(1, len(text))] for text in texts])


def test_majority_gives_the_shares_of_the_training_part() -> None:
    train = dataset(LABELS, [("a", 2), ("b", 2), ("c", 0), ("d", 2)])
    predict = fit_majority(train, train)
    np.testing.assert_array_equal(predict(["x", "y"]), [[0.25, 0, 0.75]] * 2)
    assert predict([]).shape == (0, 3)


def test_majority_takes_the_first_of_equally_frequent_labels() -> None:
    train = dataset(LABELS, [("a", 2), ("b", 1)])
    assert fit_majority(train, train)(["x"]).argmax() == 1


def test_tfidf_is_the_scikit_learn_pipeline() -> None:
    train, validation, test = (built_in(split) for split in ("train", "validation", "test"))
    predict = fit_tfidf(train, validation)
    peers = {
        strength: make_pipeline(
            TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True),
            LogisticRegression(C=strength, max_iter=2000),
        ).fit(train.texts, train.targets)
        for strength in (3.0, 10.0, 30.0)
    }
    losses = {
        strength: sklearn_log_loss(validation.targets, peer.predict_proba(validation.texts))
        for strength, peer in peers.items()
    }
    assert predict.strength == min(losses, key=lambda strength: losses[strength])
    np.testing.assert_allclose(predict(test.texts), peers[predict.strength].predict_proba(test.texts), rtol=1e-6)
    # Well above the 1/3 of chance, and far from solved: the words alone do not give the labels away.
    assert 0.55 < accuracy(predict, test) < 0.68


def test_log_loss_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(3), size=50)
    targets = generator.integers(3, size=50).tolist()
    assert log_loss(probabilities, targets) == pytest.approx(sklearn_log_loss(targets, probabilities, labels=[0, 1, 2]))
    assert log_loss(np.array([[1.0, 0.0]]), [1]) == pytest.approx(-np.log(1e-12))


def test_chinese_is_counted_by_character() -> None:
    train, validation = built_in("train", ["zh"]), built_in("validation", ["zh"])
    predict = fit_tfidf(train, validation)
    vectorizer = predict.features.__self__  # type: ignore[attr-defined]
    assert (vectorizer.analyzer, vectorizer.ngram_range) == ("char", (1, 4))
    assert predict.strength > 0
    english = fit_tfidf(small(), small())
    assert english.features.__self__.analyzer == "word"  # type: ignore[attr-defined]


def test_emoji_and_marks_are_words() -> None:
    train = dataset(TWO, [("the train 😡", 0), ("the train 😍", 1)] * 10)
    predict = fit_tfidf(train, train)
    assert predict(["a bus 😡", "a bus 😍"]).argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("texts", "share"),
    [(["abcd"], 0.0), (["电影 ab"], 0.5), (["すごい"], 1.0), ([""], 0.0), ([], 0.0), (["好！"], 0.5)],
)
def test_cjk_share(texts: list[str], share: float) -> None:
    assert cjk_share(texts) == share


def test_frozen_encoder_is_logistic_regression_on_standardised_features() -> None:
    train, validation = small(60), small(20)
    predict = frozen_encoder(lengths_and_vowels)(train, validation)
    assert isinstance(predict, LinearPredictor)
    inputs = lengths_and_vowels(train.texts)
    centre, spread = inputs.mean(axis=0), inputs.std(axis=0)
    peer = LogisticRegression(C=predict.strength, max_iter=2000).fit((inputs - centre) / spread, train.targets)
    expected = peer.predict_proba((lengths_and_vowels(["a film", "dull it is"]) - centre) / spread)
    np.testing.assert_allclose(predict(["a film", "dull it is"]), expected, rtol=1e-9)


@pytest.mark.parametrize("fit", [fit_majority, fit_tfidf, frozen_encoder(lengths_and_vowels)])
def test_fits_are_deterministic_and_give_probabilities(fit: Fit) -> None:
    once, again = (fit(small(), small(20))(["a dull film", "", "lovely 😍"]) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_allclose(once.sum(axis=1), 1)
    assert fit(small(), small(20))([]).shape == (0, 2)


@pytest.mark.parametrize("fit", [fit_majority, fit_tfidf, frozen_encoder(lengths_and_vowels)])
def test_a_label_without_training_texts_has_probability_zero(fit: Fit) -> None:
    train = dataset(LABELS, [(f"a dull film {i}", 0) for i in range(9)] + [(f"a lovely film {i}", 2) for i in range(9)])
    validation = dataset(LABELS, [("a dull film", 0), ("a film", 1), ("lovely", 2)])
    probabilities = fit(train, validation)(["a lovely film", "x"])
    assert probabilities.shape == (2, 3)
    np.testing.assert_array_equal(probabilities[:, 1], 0)


@pytest.mark.parametrize("fit", [fit_tfidf, frozen_encoder(lengths_and_vowels)])
def test_what_cannot_be_fitted(fit: Fit) -> None:
    one = dataset(TWO, [("good", 1), ("fine", 1)])
    for train, validation, message in [
        (dataset(TWO, []), small(), "a baseline needs training texts, and there are none"),
        (small(), dataset(TWO, []), "a baseline chooses its penalty on validation texts, and there are none"),
        (
            one,
            small(),
            "every training text has the label 'positive': a classifier needs texts of at least two labels",
        ),
    ]:
        with pytest.raises(UserError) as error:
            fit(train, validation)
        assert str(error.value) == message


def test_majority_works_with_one_label_and_not_with_none() -> None:
    one = dataset(TWO, [("good", 1), ("fine", 1)])
    np.testing.assert_array_equal(fit_majority(one, one)(["x"]), [[0, 1]])
    with pytest.raises(UserError) as error:
        fit_majority(dataset(TWO, []), one)
    assert str(error.value) == "a baseline needs training texts, and there are none"


@pytest.mark.skipif("ROADMAP_DATA" not in os.environ, reason="ROADMAP_DATA names no folder of real data")
def test_tfidf_on_rt_polarity() -> None:
    folder = Path(os.environ["ROADMAP_DATA"]) / "rt_polarity"
    pairs = [
        (line, label)
        for label, name in enumerate(("neg", "pos"))
        for line in (folder / f"rt-polarity.{name}").read_text("latin-1").splitlines()
    ]
    order = np.random.default_rng(1).permutation(len(pairs))
    shuffled = [pairs[index] for index in order]
    n_test = len(pairs) // 5
    test, validation, train = shuffled[:n_test], shuffled[n_test : n_test + 900], shuffled[n_test + 900 :]
    predict = fit_tfidf(dataset(TWO, train), dataset(TWO, validation))
    assert accuracy(predict, dataset(TWO, test)) > 0.75


@pytest.mark.skipif("ROADMAP_DATA" not in os.environ, reason="ROADMAP_DATA names no folder of real data")
def test_tfidf_on_chinese_reviews() -> None:
    parts = []
    for name, limit in (("train", 2000), ("dev", 400), ("test", 1200)):
        path = Path(os.environ["ROADMAP_DATA"]) / "zh_chnsenticorp" / f"{name}.tsv"
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:limit]
        parts.append(dataset(TWO, [(row["text_a"], int(row["label"])) for row in rows]))
    train, validation, test = parts
    assert accuracy(fit_tfidf(train, validation), test) > 0.85
