"""What `compare` compares: models and baselines, on data sets, with how much of the training texts."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bert_sentiment.config.data import PreprocessingConfig
from bert_sentiment.config.trainer import TrainerConfig
from roadmap_shared.config import RunConfig, TrackingConfig
from roadmap_shared.errors import did_you_mean

BUILT_IN = ("films", "products", "tweets", "all")
_PLAIN = ("majority", "tfidf", "scratch")
_PRETRAINED = ("frozen", "finetune")
_NAME = re.compile(r"\w[\w-]*")


@dataclass(frozen=True)
class ModelSpec:
    """One model of a comparison: `tfidf`, or `finetune:minilm` with the encoder's name as `source`."""

    kind: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.source}" if self.source else self.kind

    @classmethod
    def parse(cls, text: str) -> "ModelSpec":
        """Read one item of `--models`.

        Raises:
            ValueError: there is no such kind of model, or its encoder is missing.
        """
        kind, colon, source = text.partition(":")
        if (kind in _PLAIN and not colon) or (kind in _PRETRAINED and source):
            return cls(kind, source)
        if kind in _PRETRAINED:
            raise ValueError(f"--models {text}: name the encoder behind it, as in {kind}:minilm")
        if kind in _PLAIN:
            raise ValueError(f"--models {text}: {kind} takes no encoder: leave ':{source}' out")
        hint = did_you_mean(kind, _PRETRAINED if colon else (*_PLAIN, *_PRETRAINED))
        if not hint and not colon:
            hint = f"Did you mean 'finetune:{text}'?"
        raise ValueError(
            f"--models {text}: unknown kind of model '{kind}'. {hint + ' ' if hint else ''}Known: {', '.join(_PLAIN)}, "
            "and frozen:MODEL or finetune:MODEL, where MODEL is minilm, a folder or a hub id"
        )


@dataclass(frozen=True)
class DatasetSpec:
    """One data set of a comparison: a built-in one by its name, or a name with a path or hub id as `source`."""

    name: str
    source: str = ""

    @classmethod
    def parse(cls, text: str) -> "DatasetSpec":
        """Read one item of `--datasets`.

        Raises:
            ValueError: it is neither a built-in name nor NAME=SOURCE.
        """
        name, equals, source = text.partition("=")
        if not equals:
            if text in BUILT_IN:
                return cls(text)
            hint = did_you_mean(text, BUILT_IN)
            raise ValueError(
                f"--datasets {text}: unknown data set. {hint + ' ' if hint else ''}Built in: {', '.join(BUILT_IN)}; "
                "write others as NAME=PATH or NAME=HUB_ID, as in mine=reviews.csv"
            )
        if name in BUILT_IN:
            raise ValueError(f"--datasets {text}: '{name}' is a built-in data set: give yours another name")
        if not _NAME.fullmatch(name) or not source:
            raise ValueError(f"--datasets {text}: write it as NAME=PATH or NAME=HUB_ID, as in mine=reviews.csv")
        return cls(name, source)


@dataclass(kw_only=True, frozen=True)
class ScratchConfig:
    """The model `scratch`: a BERT with random weights and WordPiece tokens learned from the training texts."""

    layers: int = 2
    """Layers of the encoder."""

    width: int = 128
    """Hidden size; the feed-forward layers are four times as wide."""

    heads: int = 4
    """Attention heads of a layer; they divide the width."""

    vocabulary: int = 4000
    """Tokens at most; few texts give fewer."""

    epochs: int = 10
    """Passes over the training texts, in place of --trainer.epochs: there is more to learn than in fine-tuning."""

    learning_rate: float = 1e-3
    """Peak learning rate of all weights, in place of --trainer.learning_rate."""

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"--scratch.{name} {getattr(self, name)} must be at least 1")
        if self.width % self.heads:
            raise ValueError(f"--scratch.width {self.width} is not a multiple of --scratch.heads {self.heads}")
        if self.vocabulary < 100:
            raise ValueError(f"--scratch.vocabulary {self.vocabulary} must be at least 100")
        if not self.learning_rate > 0:
            raise ValueError(f"--scratch.learning_rate {self.learning_rate} must be above 0")


@dataclass(kw_only=True, frozen=True)
class CompareConfig:
    """`compare`: models side by side on data sets. Results are kept, so that one more model costs one more run."""

    models: tuple[str, ...] = ("majority", "tfidf", "scratch", "frozen:minilm", "finetune:minilm")
    """majority: the most frequent label. tfidf: words counted, logistic regression. scratch: a small BERT without
    pretraining. frozen:MODEL: an encoder as it is, logistic regression. finetune:MODEL: fine-tuned. MODEL is minilm, a
    folder or a hub id."""

    datasets: tuple[str, ...] = ("films", "products", "tweets")
    """Built-in films, products, tweets or all of them (all), and others as NAME=PATH or NAME=HUB_ID."""

    dataset_settings: tuple[str, ...] = ()
    """How data sets are read, each as NAME.SETTING=VALUE (without NAME for all of them), with the settings of `run`'s
    section data: 'mine.label_map=0=negative 4=positive' mine.test_path=test.csv max_examples=2000. Those of its section
    preprocessing too, for models that are trained on that data set: mine.max_length=256 mine.truncation=head_tail."""

    cross_domain: bool = True
    """Test each model on every data set, and not only on the one it was trained on."""

    shares: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5)
    """Shares of the training texts for the label-efficiency curve, besides 1: the smaller lie within the larger ones.
    Empty: no curve."""

    min_steps: int = 100
    """Optimiser steps at least of fine-tuning: where few texts give fewer, they are repeated (Mosbach et al. 2021, "On
    the Stability of Fine-tuning BERT", §6)."""

    n_resamples: int = 2000
    """Bootstrap resamples of each interval."""

    cache: Path | None = None
    """Folder that keeps the results. None: <run.root>/bert_sentiment/compared."""

    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    scratch: ScratchConfig = field(default_factory=ScratchConfig)

    def __post_init__(self) -> None:
        _check_list("--models", self.models, ModelSpec.parse, str)
        _check_list("--datasets", self.datasets, DatasetSpec.parse, lambda spec: spec.name)
        for share in self.shares:
            if not 0 < share <= 1:
                raise ValueError(f"--shares {share} must be above 0 and at most 1: 0.25 is a quarter of the texts")
        for name, least in (("min_steps", 0), ("n_resamples", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)} must be at least {least}")

    @property
    def model_specs(self) -> list[ModelSpec]:
        """`models`, taken apart."""
        return [ModelSpec.parse(text) for text in self.models]

    @property
    def dataset_specs(self) -> list[DatasetSpec]:
        """`datasets`, taken apart."""
        return [DatasetSpec.parse(text) for text in self.datasets]


def _check_list(flag: str, items: Sequence[str], parse: Callable[[str], Any], name: Callable[[Any], str]) -> None:
    """Raise for an empty list, an item that cannot be read, or a name that is given twice."""
    if not items:
        raise ValueError(f"{flag} is empty: name at least one")
    seen: set[str] = set()
    for item in items:
        if (key := name(parse(item))) in seen:
            raise ValueError(f"{flag}: '{key}' is given twice")
        seen.add(key)
