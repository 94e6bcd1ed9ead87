"""The data sets of a comparison: loading, parts of the training texts, and what forbids a test across two of them."""

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bert_sentiment.config import CompareConfig, DataConfig, PreprocessingConfig
from bert_sentiment.config.compare import DatasetSpec
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.splitting import fold, sample
from bert_sentiment.data.types import SentimentDataset, Splits
from roadmap_shared.config import parsing
from roadmap_shared.config.settings import settings_of
from roadmap_shared.errors import UserError, did_you_mean
from roadmap_shared.offline import sentiment

MIN_PER_LABEL = 2
"""Training texts a label below which a share of the texts is left out: one tells nothing of a label's spread."""

_PREPROCESSING = tuple(settings_of(PreprocessingConfig))
_GIVEN_BY_DATASETS = ("domains", "path", "name")
_HUB_ID = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)?")
_FILE = re.compile(r"\.(?:csv|tsv|jsonl?|parquet|txt)(?:\.gz)?", re.IGNORECASE)


@dataclass(frozen=True)
class NamedSplits:
    """A data set under the name that the user gave it."""

    name: str
    splits: Splits
    own_preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `PreprocessingConfig` in place of the comparison's: {"max_length": 256}."""

    def preprocessing(self, config: CompareConfig) -> PreprocessingConfig:
        """What is done to a text for models that are trained on this data set. They keep it: on the test texts of
        another data set it is the same."""
        return replace(config.preprocessing, **self.own_preprocessing)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, in the order of their indices."""
        return self.splits.labels


def load_data_sets(config: CompareConfig, log: Callable[[str], None] | None = None) -> list[NamedSplits]:
    """Every data set of the comparison, in the order given.

    Raises:
        UserError: a setting of `--dataset_settings` is wrong, or a data set cannot be loaded; its name stands first.
    """
    specs = config.dataset_specs
    settings = read_settings(config.dataset_settings, [spec.name for spec in specs])
    return [_load(spec, settings[spec.name], log) for spec in specs]


def read_settings(items: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """For each data set the texts of its settings: {"mine": {"label_map": ["0=negative", "4=positive"]}}.

    They are those of `DataConfig` and of `PreprocessingConfig`, which have no name in common. What is set for one data
    set goes before what is set for all.

    Raises:
        UserError: an item is not NAME.SETTING=VALUE, or there is no such data set or setting.
    """
    fields = [*(name for name in settings_of(DataConfig) if name not in _GIVEN_BY_DATASETS), *_PREPROCESSING]
    for_all: dict[str, list[str]] = {}
    own: dict[str, dict[str, list[str]]] = {name: {} for name in names}
    for item in items:
        key, equals, value = item.partition("=")
        name, dot, setting = key.rpartition(".")
        if not equals or not setting:
            raise UserError(
                f"--dataset_settings '{item}': write it as NAME.SETTING=VALUE, as in mine.test_path=test.csv"
            )
        if dot and name not in own:
            hint = did_you_mean(name, own) or f"Data sets: {', '.join(own)}."
            raise UserError(f"--dataset_settings '{item}': there is no data set '{name}'. {hint}")
        if setting in _GIVEN_BY_DATASETS:
            raise UserError(f"--dataset_settings '{item}': which texts are read is said by --datasets NAME=SOURCE")
        if setting not in fields:
            hint = did_you_mean(setting, fields) or f"Settings: {', '.join(fields)}."
            raise UserError(f"--dataset_settings '{item}': there is no setting '{setting}'. {hint}")
        try:
            (own[name] if dot else for_all)[setting] = shlex.split(value)
        except ValueError as error:
            raise UserError(f"--dataset_settings '{item}': {error}") from None
    return {name: for_all | settings for name, settings in own.items()}


def _load(spec: DatasetSpec, settings: dict[str, list[str]], log: Callable[[str], None] | None) -> NamedSplits:
    source: dict[str, list[str]]
    if not spec.source:
        source = {"domains": [*sentiment.DOMAINS] if spec.name == "all" else [spec.name]}
    elif is_hub_id(spec.source):
        source = {"name": [spec.source]}
    else:
        source = {"path": [spec.source]}
    texts = {name: value for name, value in settings.items() if name not in _PREPROCESSING} | source
    cleaning = {name: value for name, value in settings.items() if name in _PREPROCESSING}
    try:
        config = _parse(DataConfig, texts, spec.name)
        cleaned = _parse(PreprocessingConfig, cleaning, spec.name)
        splits = load_splits(config, log)
    except UserError as error:
        # The loaders name the flags of `run`.
        message = re.sub(r"--data\.(?=path\b|name\b)", "--datasets: ", str(error))
        message = re.sub(r"--(?:data|preprocessing)\.", f"--dataset_settings {spec.name}.", message)
        raise UserError(f"data set '{spec.name}': {message}") from error
    if not spec.source:
        # A model that is trained on one built-in domain is tested on it; the others are data sets of their own.
        own = splits.test.where(lambda example: example.domain in config.domains)
        splits = replace(splits, test=own)
    return NamedSplits(spec.name, splits, {name: getattr(cleaned, name) for name in cleaning})


def _parse(config_class: type[Any], texts: dict[str, list[str]], name: str) -> Any:
    place = f"--dataset_settings {name}"
    return parsing.parse(config_class, texts, (), prog="", description="", file_name=place)


def is_hub_id(source: str) -> bool:
    """Whether a data set's source is a hub id: there is no such path, and it is not written as one."""
    return not Path(source).exists() and bool(_HUB_ID.fullmatch(source)) and not _FILE.search(source)


