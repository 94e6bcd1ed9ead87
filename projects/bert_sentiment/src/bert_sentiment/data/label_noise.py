"""Texts whose label is probably wrong, by confident learning (Northcutt et al. 2021, "Confident Learning: Estimating
Uncertainty in Dataset Labels", §3).

A simple model is trained without a text and asked for the probability of each label. A text is a suspect when another
label is more probable than that label is on average among the texts that carry it.

Shapes: N texts, K labels, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from bert_sentiment.data.similarity import Words

N_FOLDS = 3
MAX_FEATURES = 50_000
MIN_TEXTS = 100
"""Fewer texts teach a model too little to doubt a label."""


@dataclass(frozen=True)
class SuspectIndex:
    """A suspect by its place: the label that is more probable, and the probability of the one it has."""

    index: int
    suggested: int
    given_probability: float


def find_suspects(words: Words, labels: np.ndarray, groups: np.ndarray) -> list[SuspectIndex]:
    """The suspects among N texts, the least probable label first.

    Args:
        words: the texts.
        labels: (N,) indices of their labels.
        groups: (N,) equal for texts with the same words, of which none may vouch for another.
    """
    if len(labels) < MIN_TEXTS:
        return []
    probabilities = out_of_fold_probabilities(tf_idf(words), labels, groups)
    return rank_suspects(probabilities, labels)


def rank_suspects(probabilities: np.ndarray, labels: np.ndarray) -> list[SuspectIndex]:
    """Suspects by (N, K) out-of-sample probabilities and (N,) given labels."""
    n_labels = probabilities.shape[1]
    given = probabilities[np.arange(len(labels)), labels]
    # A label without texts has no average: nothing is suspected of belonging to it.
    thresholds = np.array(
        [given[labels == label].mean() if (labels == label).any() else 2 for label in range(n_labels)]
    )
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = confident.argmax(axis=1)
    is_suspect = (confident.max(axis=1) >= 0) & (best != labels)
    order = sorted(np.flatnonzero(is_suspect).tolist(), key=lambda index: (given[index], index))
    return [SuspectIndex(index, int(best[index]), float(given[index])) for index in order]


def tf_idf(words: Words) -> Any:
    """(N, F) sparse TF-IDF of words and word pairs, without those that occur in one text only."""
    n_texts = len(words.starts) - 1
    pairs, pair_text = words.grams(2)
    _, pair_ids = np.unique(pairs, return_inverse=True)
    n_words = int(words.ids.max(initial=-1)) + 1
    columns = np.concatenate([words.ids, pair_ids + n_words]).astype(np.int64)
    rows = np.concatenate([words.text_of, pair_text])
    shape = (n_texts, columns.max(initial=0) + 1)
    counts: Any = sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
    counts.sum_duplicates()
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    frequent = np.argsort(-frequency, kind="stable")[:MAX_FEATURES]
    kept = np.sort(frequent[frequency[frequent] > 1])
    return TfidfTransformer(sublinear_tf=True).fit_transform(counts[:, kept])


def out_of_fold_probabilities(features: Any, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(N, K) probabilities, each from a logistic regression that was trained on the other folds."""
    n_labels = int(labels.max()) + 1
    probabilities = np.zeros((len(labels), n_labels))
    folds = stratified_folds(labels, groups)
    for fold in range(N_FOLDS):
        inside = folds == fold
        if not inside.any():
            continue
        present = np.unique(labels[~inside])
        if len(present) < 2:
            probabilities[np.ix_(inside, present)] = 1.0
            continue
        model = LogisticRegression(C=10.0, max_iter=1000, tol=1e-3).fit(features[~inside], labels[~inside])
        probabilities[np.ix_(inside, present)] = model.predict_proba(features[inside])
    return probabilities


def stratified_folds(labels: Sequence[int] | np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(N,) fold of each text. The groups of a label take turns in a fixed random order; a group is all in one fold, and
    counts as of the label of its first text."""
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    group_labels = np.asarray(labels)[first]
    order = np.random.default_rng(0).permutation(len(first))
    folds = np.zeros(len(first), dtype=np.int64)
    for label in np.unique(group_labels):
        own = order[group_labels[order] == label]
        folds[own] = np.arange(len(own)) % N_FOLDS
    return folds[group_of]
