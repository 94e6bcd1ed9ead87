"""Classifiers to beat: the most frequent label, words counted, a pretrained encoder left as it is.

Each is a function `fit(train, validation) -> predictor`. It learns from the training part alone, chooses its one
setting on the validation part, and gives the same result every time.

Shapes: N texts, K labels, C features.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from bert_sentiment.data.types import SentimentDataset
from roadmap_shared.errors import UserError

Predict = Callable[[Sequence[str]], np.ndarray]
"""N texts -> (N, K) probabilities."""

Fit = Callable[[SentimentDataset, SentimentDataset], Predict]
"""(training part, validation part) -> predictor."""

Features = Callable[[Sequence[str]], Any]
"""N texts -> (N, C) array or sparse matrix."""

# Inverse strengths of the L2 penalty, ascending: sparse counts want a weak penalty, dense features a strong one.
TFIDF_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FROZEN_STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
CHARACTERS_ABOVE = 0.3
"""Share of CJK characters above which texts are counted by character: there are no blanks between words."""

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_MAX_ITERATIONS = 2000


@dataclass(frozen=True)
class MajorityPredictor:
    """Gives every text the labels' shares (K,) in the training part, and so its most frequent label."""

    shares: np.ndarray

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return np.tile(self.shares, (len(texts), 1))


@dataclass(frozen=True)
class LinearPredictor:
    """Logistic regression on features of the texts. `strength` is the chosen inverse strength of the L2 penalty."""

    features: Features
    classifier: LogisticRegression
    strength: float
    n_labels: int

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return self.probabilities(self.features(texts)) if len(texts) else np.zeros((0, self.n_labels))

    def probabilities(self, inputs: Any) -> np.ndarray:
        """(N, K) probabilities from features (N, C)."""
        probabilities = np.zeros((inputs.shape[0], self.n_labels))
        # A label without a training text has no column in scikit-learn's answer, and probability 0 here.
        probabilities[:, self.classifier.classes_] = self.classifier.predict_proba(inputs)
        return probabilities


def fit_majority(train: SentimentDataset, validation: SentimentDataset) -> MajorityPredictor:
    """The share of each label in the training part; of equally frequent labels the first wins."""
    _check(train)
    return MajorityPredictor(np.bincount(train.targets, minlength=len(train.labels)) / len(train))


def fit_tfidf(train: SentimentDataset, validation: SentimentDataset) -> LinearPredictor:
    """TF-IDF of n-grams and logistic regression: what the words alone give away (Wang & Manning 2012, "Baselines and
    Bigrams", found such models hard to beat).

    N-grams are words and pairs of words, emoji and marks counting as words; or 1 to 4 characters where the texts are
    Chinese or Japanese (`cjk_share`).

    Raises:
        UserError: fewer than two labels in the training part, or no validation texts.
    """
    _check(train, validation)
    if cjk_share(train.texts) > CHARACTERS_ABOVE:
        vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=2, sublinear_tf=True)
    else:
        vectorizer = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True)
    vectorizer.fit(train.texts)
    return _fit_linear(vectorizer.transform, train, validation, TFIDF_STRENGTHS)


def remembered(features: Callable[[Sequence[str]], np.ndarray]) -> Callable[[Sequence[str]], np.ndarray]:
    """The same features, those of each text taken once: a fit asks for those of the training texts twice."""
    known: dict[str, np.ndarray] = {}

    def lookup(texts: Sequence[str]) -> np.ndarray:
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(missing, features(missing), strict=True))
        return np.stack([known[text] for text in texts])

    return lookup


def frozen_encoder(features: Features) -> Fit:
    """The baseline of a pretrained encoder that is not trained: logistic regression on its standardised features.

    Args:
        features: N texts -> (N, C), such as the mean of the encoder's last hidden states over the tokens.

    Returns:
        A `fit`. It raises `UserError` for fewer than two labels in the training part, or no validation texts.
    """

    def fit(train: SentimentDataset, validation: SentimentDataset) -> LinearPredictor:
        _check(train, validation)
        scaler = StandardScaler().fit(features(train.texts))
        return _fit_linear(lambda texts: scaler.transform(features(texts)), train, validation, FROZEN_STRENGTHS)

    return fit


def cjk_share(texts: Sequence[str]) -> float:
    """Share of Chinese characters and Japanese kana among all characters that are not blank."""
    joined = "".join("".join(texts).split())
    return len(_CJK.findall(joined)) / max(1, len(joined))


def _fit_linear(
    features: Features, train: SentimentDataset, validation: SentimentDataset, strengths: Sequence[float]
) -> LinearPredictor:
    """Logistic regression with the strength that gives the lowest validation loss, tried in ascending order until the
    loss rises. The accuracy of a few hundred texts would be too coarse to choose by."""
    inputs, held_out = features(train.texts), features(validation.texts)
    best: LinearPredictor | None = None
    lowest = np.inf
    for strength in strengths:
        classifier = LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS).fit(inputs, train.targets)
        candidate = LinearPredictor(features, classifier, strength, len(train.labels))
        loss = log_loss(candidate.probabilities(held_out), validation.targets)
        if best is not None and loss >= lowest:
            break
        best, lowest = candidate, loss
    assert best is not None, "no strengths to choose from"
    return best


def log_loss(probabilities: np.ndarray, targets: Sequence[int]) -> float:
    """Mean negative logarithm of the right labels' probabilities (N, K), none taken as below 1e-12."""
    return float(-np.log(np.clip(probabilities[np.arange(len(targets)), targets], 1e-12, None)).mean())


def _check(train: SentimentDataset, validation: SentimentDataset | None = None) -> None:
    if not len(train):
        raise UserError("a baseline needs training texts, and there are none")
    if validation is None:
        return
    if not len(validation):
        raise UserError("a baseline chooses its penalty on validation texts, and there are none")
    if len(set(train.targets)) < 2:
        only = train.labels[train.targets[0]]
        raise UserError(f"every training text has the label '{only}': a classifier needs texts of at least two labels")
