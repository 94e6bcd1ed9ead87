"""What a result depends on, as the key under which it is kept.

A key holds all that changes the figures of a fit, and nothing that does not: the weights by their checksum, the texts
by theirs, the settings that this kind of model reads, the seed, and the versions of the libraries at work.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bert_sentiment.comparison.data_sets import NamedSplits, content_digest
from bert_sentiment.comparison.fitting import Fit
from bert_sentiment.config import CompareConfig
from bert_sentiment.models.devices import find_device
from roadmap_shared.offline.encoder import MINILM_SHA256, minilm_folder

RESULTS_VERSION = 2
"""To be raised with every change of this package that changes a fit's figures: what was measured before it no longer
counts."""

_TRAINING = ("torch", "transformers", "tokenizers", "accelerate")
_LIBRARIES = {
    "majority": (),
    "tfidf": ("scikit-learn",),
    "frozen": ("torch", "transformers", "tokenizers", "scikit-learn"),
    "finetune": _TRAINING,
    "scratch": _TRAINING,
}
_NO_WEIGHT = ("threads", "device")
"""Settings of the trainer that change no weight. The device counts by what it turns out to be."""


def fit_key(fit: Fit, config: CompareConfig) -> dict[str, Any]:
    """All that the fitted model depends on, ready for JSON. A name of a data set is not among it, its texts are.

    Raises:
        UserError: the built-in encoder is not installed or damaged.
    """
    kind = fit.model.kind
    key: dict[str, Any] = {
        "results_version": RESULTS_VERSION,
        "kind": kind,
        "train": content_digest(fit.train),
        "validation": content_digest(fit.data.splits.validation),
        "versions": {name: version(name) for name in _LIBRARIES[kind]},
    }
    if kind in ("frozen", "finetune"):
        key["weights"] = weights_digest(fit.model.source)
    if kind in ("frozen", "finetune", "scratch"):
        key["preprocessing"] = asdict(fit.data.preprocessing(config))
        key["device"] = find_device(config.trainer.device).type
    if kind in ("finetune", "scratch"):
        key["seed"] = config.run.seed
        key["min_steps"] = config.min_steps
        key["trainer"] = {name: value for name, value in asdict(config.trainer).items() if name not in _NO_WEIGHT}
    if kind == "scratch":
        key["scratch"] = asdict(config.scratch)
    return key


def result_key(fit: Mapping[str, Any], tested_on: NamedSplits) -> dict[str, Any]:
    """The key of a fitted model's predictions on a data set's test texts."""
    return {**fit, "test": content_digest(tested_on.splits.test)}


def digest(key: Mapping[str, Any]) -> str:
    """sha256 of a key, the same whatever the order of its entries."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def weights_digest(source: str) -> str:
    """What stands for an encoder's weights and tokenizer: a checksum, or the hub's revision."""
    if source == "minilm":
        minilm_folder()  # refuses a copy that is not the published one
        return MINILM_SHA256
    folder = Path(source)
    if not folder.is_dir():
        return f"{source}@{_revision(source)}"
    files = sorted(path for path in folder.iterdir() if path.is_file())
    digests = {path.name: _file_digest(path, path.stat().st_size, path.stat().st_mtime_ns) for path in files}
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


@cache
def _file_digest(path: Path, size: int, mtime_ns: int) -> str:
    """sha256 of a file. Its size and time of change are there for the cache: a changed file is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _revision(hub_id: str) -> str | None:
    """The commit that a hub id stands for; None where it cannot be had, and then neither can the weights."""
    from transformers import AutoConfig

    try:
        return getattr(AutoConfig.from_pretrained(hub_id), "_commit_hash", None)
    except (OSError, ValueError):
        return None
