"""From files and folders to three parts with labels."""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bert_sentiment.config import DataConfig, PreprocessingConfig
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.splitting import fold
from bert_sentiment.data.types import Example, Reject, Splits
from bert_sentiment.inference.predictor import unusable
from roadmap_shared.offline import sentiment

from .helpers import loading_error, write_csv

REAL_DATA = os.environ.get("ROADMAP_DATA")


def reviews(n: int = 20, labels: tuple[str, ...] = ("negative", "positive")) -> list[tuple[str, ...]]:
    return [(f"review number {index}", labels[index % len(labels)]) for index in range(n)]


def all_examples(splits: Splits) -> list[Example]:
    return [*splits.train.examples, *splits.validation.examples, *splits.test.examples]


def test_labels_of_built_in_texts_are_mapped_as_those_of_a_file(tmp_path: Path) -> None:
    plain = load_splits(DataConfig())
    mapped = load_splits(DataConfig(label_map=("positive=Good", "negative=Bad")))
    assert mapped.labels == ("Bad", "Good")
    assert [mapped.labels[example.label] for example in mapped.test.examples] == [
        {0: "Bad", 2: "Good"}[example.label] for example in plain.test.examples if example.label != 1
    ]
    assert loading_error(DataConfig(label_map=("postive=Good",)), tmp_path) == (
        "--data.label_map postive=Good: the built-in texts have the labels negative, neutral, positive"
    )


def test_built_in_texts_train_on_some_domains_and_test_on_all() -> None:
    splits = load_splits(DataConfig(domains=("films",), languages=("en", "zh")))
    assert splits.labels == ("negative", "neutral", "positive")
    assert splits.train.domains == splits.validation.domains == ["films"]
    assert set(splits.test.domains) == {"films", "products", "tweets"}
    by_id = {text.id: text for text in sentiment.all_sentiment_texts()}
    for part, split in ((splits.train, "train"), (splits.validation, "validation"), (splits.test, "test")):
        for example in part.examples:
            text = by_id[example.source]
            assert (text.split, text.text, text.domain, text.tags) == (
                split,
                example.text,
                example.domain,
                example.tags,
            )
            assert splits.labels[example.label] == text.label
    assert {by_id[example.source].language for example in splits.test.examples} == {"en", "zh"}


