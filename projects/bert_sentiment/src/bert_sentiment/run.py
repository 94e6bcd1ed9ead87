"""`bert-sentiment run`: fine-tune a classifier on sentiment texts, measure it on every domain, report.

`run` below is the whole story; each of its lines is one module.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bert_sentiment.config import SentimentConfig
from bert_sentiment.data.data_check import check_data
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.types import SentimentDataset, Splits
from bert_sentiment.evaluation.baselines import Predict, fit_majority, fit_tfidf, frozen_encoder
from bert_sentiment.evaluation.calibration import fit_temperature
from bert_sentiment.evaluation.metrics import Evaluation, evaluate, summary_figures
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier
from bert_sentiment.models.trainer import train
from bert_sentiment.report import TrainedRun, sentiment_report
from roadmap_shared.files import atomic_write
from roadmap_shared.runs import start_run

PROJECT = "bert_sentiment"
MODEL_FOLDER = "model"
PREDICTIONS_FILE = "predictions.jsonl"
RESUMABLE_CHANGES = ("trainer.threads", "trainer.device", "evaluation.")
"""Settings that may differ when a run is resumed: they change no weight."""


def run(config: SentimentConfig) -> dict[str, Any]:
    """Load, check, fine-tune, calibrate, evaluate and report; returns the summary."""
    with start_run(config, project=PROJECT, command="run", resumable_changes=RESUMABLE_CHANGES) as run:
        splits = load_splits(config.data, print if run.is_main else None)
        model = build_classifier(config.model, config.preprocessing, splits.labels, run.seed)
        check = check_data(splits, model.tokenizer, config.preprocessing)
        baselines = fit_baselines(model, splits) if run.is_main else {}
        result = train(model, splits, config.trainer, run)
        if not run.is_main:
            return {}
        validation = splits.validation
        model.temperature = fit_temperature(model.logits(validation.texts), validation.targets)
        model.save(run.folder / MODEL_FOLDER)
        evaluation = evaluate(model, splits.test, baselines, config.evaluation)
        write_predictions(run.folder / PREDICTIONS_FILE, evaluation, splits.test)
        trained = TrainedRun(config, run, splits, model, check, result, evaluation)
        figures = summary_figures(evaluation, splits.test, config.evaluation)
        return run.finish(figures | {"best_step": result.best_step}, sentiment_report(trained, figures))


def fit_baselines(model: SentimentModel, splits: Splits) -> dict[str, Predict]:
    """What the classifier has to beat: always the same label, the words alone, the encoder before fine-tuning."""
    fits = {"majority": fit_majority, "tfidf": fit_tfidf, "frozen": frozen_encoder(model.features)}
    fitted = {name: fit(splits.train, splits.validation) for name, fit in fits.items()}
    # The encoder is about to change: its features of the test texts are taken now.
    frozen, texts = fitted["frozen"], splits.test.texts
    answers = dict(zip(texts, frozen(texts), strict=True))
    return {**fitted, "frozen": lambda asked: np.array([answers[text] for text in asked])}


def write_predictions(path: Path, evaluation: Evaluation, test: SentimentDataset) -> None:
    """One JSON line a test text: what it is, what was said, how sure."""
    lines = [
        json.dumps(
            {
                "source": example.source,
                "domain": example.domain,
                "text": example.text,
                "label": test.labels[example.label],
                "predicted": test.labels[int(row.argmax())],
                "probabilities": {label: round(float(p), 4) for label, p in zip(test.labels, row, strict=True)},
            },
            ensure_ascii=False,
        )
        for example, row in zip(test.examples, evaluation.probabilities, strict=True)
    ]
    atomic_write(path, "\n".join(lines) + "\n")
