"""From a model's name to a classifier fitted on training texts.

Each kind of model is a function `(fit, config, run) -> Fitted`; `FITTERS` is the table of them.
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import cast

import numpy as np
import torch

from bert_sentiment.comparison.data_sets import NamedSplits, percent
from bert_sentiment.comparison.scratch import build_scratch
from bert_sentiment.config import CompareConfig, ModelConfig, TrainerConfig
from bert_sentiment.config.compare import ModelSpec
from bert_sentiment.data.types import SentimentDataset, Splits
from bert_sentiment.evaluation.baselines import (
    LinearPredictor,
    Predict,
    fit_majority,
    fit_tfidf,
    frozen_encoder,
    remembered,
)
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier, quiet_transformers
from bert_sentiment.models.devices import find_device
from bert_sentiment.models.trainer import train
from roadmap_shared.runs import Run


@dataclass(frozen=True)
class Fit:
    """One model to fit on a share of one data set's training texts."""

    model: ModelSpec
    data: NamedSplits
    share: float
    train: SentimentDataset

    def __str__(self) -> str:
        part = "" if self.share == 1 else f", {percent(self.share)} of the texts"
        return f"{self.model} on {self.data.name}{part}"


@dataclass(frozen=True)
class Fitted:
    """A fitted classifier. `parameters` counts all its weights, `trained` those that the training texts set."""

    predict: Predict
    parameters: int
    trained: int


def fit_model(fit: Fit, config: CompareConfig, run: Run) -> Fitted:
    """Fit the model; `run` is where it keeps checkpoints, and continues from them.

    Raises:
        UserError: the checkpoint cannot be had or does not fit the labels, or training diverges.
    """
    with quiet_transformers():
        return FITTERS[fit.model.kind](fit, config, run)


def _majority(fit: Fit, config: CompareConfig, run: Run) -> Fitted:
    predictor = fit_majority(fit.train, fit.data.splits.validation)
    return Fitted(predictor, predictor.shares.size, predictor.shares.size)


def _tfidf(fit: Fit, config: CompareConfig, run: Run) -> Fitted:
    predictor = fit_tfidf(fit.train, fit.data.splits.validation)
    return Fitted(predictor, _weights(predictor), _weights(predictor))


def _frozen(fit: Fit, config: CompareConfig, run: Run) -> Fitted:
    model = _pretrained(fit, config, run)
    fit_frozen = frozen_encoder(remembered(model.features))
    predictor = cast(LinearPredictor, fit_frozen(fit.train, fit.data.splits.validation))
    trained = _weights(predictor)
    return Fitted(predictor, _count(model.network.base_model) + trained, trained)


def _finetune(fit: Fit, config: CompareConfig, run: Run) -> Fitted:
    return _train(_pretrained(fit, config, run), fit, config, config.trainer, run)


def _scratch(fit: Fit, config: CompareConfig, run: Run) -> Fitted:
    settings = config.scratch
    model = build_scratch(settings, fit.data.preprocessing(config), fit.train.texts, fit.train.labels, run.seed)
    # Every weight is as new as the classification layer: all learn alike.
    trainer = replace(
        config.trainer,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        head_factor=1.0,
        layer_decay=1.0,
    )
    return _train(model, fit, config, trainer, run)


FITTERS = {
    "majority": _majority,
    "tfidf": _tfidf,
    "frozen": _frozen,
    "finetune": _finetune,
    "scratch": _scratch,
}


def _pretrained(fit: Fit, config: CompareConfig, run: Run) -> SentimentModel:
    preprocessing = fit.data.preprocessing(config)
    model = build_classifier(ModelConfig(name=fit.model.source), preprocessing, fit.train.labels, run.seed)
    model.network.to(find_device(config.trainer.device))  # type: ignore[arg-type]  # in place; its stub hides the method's self
    return model


def _train(model: SentimentModel, fit: Fit, config: CompareConfig, trainer: TrainerConfig, run: Run) -> Fitted:
    splits = fit.data.splits
    texts = repeated(fit.train, trainer, config.min_steps)
    train(model, Splits(texts, splits.validation, splits.test), trainer, run)
    trained = sum(weight.numel() for weight in model.network.parameters() if weight.requires_grad)
    return Fitted(model.probabilities, _count(model.network), trained)


def repeated(train: SentimentDataset, trainer: TrainerConfig, min_steps: int) -> SentimentDataset:
    """The training texts as often as it takes for `min_steps` optimiser steps in all epochs together.

    More epochs would do the same, but each ends with an evaluation and a checkpoint.
    """
    steps = trainer.epochs * ceil(len(train) / trainer.batch_size)
    if steps >= min_steps:
        return train
    texts_needed = ceil(min_steps / trainer.epochs) * trainer.batch_size
    return replace(train, examples=train.examples * ceil(texts_needed / len(train)))


def _weights(predictor: LinearPredictor) -> int:
    return predictor.classifier.coef_.size + np.size(predictor.classifier.intercept_)


def _count(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())