def test_a_csv_file_is_split_and_keeps_its_lines(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", reviews(100))
    splits = load_splits(DataConfig(path=path))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [72, 8, 20]
    for part in (splits.train, splits.validation, splits.test):
        assert Counter(part.targets)[0] * 2 == len(part)
    lines = path.read_text().splitlines()
    for example in all_examples(splits):
        name, _, line = example.source.partition(":")
        assert (name, lines[int(line) - 1]) == ("reviews.csv", f"{example.text},{splits.labels[example.label]}")
    assert splits.train.origin == "reviews.csv"
    assert splits.test.origin == "20% of the training texts of reviews.csv, drawn by seed 1"


def test_the_same_seed_splits_alike_and_another_does_not(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", reviews(100))
    first, again, other = (load_splits(DataConfig(path=path, split_seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert set(first.test.texts) != set(other.test.texts)


def test_rows_that_are_no_examples_are_rejected_with_their_line(tmp_path: Path) -> None:
    bad = [("", "positive"), ("  ", "positive"), ("no label", ""), ("three", "positive", "columns")]
    path = write_csv(tmp_path / "r.csv", [*bad, *reviews()])
    log: list[str] = []
    splits = load_splits(DataConfig(path=path), log.append)
    assert splits.train.rejects == (
        Reject("r.csv:2", "empty text"),
        Reject("r.csv:3", "empty text"),
        Reject("r.csv:4", "no label"),
        Reject("r.csv:5", "2 columns expected, 3 found: put a cell that holds a comma in quotes"),
    )
    assert len(all_examples(splits)) == 20
    assert log == [
        "r.csv: 4 of 24 rows left out (2 × empty text, 1 × no label, 1 × 2 columns expected, 3 found: put a cell that "
        "holds a comma in quotes; the first is r.csv:2)"
    ]


@pytest.mark.parametrize("markup", ["<br>", " <p>\n</p> ", "&nbsp;", "<!-- cut --><br/>&#32;"])
def test_a_text_of_markup_alone_is_rejected_as_when_it_is_labelled(tmp_path: Path, markup: str) -> None:
    kept = [("<3", "positive"), ("<b>bold</b>", "positive"), ("&amp;", "negative")]
    path = write_csv(tmp_path / "r.csv", [*reviews(), *kept, (markup, "positive")])
    splits = load_splits(DataConfig(path=path))
    assert [reject.reason for reject in splits.train.rejects] == ["empty once markup is taken away"]
    assert {text for text, _ in kept} <= {example.text for example in all_examples(splits)}
    assert unusable(markup, PreprocessingConfig()) == "is empty once markup is taken away"


def test_json_cells_of_other_types(tmp_path: Path) -> None:
    rows: list[Any] = [{"text": text, "label": index % 2} for index, (text, _) in enumerate(reviews())]
    rows += [{"text": 5, "label": 1}, {"text": "x", "label": None}, {"label": 1}, {"text": "y", "label": 1.0}]
    rows += [{"text": "z", "label": float("nan")}, {"text": "x" * (2**20 + 1), "label": 1}]
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    splits = load_splits(DataConfig(path=path))
    assert splits.labels == ("0", "1")
    assert splits.train.rejects == (
        Reject("r.jsonl:21", "the text is no string but int"),
        Reject("r.jsonl:22", "no label"),
        Reject("r.jsonl:23", "empty text"),
        Reject("r.jsonl:25", "no label"),
        Reject("r.jsonl:26", "a text above 1,000,000 characters"),
    )
    assert next(example.label for example in all_examples(splits) if example.source == "r.jsonl:24") == 1


def test_columns_and_labels_are_mapped_and_unnamed_labels_rejected(tmp_path: Path) -> None:
    rows = [(f"review {index}", str(index % 5 + 1)) for index in range(50)]
    path = write_csv(tmp_path / "r.csv", rows, ("body", "score"))
    config = DataConfig(
        path=path,
        text_column="body",
        label_column="score",
        label_map=("1=negative", "2=negative", "4=positive", "5=positive"),
    )
    splits = load_splits(config)
    assert splits.labels == ("negative", "positive")
    assert Counter(example.label for example in all_examples(splits)) == {0: 20, 1: 20}
    assert [reject.reason for reject in splits.train.rejects] == ["label '3' is not in --data.label_map"] * 10


def test_a_file_without_header_is_read_by_position(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "r.csv", [(label, text) for text, label in reviews(19)], ("negative", "the first"))
    splits = load_splits(DataConfig(path=path, text_column="2", label_column="1"))
    assert "the first" in [example.text for example in all_examples(splits)]
    assert len(all_examples(splits)) == 20


def test_given_parts_are_taken_and_their_unknown_labels_rejected(tmp_path: Path) -> None:
    config = DataConfig(
        path=write_csv(tmp_path / "a.csv", reviews(20)),
        validation_path=write_csv(tmp_path / "b.csv", [("v", "positive")]),
        test_path=write_csv(tmp_path / "c.csv", [("t", "negative"), ("u", "mixed")]),
    )
    splits = load_splits(config)
    assert len(splits.train) == 20
    assert splits.validation.texts == ["v"]
    assert splits.test.texts == ["t"]
    assert splits.test.rejects == (Reject("c.csv:3", "label 'mixed' does not occur in the training texts"),)


@pytest.mark.parametrize("names", [("train.csv", "dev.csv", "test.csv"), ("train-0.csv", "valid.csv", "test_5k.csv")])
def test_a_folder_with_a_file_for_each_part(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name, n in zip(names, (20, 4, 6), strict=True):
        write_csv(tmp_path / "set" / name, reviews(n))
    (tmp_path / "set" / "README.txt").write_text("what it is")
    splits = load_splits(DataConfig(path=tmp_path / "set"))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [20, 4, 6]


def test_several_training_files_are_one_part(tmp_path: Path) -> None:
    write_csv(tmp_path / "train-00000-of-00002.csv", reviews(20))
    write_csv(tmp_path / "train-00001-of-00002.csv", reviews(10))
    write_csv(tmp_path / "test-00000-of-00001.csv", reviews(4))
    splits = load_splits(DataConfig(path=tmp_path))
    assert len(splits.train) + len(splits.validation) == 30
    assert splits.train.origin == "train-00000-of-00002.csv and 1 more"


def write_class_folders(folder: Path, n: int, classes: tuple[str, ...] = ("neg", "pos")) -> None:
    for label in classes:
        (folder / label).mkdir(parents=True)
        for index in range(n):
            (folder / label / f"{index}_7.txt").write_text(f"{label} review {index}\nof two lines", encoding="utf-8")


def test_acl_imdb_form_with_parts(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", 10, ("neg", "pos", "unsup"))
    write_class_folders(tmp_path / "test", 5)
    (tmp_path / "train" / "pos" / "0_7.txt").write_bytes(b"")
    log: list[str] = []
    splits = load_splits(DataConfig(path=tmp_path), log.append)
    assert splits.labels == ("negative", "positive")
    assert len(splits.train) + len(splits.validation) == 19
    assert splits.train.rejects == (Reject("pos/0_7.txt", "empty text"),)
    assert splits.test.examples[0] == Example("neg review 0\nof two lines", 0, source="neg/0_7.txt")
    assert log[0].endswith("/train/unsup: texts without labels, left out")


def test_class_folders_without_parts_keep_their_names(tmp_path: Path) -> None:
    write_class_folders(tmp_path, 10, ("angry", "happy", "sad"))
    assert load_splits(DataConfig(path=tmp_path)).labels == ("angry", "happy", "sad")


def test_a_label_map_names_the_folders(tmp_path: Path) -> None:
    write_class_folders(tmp_path, 10, ("neg", "pos", "odd"))
    splits = load_splits(DataConfig(path=tmp_path, label_map=("neg=bad", "pos=good")))
    assert splits.labels == ("bad", "good")
    assert len(splits.train.rejects) == 10


@pytest.mark.parametrize(
    ("negative", "positive"),
    [("rt-polarity.neg", "rt-polarity.pos"), ("negative.txt", "positive.txt"), ("yelp_neg_2.txt", "yelp_pos_2.txt")],
)
def test_two_files_one_a_label(tmp_path: Path, negative: str, positive: str) -> None:
    (tmp_path / negative).write_bytes("\n".join(f"caf\xe9 is bad {i}" for i in range(10)).encode("latin-1"))
    (tmp_path / positive).write_text("\n".join(f"good {i}" for i in range(10)) + "\n\n")
    (tmp_path / "impossible_negation.md").write_text("no data")
    splits = load_splits(DataConfig(path=tmp_path))
    assert splits.labels == ("negative", "positive")
    found = {example.source: example for example in all_examples(splits)}
    assert len(found) == 20
    assert found[f"{negative}:3"] == Example("café is bad 2", 0, source=f"{negative}:3")
    assert found[f"{positive}:10"].label == 1


def test_max_examples_limits_each_part(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "r.csv", reviews(200))
    splits = load_splits(DataConfig(path=path, max_examples=10))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [10, 10, 10]
    whole = load_splits(DataConfig(path=path))
    assert set(splits.test.texts) < set(whole.test.texts)
    assert [len(load_splits(DataConfig(max_examples=30)).train)] == [30]


def wrong_files(folder: Path) -> Iterator[tuple[DataConfig, str]]:
    good = write_csv(folder / "good.csv", reviews())
    named = write_csv(folder / "named.csv", [("1", "fine", "x")], ("id", "reveiw", "airline_sentiment"))
    yield (
        DataConfig(path=good, text_column="txt"),
        "DIR/good.csv: has no column 'txt' for --data.text_column. Did you mean 'text'? Its columns are text, label",
    )
    yield (
        DataConfig(path=good, label_column="zzz"),
        "DIR/good.csv: has no column 'zzz' for --data.label_column. Its columns are text, label",
    )
    yield (
        DataConfig(path=good, label_column="text"),
        "DIR/good.csv: column 'text' cannot be both text and label: name the other one",
    )
    yield (
        DataConfig(path=named, text_column="reveiw"),
        "DIR/named.csv: none of its columns is called label, sentiment, polarity, class, rating, stars: name the one "
        "with the label, as in --data.label_column airline_sentiment. Its columns are id, reveiw, airline_sentiment",
    )
    yield (
        DataConfig(path=write_csv(folder / "empty.csv", [("", "a"), ("x", "")])),
        "empty.csv: none of its 2 rows can be used: 2 of 2 rows left out (1 × empty text, 1 × no label; the first is "
        "empty.csv:2). Check the columns and the labels",
    )
    yield DataConfig(path=write_csv(folder / "header.csv", [])), "header.csv: holds no texts"
    yield (
        DataConfig(path=write_csv(folder / "one.csv", [("a", "x"), ("b", "x")])),
        "one.csv: all 2 texts have the label 'x', and two labels are needed: check --data.label_column",
    )
    yield (
        DataConfig(path=good, label_map=("negative=bad",)),
        "good.csv: all 10 texts have the label 'bad', and two labels are needed: check --data.label_column and "
        "--data.label_map; 10 of 20 rows left out (10 × label 'positive' is not in --data.label_map; the first is "
        "good.csv:3)",
    )
    yield (
        DataConfig(path=write_csv(folder / "rare.csv", [*reviews(), ("oops", "postive")])),
        "rare.csv: label 'postive' has fewer than 2 different texts (rare.csv:22). Did you mean 'positive'? Add some, "
        "or leave it out with --data.label_map negative=negative positive=positive",
    )
    yield (
        DataConfig(path=write_csv(folder / "four.csv", reviews(4))),
        "four.csv: 4 texts are too few to hold out a validation part; give each label 3 different texts or more, or "
        "name a file of validation texts with --data.validation_path",
    )
    yield (
        DataConfig(path=write_csv(folder / "free.csv", [(f"t{i}", f"u{i}") for i in range(101)])),
        "free.csv: has 101 different labels, such as 'u0': name the right column with --data.label_column",
    )
    yield (
        DataConfig(path=good, test_path=write_csv(folder / "other.csv", [("a", "5")])),
        "other.csv: none of its 1 rows can be used: 1 of 1 rows left out (1 × label '5' does not occur in the training "
        "texts; the first is other.csv:2). Check the columns and the labels",
    )
    (folder / "half.pos").write_text("x")
    yield (
        DataConfig(path=folder / "half.pos"),
        "DIR/half.pos: is one half of two files: give their folder, --data.path DIR",
    )
    yield (
        DataConfig(path=folder / "goood.csv"),
        "DIR/goood.csv: there is no such file or folder. Did you mean 'good.csv'?",
    )
    write_csv(folder / "mixed" / "a.csv", reviews())
    (folder / "mixed" / "ORIGIN.txt").write_text("whence")
    yield (
        DataConfig(path=folder / "mixed"),
        "DIR/mixed: holds neither one folder a class with .txt files, nor a .pos and a .neg file, nor files called "
        "train and test. Give one of its files, as in --data.path DIR/mixed/a.csv",
    )


def test_a_users_mistake_is_one_line(tmp_path: Path) -> None:
    for config, message in wrong_files(tmp_path):
        assert loading_error(config, tmp_path) == message


@pytest.mark.parametrize(
    ("path", "settings", "labels", "sizes", "n_rejects"),
    [
        ("rt_polarity", {}, ("negative", "positive"), (7678, 852, 2132), 0),
        (
            "airline_tweets/Tweets.csv",
            {"label_column": "airline_sentiment"},
            ("negative", "neutral", "positive"),
            (10541, 1171, 2928),
            0,
        ),
        ("imdb", {"label_map": ("0=negative", "1=positive")}, ("negative", "positive"), (4500, 500, 5000), 0),
        ("zh_chnsenticorp", {"text_column": "text_a"}, ("0", "1"), (9600, 1200, 1200), 0),
        (
            "amazon_alexa/amazon_alexa.tsv",
            {"text_column": "verified_reviews", "label_column": "feedback"},
            ("0", "1"),
            (2210, 246, 615),
            79,
        ),
        ("product_customer_reviews/custrev.all", {}, ("0", "1"), (2716, 301, 754), 4),
    ],
)
@pytest.mark.skipif(REAL_DATA is None, reason="ROADMAP_DATA does not name the folder with the real data sets")
def test_real_data_loads_by_path(
    path: str, settings: dict[str, Any], labels: tuple[str, ...], sizes: tuple[int, ...], n_rejects: int
) -> None:
    splits = load_splits(DataConfig(path=Path(str(REAL_DATA)) / path, **settings))
    assert splits.labels == labels
    assert tuple(len(part) for part in (splits.train, splits.validation, splits.test)) == sizes
    assert len(splits.train.rejects) == n_rejects
    held, trained = set(map(fold, splits.validation.texts)), set(map(fold, splits.train.texts))
    if path not in ("zh_chnsenticorp",):  # whose own parts share texts
        assert not held & trained
    chosen = random.Random(0).choice(splits.train.examples)
    assert chosen.text.strip() == chosen.text
