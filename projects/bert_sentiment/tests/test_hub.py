"""Data sets of the hub, with a stand-in for its library: names of classes, missing parts, and no answer."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import datasets.config
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_sentiment.config import DataConfig
from bert_sentiment.data import hub
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.hub import drawing_order, texts_wanted
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


# --- a part of the rows ---------------------------------------------------------------------------


def read_rows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where each row stands that becomes a text or a reject, in a list that fills as they are read."""
    seen: list[str] = []
    original = hub.labelled

    def labelled(text: Any, label: Any, source: str, names: dict[str, str]) -> Any:
        seen.append(source)
        return original(text, label, source, names)

    monkeypatch.setattr(hub, "labelled", labelled)
    return seen


def test_only_the_drawn_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    n_rows = 20_000
    texts = [f"text {index}" for index in range(n_rows)]
    whole = hub_part(texts, [int(index % 4 == 0) for index in range(n_rows)], ["neg", "pos"])
    fake_hub(monkeypatch, lambda name, subset: {"train": whole, "test": whole, "dev": whole})
    seen = read_rows(monkeypatch)
    splits = load_splits(DataConfig(name="a/b", max_examples=40))
    # The training part leaves 40 to each part, and all three are there.
    assert Counter(source.partition(":")[0] for source in seen) == {"train": 40, "test": 40, "dev": 40}
    for part in (splits.train, splits.validation, splits.test):
        assert Counter(part.targets) == {0: 30, 1: 10}
        rows = [int(example.source.partition(":")[2]) for example in part.examples]
        assert rows == sorted(rows)
        assert max(rows) > n_rows / 2
        assert [example.text for example in part.examples] == [texts[row - 1] for row in rows]
    again = load_splits(DataConfig(name="a/b", max_examples=40))
    assert again.train == splits.train
    assert load_splits(DataConfig(name="a/b", max_examples=40, split_seed=2)).train != splits.train


def test_parts_that_are_missing_are_drawn_from_enough_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    n_rows = 9_000
    whole = hub_part([f"text {index}" for index in range(n_rows)], [0, 1] * (n_rows // 2), ["neg", "pos"])
    fake_hub(monkeypatch, lambda name, subset: {"train": whole})
    seen = read_rows(monkeypatch)
    splits = load_splits(DataConfig(name="a/b", max_examples=50))
    assert len(seen) == 625  # 50 / (0.1 of the 0.8 that the test part leaves)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [50, 50, 50]


def test_rows_that_cannot_be_used_are_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" " if index % 2 else f"text {index}" for index in range(1_000)]
    whole = hub_part(texts, [index // 2 % 2 for index in range(1_000)], ["neg", "pos"])
    fake_hub(monkeypatch, lambda name, subset: {"train": whole, "dev": whole, "test": whole})
    seen = read_rows(monkeypatch)
    splits = load_splits(DataConfig(name="a/b", max_examples=30))
    assert len(splits.train) == 30
    assert 30 < len(splits.train.rejects) + 30 == sum(source.startswith("train:") for source in seen) < 150
    rows = [int(reject.source.partition(":")[2]) for reject in splits.train.rejects]
    assert rows == sorted(rows)


@pytest.mark.parametrize(
    ("others", "wanted"),
    [((), 1250), (("test",), 1000), (("validation",), 500), (("test", "validation"), 100)],
)
def test_the_training_rows_leave_the_limit_for_each_part(others: tuple[str, ...], wanted: int) -> None:
    assert texts_wanted(DataConfig(name="a/b", max_examples=100), others) == wanted
    assert texts_wanted(DataConfig(name="a/b"), others) is None


@given(
    labels=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=200),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=50, deadline=None)
def test_each_beginning_of_the_order_is_a_sample(labels: list[str | None], seed: int) -> None:
    rows = datasets.Dataset.from_dict({"label": labels}, datasets.Features({"label": datasets.Value("string")}))
    order = drawing_order(rows, "label", seed).tolist()
    assert sorted(order) == list(range(len(labels)))
    counts, kinds = Counter(labels), len(set(labels))
    for size in (1, 5, 20, 100):
        drawn = Counter(labels[index] for index in order[:size])
        assert len(drawn) == min(kinds, size, len(labels)) or size >= kinds
        # A label has its share, but for its four first texts and the rounding.
        for label in counts:
            share = min(size, len(labels)) * counts[label] / len(labels)
            assert abs(drawn[label] - share) <= 4 * kinds


def test_labels_of_any_type_are_put_in_order() -> None:
    for labels in ([1, 0, None, 1], [0.5, 1.0, 2.0, 0.5], [True, False, True, None], [["x"], ["y"], [], ["x"]]):
        rows = datasets.Dataset.from_dict({"label": labels})
        assert sorted(drawing_order(rows, "label", 0).tolist()) == [0, 1, 2, 3]
