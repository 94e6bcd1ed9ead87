"""The modules, one class each. Their figures are named after the functions that compute them."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from roadmap_shared import metrics
from roadmap_shared.metrics.evaluate_modules.base import OfflineMetric
from roadmap_shared.metrics.evaluate_modules.inputs import (
    DECISIONS,
    DURATIONS,
    N_BYTES,
    N_CHARACTERS,
    N_TOKENS,
    NATS,
    PROBABILITIES,
    TEXTS,
    TOKENS,
)

Classes = Sequence[int]
Rows = Sequence[Sequence[float]]
Figures = dict[str, float]


class Accuracy(OfflineMetric):
    """Share of the items whose chosen class is the true one."""

    INPUTS = DECISIONS

    def score(self, predictions: Classes, references: Classes) -> Figures:
        return {"accuracy": metrics.accuracy(predictions, references)}


class MacroF1(OfflineMetric):
    """Unweighted mean of the classes' F1. A class that neither occurs nor is chosen is left out."""

    INPUTS = DECISIONS
    CITATION = "Juri Opitz, Sebastian Burst: Macro F1 and Macro F1. 2019, arXiv:1911.03347"

    def score(self, predictions: Classes, references: Classes) -> Figures:
        return {"macro_f1": metrics.macro_f1(predictions, references, _n_classes(predictions, references))}


