"""Data sets of the hub, with a stand-in for its library: names of classes, missing parts, and no answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from bert_sentiment.config import DataConfig
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.types import Example, Reject

from .helpers import loading_error


def fake_hub(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    monkeypatch.setattr(datasets, "load_dataset", answer)


def hub_part(texts: list[str], labels: list[int], names: list[str]) -> datasets.Dataset:
    features = datasets.Features(
        {"id": datasets.Value("int64"), "sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    return datasets.Dataset.from_dict({"id": [0] * len(texts), "sentence": texts, "label": labels}, features)


def test_hub_data_has_the_names_of_its_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def answer(name: str, subset: str | None) -> dict[str, datasets.Dataset]:
        asked.append((name, subset))
        texts = [f"text {index}" for index in range(20)]
        return {
            "train": hub_part(texts, [0, 1] * 10, ["pos", "neg"]),
            "test": hub_part(["hidden"], [-1], ["pos", "neg"]),
            "validation": hub_part(["v", " "], [1, 0], ["pos", "neg"]),
        }

    fake_hub(monkeypatch, answer)
    log: list[str] = []
    splits = load_splits(DataConfig(name="glue", subset="sst2"), log.append)
    assert asked == [("glue", "sst2")]
    assert splits.labels == ("neg", "pos")
    assert splits.validation.examples == (Example("v", 0, source="validation:1"),)
    assert splits.validation.rejects == (Reject("validation:2", "empty text"),)
    assert len(splits.train) + len(splits.test) == 20
    assert log[0] == "glue (test): has no labels, left out"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ConnectionError("long\nstory"),
            "--data.name a/b: the hub does not answer or has no such data set. Offline, leave out --data.name for the "
            "built-in texts, or give a file with --data.path",
        ),
        (
            ValueError("Config name is missing.\nPlease pick one among ['x', 'y']."),
            "--data.name a/b: Config name is missing. Please pick one among ['x', 'y']. Name one with --data.subset",
        ),
        (
            RuntimeError("scripts are no longer supported"),
            "--data.name a/b: cannot be loaded: scripts are no longer supported. Offline, leave out --data.name for "
            "the built-in texts, or give a file with --data.path",
        ),
    ],
)
def test_a_hub_that_gives_nothing_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, message: str
) -> None:
    def answer(name: str, subset: str | None) -> None:
        raise error

    fake_hub(monkeypatch, answer)
    assert loading_error(DataConfig(name="a/b"), tmp_path) == message


def test_the_real_library_offline_names_the_offline_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    assert loading_error(DataConfig(name="stanfordnlp/imdb"), tmp_path) == (
        "--data.name stanfordnlp/imdb: the hub does not answer or has no such data set. Offline, leave out --data.name "
        "for the built-in texts, or give a file with --data.path"
    )


def test_a_hub_data_set_without_training_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_hub(monkeypatch, lambda name, subset: {"test": hub_part(["a"], [0], ["x"])})
    assert loading_error(DataConfig(name="a/b"), tmp_path) == (
        "--data.name a/b: has no part 'train' but test: choose another data set"
    )
