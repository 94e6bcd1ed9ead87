"""`bert-sentiment run`: fine-tune a classifier on sentiment texts, measure it on every domain, report.

`run` below is the whole story; each of its lines is one module.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from bert_sentiment.config import EvaluationConfig, MethodConfig, SentimentConfig
from bert_sentiment.data.check_sentences import print_warnings
from bert_sentiment.data.data_check import check_data
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.rejects import write_rejects
from bert_sentiment.data.types import SentimentDataset, Splits
from bert_sentiment.evaluation.baselines import Predict, fit_majority, fit_tfidf, frozen_encoder, remembered
from bert_sentiment.evaluation.calibration import fit_temperature
from bert_sentiment.evaluation.metrics import Evaluation, evaluate, summary_figures
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier
from bert_sentiment.models.devices import find_device
from bert_sentiment.models.method_files import save_method
from bert_sentiment.models.methods import MERGING_METHODS, apply_method, merge, method_of, trained_parameters
from bert_sentiment.models.trainer import train
from bert_sentiment.models.training_settings import check_precision
from bert_sentiment.report import TrainedRun, sentiment_report
from bert_sentiment.run_layout import MODEL, PREDICTIONS, PROJECT
from roadmap_shared.files import atomic_write
from roadmap_shared.runs import start_run

RESUMABLE_CHANGES = (
    *("trainer.threads", "trainer.device"),
    *(f"evaluation.{item.name}" for item in fields(EvaluationConfig)),
)
"""Settings that may differ when a run is resumed: they change no weight."""
ORDINARY_METHODS = ("full", "head", "bitfit")
"""Methods that add nothing to the network."""


def run(config: SentimentConfig) -> dict[str, Any]:
    """Load, check, fine-tune, calibrate, evaluate and report; returns the summary."""
    with start_run(config, project=PROJECT, command="run", resumable_changes=RESUMABLE_CHANGES) as run:
        check_precision(config.trainer.precision, find_device(config.trainer.device).type)
        splits = load_splits(config.data, print if run.is_main else None)
        if run.is_main:
            write_rejects(run.folder, {"": splits}, print)
        model = build_classifier(config.model, config.preprocessing, splits.labels, run.seed)
        check = check_data(splits, model.tokenizer, config.preprocessing, label_map=config.data.label_map)
        if run.is_main:
            print_warnings(check)
        baselines = fit_baselines(model, splits) if run.is_main else {}
        model = with_method(model, config.method, run.seed)
        n_trained, n_weights = trained_parameters(model.network)
        result = train(model, splits, config.trainer, run)
        if not run.is_main:
            return {}
        model, validation = merged_where_possible(model), splits.validation
        model.temperature = fit_temperature(model.logits(validation.texts), validation.targets)
        save_model(model, run.folder / MODEL)
        evaluation = evaluate(model, splits.test, baselines, config.evaluation)
        write_predictions(run.folder / PREDICTIONS, evaluation, splits.test)
        trained = TrainedRun(config, run, splits, model, check, result, evaluation)
        figures = summary_figures(evaluation, splits.test, config.evaluation)
        figures |= {
            "best_step": result.best_step,
            "trained_parameters": n_trained,
            "trained_share": n_trained / n_weights,
        }
        return run.finish(figures, sentiment_report(trained, figures))


def fit_baselines(model: SentimentModel, splits: Splits) -> dict[str, Predict]:
    """What the classifier has to beat: always the same label, the words alone, the encoder before fine-tuning."""
    texts = [*splits.train.texts, *splits.validation.texts, *splits.test.texts]
    features = remembered(model.features)
    features(texts)  # now, the test texts' too: the encoder is about to change
    fits = {"majority": fit_majority, "tfidf": fit_tfidf, "frozen": frozen_encoder(features)}
    return {name: fit(splits.train, splits.validation) for name, fit in fits.items()}


def with_method(model: SentimentModel, config: MethodConfig, seed: int) -> SentimentModel:
    """The model with what its fine-tuning method adds, drawn from the seed alone."""
    torch.manual_seed(seed)
    return apply_method(model, config)


def merged_where_possible(model: SentimentModel) -> SentimentModel:
    """An ordinary classifier instead of low-rank updates or scales: what is measured is what is kept."""
    method = method_of(model.network)
    return merge(model) if method is not None and method.name in MERGING_METHODS else model


def save_model(model: SentimentModel, folder: Path) -> None:
    """A folder that `from_pretrained` reads; where the method adds layers or virtual tokens, for which transformers has
    no class, their weights and the name of the base model: `load_method` reads either."""
    method = method_of(model.network)
    if method is None or method.name in ORDINARY_METHODS:
        model.save(folder)
    else:
        save_method(model, folder)


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