class ClassScores(OfflineMetric):
    """Precision, recall, F1 and support of each class, as `f1_0` and so on; NaN where a score is 0 / 0.

    Args:
        labels: names of the classes, for `f1_positive` instead of `f1_2`, and to know of classes that do not occur.
    """

    INPUTS = DECISIONS
    CITATION = "C. J. van Rijsbergen: Information Retrieval, 2nd edition. Butterworths, 1979, chapter 7"

    def __init__(self, *, labels: Sequence[str] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        if labels is not None and len(set(labels)) < len(labels):
            raise ValueError(f"each class needs a name of its own, got {', '.join(labels)}")
        self.labels = labels

    def score(self, predictions: Classes, references: Classes) -> Figures:
        labels = range(_n_classes(predictions, references)) if self.labels is None else self.labels
        scores = metrics.class_scores(metrics.confusion_matrix(predictions, references, len(labels)))
        return {
            f"{name}_{label}": value
            for name, values in asdict(scores).items()
            for label, value in zip(labels, values.tolist(), strict=True)
        }


class CohenKappa(OfflineMetric):
    """Agreement of the chosen classes with the true ones beyond chance: 1 is full agreement, 0 that of chance."""

    INPUTS = DECISIONS
    CITATION = (
        "Jacob Cohen: A Coefficient of Agreement for Nominal Scales. "
        "Educational and Psychological Measurement 20(1), 1960, pages 37-46"
    )

    def score(self, predictions: Classes, references: Classes) -> Figures:
        return {"cohen_kappa": metrics.cohen_kappa(predictions, references, _n_classes(predictions, references))}


class ExpectedCalibrationError(OfflineMetric):
    """By how much the probability of the likeliest class differs from the accuracy, on average over the items.

    Args:
        n_bins: number of bins of equal width in which confidence and accuracy are compared.
    """

    INPUTS = PROBABILITIES
    CITATION = (
        "Mahdi Pakdaman Naeini, Gregory Cooper, Milos Hauskrecht: "
        "Obtaining Well Calibrated Probabilities Using Bayesian Binning. AAAI 2015"
    )

    def __init__(self, *, n_bins: int = 10, **settings: Any) -> None:
        super().__init__(**settings)
        self.n_bins = n_bins

    def score(self, probabilities: Rows, references: Classes) -> Figures:
        error = metrics.expected_calibration_error(probabilities, references, self.n_bins)
        return {"expected_calibration_error": error}


class BrierScore(OfflineMetric):
    """Squared distance of the probabilities from the truth, summed over the classes: from 0 to 2, low is good."""

    INPUTS = PROBABILITIES
    CITATION = (
        "Glenn W. Brier: Verification of Forecasts Expressed in Terms of Probability. "
        "Monthly Weather Review 78(1), 1950, pages 1-3"
    )

    def score(self, probabilities: Rows, references: Classes) -> Figures:
        return {"brier_score": metrics.brier_score(probabilities, references)}


class NegativeLogLikelihood(OfflineMetric):
    """Mean of -log p(true class) in nats; infinite where a true class has probability 0."""

    INPUTS = PROBABILITIES
    CITATION = "I. J. Good: Rational Decisions. Journal of the Royal Statistical Society B 14(1), 1952, pages 107-114"

    def score(self, probabilities: Rows, references: Classes) -> Figures:
        return {"negative_log_likelihood": metrics.negative_log_likelihood(probabilities, references)}


class RocAuc(OfflineMetric):
    """Chance that an item of a class has a higher probability of it than one of another; mean over the classes."""

    INPUTS = PROBABILITIES
    CITATION = (
        "James A. Hanley, Barbara J. McNeil: The Meaning and Use of the Area under a Receiver Operating "
        "Characteristic (ROC) Curve. Radiology 143(1), 1982, pages 29-36"
    )

    def score(self, probabilities: Rows, references: Classes) -> Figures:
        return {"roc_auc": _mean_of_classes(metrics.one_vs_rest(metrics.roc_auc, probabilities, references))}


class AveragePrecision(OfflineMetric):
    """Area under the precision-recall curve as a sum of steps, each class against the rest; mean over the classes."""

    INPUTS = PROBABILITIES
    CITATION = (
        "Jesse Davis, Mark Goadrich: The Relationship between Precision-Recall and ROC Curves. ICML 2006, pages 233-240"
    )

    def score(self, probabilities: Rows, references: Classes) -> Figures:
        areas = metrics.one_vs_rest(metrics.average_precision, probabilities, references)
        return {"average_precision": _mean_of_classes(areas)}


class TokenAccuracy(OfflineMetric):
    """Share of the true tokens, of all texts together, that are predicted exactly.

    Args:
        ignore_index: true tokens with this id (padding, unmasked positions) are not counted.
    """

    INPUTS = TOKENS

    def __init__(self, *, ignore_index: int = -100, **settings: Any) -> None:
        super().__init__(**settings)
        self.ignore_index = ignore_index

    def score(self, predictions: Sequence[Classes], references: Sequence[Classes]) -> Figures:
        for item, (predicted, true) in enumerate(zip(predictions, references, strict=True)):
            if len(predicted) != len(true):
                raise ValueError(f"item {item} has {len(predicted)} predicted tokens and {len(true)} true ones")
        guessed, expected = (
            np.concatenate([np.array(text, dtype=np.int64) for text in texts]) for texts in (predictions, references)
        )
        return {"token_accuracy": metrics.token_accuracy(guessed, expected, ignore_index=self.ignore_index)}


class Perplexity(OfflineMetric):
    """exp(nats per token) over all texts: the number of equally likely tokens that would be as hard to guess."""

    INPUTS = NATS | N_TOKENS
    CITATION = (
        "F. Jelinek, R. L. Mercer, L. R. Bahl, J. K. Baker: Perplexity, a Measure of the Difficulty of Speech "
        "Recognition Tasks. Journal of the Acoustical Society of America 62(S1), 1977, page S63"
    )

    def score(self, total_nats: Sequence[float], n_tokens: Sequence[int]) -> Figures:
        return {"perplexity": metrics.perplexity(_ratio(total_nats, n_tokens, "token"))}


class BitsPerCharacter(OfflineMetric):
    """Bits that the model needs per Unicode character, over all texts."""

    INPUTS = NATS | N_CHARACTERS
    CITATION = (
        "C. E. Shannon: Prediction and Entropy of Printed English. Bell System Technical Journal 30(1), 1951, "
        "pages 50-64"
    )

    def score(self, total_nats: Sequence[float], n_characters: Sequence[int]) -> Figures:
        return {"bits_per_character": metrics.bits_per_character(_ratio(total_nats, n_characters, "character"))}


class BitsPerByte(OfflineMetric):
    """Bits that the model needs per UTF-8 byte, over all texts: comparable across tokenizers."""

    INPUTS = NATS | N_BYTES
    CITATION = (
        "Leo Gao et al.: The Pile: An 800GB Dataset of Diverse Text for Language Modeling. 2020, arXiv:2101.00027"
    )

    def score(self, total_nats: Sequence[float], n_bytes: Sequence[int]) -> Figures:
        return {"bits_per_byte": metrics.bits_per_byte(math.fsum(total_nats), sum(n_bytes))}


class ExactMatch(OfflineMetric):
    """Share of the texts that equal the right one, character for character."""

    INPUTS = TEXTS
    CITATION = (
        "Pranav Rajpurkar, Jian Zhang, Konstantin Lopyrev, Percy Liang: SQuAD: 100,000+ Questions for Machine "
        "Comprehension of Text. EMNLP 2016"
    )

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> Figures:
        return {"exact_match": float(metrics.exact_match(predictions, references).mean())}


class CharacterErrorRate(OfflineMetric):
    """Edit distance summed over all texts, over the characters of all right texts. It may exceed 1."""

    INPUTS = TEXTS
    CITATION = (
        "V. I. Levenshtein: Binary Codes Capable of Correcting Deletions, Insertions, and Reversals. "
        "Soviet Physics Doklady 10(8), 1966, pages 707-710"
    )

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> Figures:
        return {"character_error_rate": metrics.character_error_rate(predictions, references)}


class LatencySummary(OfflineMetric):
    """Median and tail percentiles of the durations, in the unit that they came in."""

    INPUTS = DURATIONS
    CITATION = (
        "Rob J. Hyndman, Yanan Fan: Sample Quantiles in Statistical Packages. "
        "The American Statistician 50(4), 1996, pages 361-365"
    )

    def score(self, durations: Sequence[float]) -> Figures:
        return {f"latency_{name}": value for name, value in asdict(metrics.latency_summary(durations)).items()}


MODULES: dict[str, type[OfflineMetric]] = {
    "accuracy": Accuracy,
    "macro_f1": MacroF1,
    "class_scores": ClassScores,
    "cohen_kappa": CohenKappa,
    "expected_calibration_error": ExpectedCalibrationError,
    "brier_score": BrierScore,
    "negative_log_likelihood": NegativeLogLikelihood,
    "roc_auc": RocAuc,
    "average_precision": AveragePrecision,
    "token_accuracy": TokenAccuracy,
    "perplexity": Perplexity,
    "bits_per_character": BitsPerCharacter,
    "bits_per_byte": BitsPerByte,
    "exact_match": ExactMatch,
    "character_error_rate": CharacterErrorRate,
    "latency_summary": LatencySummary,
}
"""The modules by the name that `load` knows them by."""


def _n_classes(predictions: Classes, references: Classes) -> int:
    """Classes up to the largest index: for scores to which classes that do not occur make no difference."""
    return int(np.max([predictions, references], initial=0)) + 1


def _mean_of_classes(scores: np.ndarray) -> float:
    """Mean of the defined scores, (n_classes,)."""
    if np.isnan(scores).all():
        raise ValueError("every item has the same class: there is nothing to tell apart")
    return float(np.nanmean(scores))


def _ratio(totals: Sequence[float], counts: Sequence[int], unit: str) -> float:
    if sum(counts) < 1:
        raise ValueError(f"nothing to average over: the texts have no {unit}")
    return math.fsum(totals) / sum(counts)
