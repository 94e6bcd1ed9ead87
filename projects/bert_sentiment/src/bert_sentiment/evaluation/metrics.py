"""How good a classifier is on the test texts: its figures with intervals, beside baselines, by domain and by slice.

Shapes: N test texts, K labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bert_sentiment.config import EvaluationConfig
from bert_sentiment.data.preprocessor import token_ids
from bert_sentiment.data.splitting import sample
from bert_sentiment.data.types import Example, SentimentDataset
from bert_sentiment.evaluation.baselines import Predict
from bert_sentiment.evaluation.behaviour import BehaviourResult, run_behaviour
from bert_sentiment.evaluation.robustness import RobustnessRow, robustness
from bert_sentiment.evaluation.slices import Slice, accuracy_by_slice
from bert_sentiment.models.bert_classifier import SentimentModel, softmax
from roadmap_shared.metrics import (
    Interval,
    McNemarTest,
    PairedComparison,
    bootstrap_interval,
    expected_calibration_error,
    macro_f1_interval,
    mcnemar_test,
    one_vs_rest,
    paired_bootstrap,
    roc_auc,
)


@dataclass(frozen=True)
class Scores:
    """Accuracy and macro-F1 of one classifier on one set of texts."""

    n: int
    accuracy: Interval
    macro_f1: Interval


@dataclass(frozen=True)
class Comparison:
    """A baseline, and by how much the classifier is better on the same texts."""

    scores: Scores
    gain: PairedComparison
    mcnemar: McNemarTest


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction with the probability it was given."""

    example: Example
    predicted: int
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on the test texts. `probabilities` (N, K) are calibrated, `raw` (N, K) are not."""

    probabilities: np.ndarray
    raw: np.ndarray
    overall: Scores
    domains: Mapping[str, Scores]
    baselines: Mapping[str, Comparison]
    slices: Sequence[Slice]
    robustness: Sequence[RobustnessRow]
    behaviour: BehaviourResult
    mistakes: Sequence[Mistake]


def evaluate(
    model: SentimentModel, test: SentimentDataset, baselines: Mapping[str, Predict], config: EvaluationConfig
) -> Evaluation:
    """Measure a trained classifier on the test texts, beside baselines that were fitted on the same training texts."""

    def predict(texts: Sequence[str]) -> np.ndarray:
        return model.probabilities(texts, config.batch_size)

    logits = model.logits(test.texts, config.batch_size)
    probabilities = softmax(logits / model.temperature)
    predicted = probabilities.argmax(axis=1)
    whole = replace(model.preprocessing, max_length=model.tokenizer.model_max_length)
    lengths = [len(ids) for ids in token_ids(test.texts, model.tokenizer, whole)]
    return Evaluation(
        probabilities=probabilities,
        raw=softmax(logits),
        overall=score(predicted, test, config),
        domains=by_domain(predicted, test, config),
        baselines={name: compare(predicted, baseline, test, config) for name, baseline in baselines.items()},
        slices=accuracy_by_slice(test.examples, predicted, lengths, test.labels),
        robustness=robustness(predict, *sampled_texts(test, config), seed=0, rate=config.typo_rate),
        behaviour=run_behaviour(predict, test.labels),
        mistakes=confident_mistakes(probabilities, test, config.n_mistakes),
    )


def sampled_texts(test: SentimentDataset, config: EvaluationConfig) -> tuple[list[str], list[int]]:
    """Texts and labels for the robustness test, which predicts each of them a dozen times."""
    chosen = sample(test.examples, config.n_robustness, 0)
    return [example.text for example in chosen], [example.label for example in chosen]


def score(predicted: np.ndarray, test: SentimentDataset, config: EvaluationConfig) -> Scores:
    """Accuracy and macro-F1 of (N,) predicted labels, each with its bootstrap interval."""
    correct = predicted == np.array(test.targets)
    return Scores(
        n=len(test),
        accuracy=bootstrap_interval(correct.astype(float), n_resamples=config.n_resamples),
        macro_f1=macro_f1_interval(predicted, test.targets, len(test.labels), n_resamples=config.n_resamples),
    )


def by_domain(predicted: np.ndarray, test: SentimentDataset, config: EvaluationConfig) -> dict[str, Scores]:
    """The scores on each domain; nothing where there is only one."""
    domains = np.array([example.domain for example in test.examples])
    if len(test.domains) < 2:
        return {}
    return {
        domain: score(
            predicted[domains == domain], test.where(lambda example, name=domain: example.domain == name), config
        )
        for domain in test.domains
    }


def compare(predicted: np.ndarray, baseline: Predict, test: SentimentDataset, config: EvaluationConfig) -> Comparison:
    """A baseline's scores, and the paired difference in accuracy from it to the classifier."""
    theirs = baseline(test.texts).argmax(axis=1)
    targets = np.array(test.targets)
    return Comparison(
        scores=score(theirs, test, config),
        gain=paired_bootstrap(
            (theirs == targets).astype(float), (predicted == targets).astype(float), n_resamples=config.n_resamples
        ),
        mcnemar=mcnemar_test(theirs == targets, predicted == targets),
    )


def confident_mistakes(probabilities: np.ndarray, test: SentimentDataset, n: int) -> list[Mistake]:
    """The n wrong predictions that the classifier was most sure of: often a wrong label, or a thing never learned."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != np.array(test.targets))
    wrong = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:n]
    return [
        Mistake(test.examples[index], int(predicted[index]), float(probabilities[index].max()))
        for index in wrong.tolist()
    ]


def summary_figures(evaluation: Evaluation, test: SentimentDataset, config: EvaluationConfig) -> dict[str, Any]:
    """The evaluation under the flat keys of `summary.json`."""

    def spread(name: str, interval: Interval) -> dict[str, float]:
        return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}

    figures: dict[str, Any] = spread("accuracy", evaluation.overall.accuracy)
    figures |= spread("macro_f1", evaluation.overall.macro_f1)
    for name, scores in evaluation.domains.items():
        figures |= spread(f"accuracy_{name}", scores.accuracy) | {f"macro_f1_{name}": scores.macro_f1.estimate}
    for name, comparison in evaluation.baselines.items():
        figures |= {
            f"baseline_{name}_accuracy": comparison.scores.accuracy.estimate,
            f"baseline_{name}_macro_f1": comparison.scores.macro_f1.estimate,
        }
    targets = np.array(test.targets)
    figures["calibration_error"] = expected_calibration_error(
        evaluation.probabilities, targets, config.calibration_bins
    )
    figures["calibration_error_before"] = expected_calibration_error(evaluation.raw, targets, config.calibration_bins)
    figures["macro_auc"] = macro_auc(evaluation.probabilities, targets)
    outcomes = evaluation.behaviour.outcomes
    figures["behaviour_passed"] = 1 - len(evaluation.behaviour.failures) / len(outcomes) if outcomes else None
    figures["n_test"] = len(test)
    return figures


def macro_auc(probabilities: np.ndarray, targets: np.ndarray) -> float | None:
    """Mean area under the ROC curve of each label against the others, from (N, K) and (N,). Labels that no text has, or
    every text, cannot be ranked and are left out; None where that leaves none."""
    areas = one_vs_rest(roc_auc, probabilities, targets)
    ranked = areas[~np.isnan(areas)]
    return float(ranked.mean()) if len(ranked) else None
