"""The evaluation of a classifier: each figure against scikit-learn or a value by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from bert_sentiment.config import EvaluationConfig
from bert_sentiment.data.types import Example, SentimentDataset
from bert_sentiment.evaluation.metrics import (
    by_domain,
    compare,
    confident_mistakes,
    evaluate,
    macro_auc,
    sampled_texts,
    score,
    summary_figures,
)
from bert_sentiment.models.bert_classifier import softmax

LABELS = ("negative", "neutral", "positive")
QUICK = EvaluationConfig(n_resamples=200, n_mistakes=5, n_robustness=12)


@pytest.fixture
def test_part() -> SentimentDataset:
    draw = np.random.default_rng(0)
    words = ["good", "bad", "film", "phone", "not", "dull", "it", "was"]
    examples = tuple(
        Example(
            " ".join(draw.choice(words, size=6)) + f" {index}",
            int(draw.integers(3)),
            domain=("films", "products")[index % 2],
            tags=("negation",) if index % 3 == 0 else (),
            source=f"t-{index}",
        )
        for index in range(60)
    )
    return SentimentDataset(LABELS, examples, "drawn")


def baseline(texts):
    """Says the label that the text's length gives."""
    return np.eye(3)[[len(text) % 3 for text in texts]]


def test_the_whole_evaluation(tiny_model, test_part):
    model = tiny_model()
    model.temperature = 2.0
    evaluation = evaluate(model, test_part, {"length": baseline}, QUICK)
    logits = model.logits(test_part.texts)
    predicted, targets = logits.argmax(axis=1), np.array(test_part.targets)
    assert np.allclose(evaluation.raw, softmax(logits), atol=1e-6)
    assert np.allclose(evaluation.probabilities, softmax(logits / 2), atol=1e-6)
    assert evaluation.overall.accuracy.estimate == accuracy_score(targets, predicted)
    assert evaluation.overall.macro_f1.estimate == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert set(evaluation.domains) == {"films", "products"}
    assert {item.kind for item in evaluation.slices} == {"domain", "label", "tag"}  # all are equally long
    assert evaluation.robustness[0].perturbation == "none"
    assert evaluation.behaviour.outcomes

    figures = summary_figures(evaluation, test_part, QUICK)
    assert list(figures)[:3] == ["accuracy", "accuracy_low", "accuracy_high"]
    assert figures["accuracy_low"] <= figures["accuracy"] <= figures["accuracy_high"]
    assert figures["accuracy_films"] == evaluation.domains["films"].accuracy.estimate
    assert figures["baseline_length_accuracy"] == accuracy_score(targets, baseline(test_part.texts).argmax(axis=1))
    assert figures["macro_auc"] == pytest.approx(roc_auc_score(targets, evaluation.probabilities, multi_class="ovr"))
    assert 0 <= figures["behaviour_passed"] <= 1
    assert figures["n_test"] == 60


def test_domains_are_scored_apart(test_part):
    predicted = np.array([example.label if example.domain == "films" else 0 for example in test_part.examples])
    scores = by_domain(predicted, test_part, QUICK)
    assert scores["films"].accuracy.estimate == 1
    rest = [example.label for example in test_part.examples if example.domain == "products"]
    assert scores["products"].accuracy.estimate == pytest.approx(rest.count(0) / len(rest))
    assert by_domain(predicted, test_part.where(lambda example: example.domain == "films"), QUICK) == {}


def test_a_baseline_is_compared_on_the_same_texts(test_part):
    right = np.array(test_part.targets)
    comparison = compare(right, baseline, test_part, QUICK)
    theirs = baseline(test_part.texts).argmax(axis=1) == right
    assert comparison.gain.difference == pytest.approx(1 - theirs.mean())
    assert comparison.mcnemar.only_a == 0
    assert comparison.mcnemar.only_b == (~theirs).sum()


def test_the_surest_mistakes_come_first(test_part):
    probabilities = np.tile([0.2, 0.5, 0.3], (60, 1))
    probabilities[7] = [0.9, 0.05, 0.05] if test_part.targets[7] else [0.05, 0.05, 0.9]
    mistakes = confident_mistakes(probabilities, test_part, 4)
    assert len(mistakes) == 4
    assert (mistakes[0].example, mistakes[0].probability) == (test_part.examples[7], 0.9)
    assert all(mistake.predicted != mistake.example.label for mistake in mistakes)
    right = np.eye(3)[test_part.targets]
    assert confident_mistakes(right, test_part, 4) == []


def test_scores_of_a_perfect_classifier(test_part):
    scores = score(np.array(test_part.targets), test_part, QUICK)
    assert (scores.accuracy.low, scores.macro_f1.low, scores.n) == (1, 1, 60)


def test_robustness_takes_some_texts_with_their_labels(test_part):
    texts, targets = sampled_texts(test_part, QUICK)
    assert len(texts) == len(targets) == 12
    label_of = {example.text: example.label for example in test_part.examples}
    assert [label_of[text] for text in texts] == targets


def test_labels_that_no_text_has_are_left_out_of_the_area_and_none_is_left_for_one_label():
    probabilities = np.array([[0.5, 0.1, 0.4], [0.2, 0.2, 0.6], [0.7, 0.1, 0.2]])
    # Of the pairs (text 0 or 2, text 1), both are in the right order by label 0 and by label 2.
    assert macro_auc(probabilities, np.array([0, 2, 0])) == 1
    assert macro_auc(probabilities, np.array([2, 2, 2])) is None
