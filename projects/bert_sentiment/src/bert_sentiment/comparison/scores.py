"""What the results say: who is best on which data set and by how much, across data sets, and with fewer labels.

All intervals are 95 % bootstrap intervals over the test texts of one fitted model: they do not hold what another seed
would change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bert_sentiment.comparison.data_sets import NamedSplits, why_no_test
from bert_sentiment.comparison.measuring import Measured, Place, predictions
from bert_sentiment.comparison.results import Result
from bert_sentiment.config import EvaluationConfig
from bert_sentiment.data.splitting import fold
from bert_sentiment.evaluation.metrics import Scores, score
from roadmap_shared.metrics import (
    Interval,
    McNemarTest,
    PairedComparison,
    bootstrap_interval,
    mcnemar_test,
    paired_bootstrap,
)

Verdict = Literal["best", "cannot tell apart", "worse"]


@dataclass(frozen=True)
class Entry:
    """One model on one data set. `behind` and `mcnemar` compare it with the best one; the best has neither."""

    model: str
    scores: Scores
    result: Result
    verdict: Verdict
    behind: PairedComparison | None = None
    mcnemar: McNemarTest | None = None


@dataclass(frozen=True)
class CurvePoint:
    """A model's accuracy when it has learned from so many training texts."""

    n_texts: int
    accuracy: Interval


@dataclass(frozen=True)
class Champion:
    """The best model over all data sets: the mean of its accuracies and of its macro-F1, each data set alike."""

    model: str
    accuracy: Interval
    macro_f1: float


def leaderboard(measured: Measured, data: NamedSplits, models: Sequence[str], n_resamples: int) -> list[Entry]:
    """The models that were measured on a data set, the most accurate first; each is compared with that one.

    Of models with the same accuracy, the one with the higher macro-F1 stands first. "cannot tell apart": the interval
    of the paired difference holds 0.
    """
    settings = EvaluationConfig(n_resamples=n_resamples)
    found = {model: result for model in models if (result := measured.results.get(Place(model, data.name, data.name)))}
    if not found:
        return []
    predicted = {model: np.array(predictions(result, data)) for model, result in found.items()}
    scores = {model: score(labels, data.splits.test, settings) for model, labels in predicted.items()}
    ranked = sorted(
        found, key=lambda model: (scores[model].accuracy.estimate, scores[model].macro_f1.estimate), reverse=True
    )
    best = ranked[0]
    right = {model: labels == np.array(data.splits.test.targets) for model, labels in predicted.items()}
    entries = [Entry(best, scores[best], found[best], "best")]
    for model in ranked[1:]:
        behind = paired_bootstrap(right[model].astype(float), right[best].astype(float), n_resamples=n_resamples)
        verdict: Verdict = "worse" if behind.low > 0 else "cannot tell apart"
        test = mcnemar_test(right[model], right[best])
        entries.append(Entry(model, scores[model], found[model], verdict, behind, test))
    return entries


def champion(measured: Measured, data_sets: Sequence[NamedSplits], models: Sequence[str], n_resamples: int) -> Champion:
    """The model with the highest mean accuracy over the data sets, among those that were measured on all of them (or
    on as many of them as any was)."""
    places = {
        model: [data for data in data_sets if Place(model, data.name, data.name) in measured.results]
        for model in models
    }
    most = max(map(len, places.values()))
    means = {model: mean_accuracy(measured, model, on, n_resamples) for model, on in places.items() if len(on) == most}
    best = max(means, key=lambda model: means[model].estimate)
    settings = EvaluationConfig(n_resamples=1)
    f1 = [
        score(
            np.array(predictions(measured.results[Place(best, data.name, data.name)], data)), data.splits.test, settings
        ).macro_f1.estimate
        for data in places[best]
    ]
    return Champion(best, means[best], float(np.mean(f1)))


def mean_accuracy(measured: Measured, model: str, data_sets: Sequence[NamedSplits], n_resamples: int) -> Interval:
    """The mean over the data sets of a model's accuracy, each data set weighing the same.

    A text that is in the test part of several data sets (`films` and `all`) is drawn once for all of them, with all
    that was predicted for it.
    """
    items: dict[str, np.ndarray] = {}
    for column, data in enumerate(data_sets):
        found = predictions(measured.results[Place(model, data.name, data.name)], data)
        for example, label in zip(data.splits.test.examples, found, strict=True):
            row = items.setdefault(fold(example.text), np.zeros(2 * len(data_sets)))
            row[2 * column : 2 * column + 2] += (label == example.label, 1)

    def mean_of_shares(resamples: np.ndarray) -> np.ndarray:
        right, all_texts = resamples[..., 0::2].sum(axis=1), resamples[..., 1::2].sum(axis=1)
        # A data set of a few texts may be missing from a resample: the mean is then over the others.
        shares = np.divide(right, all_texts, out=np.full_like(right, np.nan), where=all_texts > 0)
        return np.nanmean(shares, axis=1)

    return bootstrap_interval(np.stack(list(items.values())), mean_of_shares, n_resamples=n_resamples)


def cross_matrix(
    measured: Measured, data_sets: Sequence[NamedSplits], model: str, n_resamples: int
) -> list[list[Interval | str]]:
    """Accuracy by the data set trained on (row) and tested on (column), or why there is none."""

    def cell(trained_on: NamedSplits, tested_on: NamedSplits) -> Interval | str:
        result = measured.results.get(Place(model, trained_on.name, tested_on.name))
        if result is None:
            failed = (model, trained_on.name) in measured.failures
            return "failed" if failed else "labels differ" if why_no_test(trained_on, tested_on) else "not measured"
        return interval_of(result, tested_on, n_resamples)

    return [[cell(row, column) for column in data_sets] for row in data_sets]


def curves(
    measured: Measured, data: NamedSplits, models: Sequence[str], n_resamples: int
) -> dict[str, list[CurvePoint]]:
    """Accuracy on a data set's test texts by the number of its training texts, in ascending order, for each model."""
    points: dict[str, list[CurvePoint]] = {}
    for model in models:
        own = {
            place.share: result
            for place, result in measured.results.items()
            if (place.model, place.trained_on, place.tested_on) == (model, data.name, data.name)
        }
        if own:
            points[model] = [
                CurvePoint(round(share * len(data.splits.train)), interval_of(own[share], data, n_resamples))
                for share in sorted(own)
            ]
    return points


def interval_of(result: Result, tested_on: NamedSplits, n_resamples: int) -> Interval:
    """Accuracy of a result with its interval."""
    right = np.array(predictions(result, tested_on)) == np.array(tested_on.splits.test.targets)
    return bootstrap_interval(right.astype(float), n_resamples=n_resamples)