def percent(share: float) -> str:
    """A share as a reader writes it: 0.125 is `12.5 %`."""
    return f"{100 * share:.3g} %"


def take_share(train: SentimentDataset, share: float, seed: int) -> SentimentDataset:
    """That share of the training texts, the labels in their proportions. With one seed, the smaller share lies
    within the larger one: a curve over the shares adds texts and exchanges none."""
    return replace(train, examples=sample(train.examples, round(share * len(train)), seed))


def too_small(train: SentimentDataset, share: float, seed: int) -> str | None:
    """Why this share of the training texts is no training part; None when it is one."""
    part = take_share(train, share, seed)
    counts = [part.targets.count(label) for label in range(len(train.labels))]
    if min(counts) >= MIN_PER_LABEL:
        return None
    label = train.labels[counts.index(min(counts))]
    held = "no text" if min(counts) == 0 else f"{min(counts)} text"
    return (
        f"{percent(share)} of the {len(train):,} training texts are {len(part):,}, with {held} of the label '{label}' "
        f"(at least {MIN_PER_LABEL} are needed)"
    )


def why_no_test(trained_on: NamedSplits, tested_on: NamedSplits) -> str | None:
    """Why a model of one data set cannot be tested on another: their labels differ. None when it can."""
    ours, theirs = set(trained_on.labels), set(tested_on.labels)
    parts = [
        f"{data.name} has {', '.join(label for label in data.labels if label not in other)}"
        for data, other in ((trained_on, theirs), (tested_on, ours))
        if not set(data.labels) <= other
    ]
    return f"the labels differ: only {', only '.join(parts)}" if parts else None


def shared_texts(trained_on: NamedSplits, tested_on: NamedSplits) -> int:
    """Test texts of one data set that are among the training or validation texts of another."""
    known = {fold(text) for part in (trained_on.splits.train, trained_on.splits.validation) for text in part.texts}
    return sum(fold(text) in known for text in tested_on.splits.test.texts)


def content_digest(dataset: SentimentDataset) -> str:
    """sha256 over every text with the name of its label, in order, and over the order of the labels."""
    digest = hashlib.sha256(json.dumps(dataset.labels).encode())
    for example in dataset.examples:
        digest.update(json.dumps([example.text, dataset.labels[example.label]]).encode())
    return digest.hexdigest()
