"""The validation figures against scikit-learn, and a model in a suite of `evaluate`."""

from typing import Any

import evaluate
import numpy as np
import pytest
import torch
from datasets import Dataset
from evaluate.evaluation_suite import SubTask
from sklearn.metrics import accuracy_score, f1_score, log_loss
from transformers import EvalPrediction

from bert_sentiment.models.bert_classifier import SentimentModel
from bert_sentiment.models.trainer import compute_metrics
from roadmap_shared.metrics import accuracy, evaluate_modules, macro_f1


def test_validation_figures_equal_scikit_learn():
    draw = np.random.default_rng(0)
    logits, targets = draw.normal(size=(200, 3)).astype(np.float32) * 4, draw.integers(3, size=200)
    probabilities = torch.from_numpy(logits).double().softmax(-1).numpy()
    assert compute_metrics(EvalPrediction(predictions=logits, label_ids=targets)) == {
        "cross_entropy": pytest.approx(log_loss(targets, probabilities), rel=1e-5),
        "accuracy": pytest.approx(accuracy_score(targets, logits.argmax(1)), rel=1e-12),
        "macro_f1": pytest.approx(f1_score(targets, logits.argmax(1), average="macro"), rel=1e-12),
    }


class Suite(evaluate.EvaluationSuite):
    """Each metric on the same texts."""

    def __init__(self, names: list[str], texts: list[str], targets: list[int], model: SentimentModel) -> None:
        super().__init__("sentiment")
        self.suite = [
            SubTask(
                task_type="text-classification",
                data=Dataset.from_dict({"text": texts, "label": targets}),
                args_for_task={
                    "metric": evaluate_modules.load(name),
                    "tokenizer": model.tokenizer,
                    "label_mapping": model.network.config.label2id,
                },
            )
            for name in names
        ]


def test_a_model_is_scored_in_an_evaluation_suite(tiny_model):
    model = tiny_model()
    texts, targets = ["good film", "bad phone , really", "a plot", "never fine"], [2, 0, 1, 0]
    results: Any = Suite(["accuracy", "macro_f1"], texts, targets, model).run(model.network)
    first, second = results
    predicted = model.logits(texts).argmax(axis=1)
    assert first["accuracy"] == accuracy(predicted, targets)
    assert second["macro_f1"] == macro_f1(predicted, targets, 3)
