"""Texts from every kind of source, and what is said of the ones that cannot be used."""

import json
from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_optimization.config.data import DataConfig
from model_optimization.data import hold_out, load_splits
from model_optimization.data_files import Rows
from roadmap_shared.errors import UserError

ROWS = [
    (f"text number {number} is {'good' if number % 2 else 'bad'}", "pos" if number % 2 else "neg")
    for number in range(40)
]


def refusal(config: DataConfig) -> str:
    with pytest.raises(UserError) as refused:
        load_splits(config)
    return str(refused.value)


def csv_of(path: Path, rows: list[tuple[str, str]], header: str = "text,label") -> Path:
    path.write_text("\n".join([header, *(f'"{text}",{label}' for text, label in rows)]) + "\n", encoding="utf-8")
    return path


def test_built_in_texts() -> None:
    splits = load_splits(DataConfig())
    assert splits.labels == ("negative", "neutral", "positive")
    parts = (splits.train, splits.validation, splits.test)
    assert len(splits.train) > 1000
    assert not set(splits.train.texts) & set(splits.test.texts)
    assert all(set(part.targets) == {0, 1, 2} for part in parts)
    few = load_splits(DataConfig(domains=("tweets",), max_examples=12))
    assert [len(part) for part in (few.train, few.validation, few.test)] == [12, 12, 12]


def test_csv_tsv_jsonl_and_parquet_agree(tmp_path: Path) -> None:
    csv_of(tmp_path / "a.csv", ROWS)
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"label": y, "text": x}) + "\n\n" for x, y in ROWS))
    pyarrow.parquet.write_table(
        pyarrow.table({"text": [x for x, _ in ROWS], "label": [y for _, y in ROWS]}), tmp_path / "a.parquet"
    )
    found = [load_splits(DataConfig(path=tmp_path / f"a.{kind}")) for kind in ("csv", "tsv", "jsonl", "parquet")]
    assert len({one.train.texts for one in found}) == 1
    assert found[0].labels == ("neg", "pos")
    assert [len(part) for part in (found[0].train, found[0].validation, found[0].test)] == [28, 4, 8]
    for part in (found[0].train, found[0].validation, found[0].test):
        assert all(("good" in text) == bool(target) for text, target in zip(part.texts, part.targets, strict=True))


def test_a_folder_of_part_files(tmp_path: Path) -> None:
    csv_of(tmp_path / "train.csv", ROWS[:20])
    csv_of(tmp_path / "dev.csv", ROWS[20:30])
    csv_of(tmp_path / "test.csv", [*ROWS[30:], ("something else", "mixed")])
    splits = load_splits(DataConfig(path=tmp_path))
    assert splits.train.texts == tuple(text for text, _ in ROWS[:20])
    assert (len(splits.validation), len(splits.test)) == (10, 10)
    assert splits.rejected == ("test: label 'mixed' does not occur in the training texts",)


def test_folders_of_labels_and_files_of_lines(tmp_path: Path) -> None:
    for number, (text, label) in enumerate(ROWS):
        (tmp_path / "folders" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "folders" / label / f"{number}.txt").write_text(text)
    (tmp_path / "lines").mkdir()
    for label in ("pos", "neg"):
        lines = "\n".join(text for text, other in ROWS if other == label)
        (tmp_path / "lines" / f"some.{label}").write_text(lines + "\n\n")
    for folder in ("folders", "lines"):
        splits = load_splits(DataConfig(path=tmp_path / folder))
        assert Counter(splits.train.targets.tolist()) == {0: 14, 1: 14}


def test_rows_that_cannot_be_used_are_told_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": x, "label": y}) for x, y in ROWS]
    lines += [
        "{broken",
        "[1]",
        '{"text": "", "label": "pos"}',
        '{"text": "x", "label": null}',
        '{"text": 3, "label": 1}',
    ]
    lines += [json.dumps({"text": "x" * 20_001, "label": "pos"})]
    path.write_text("\n".join(lines))
    splits = load_splits(DataConfig(path=path))
    assert splits.rejected[0].startswith("a.jsonl:41: is no JSON (")
    assert splits.rejected[1:] == (
        "a.jsonl:42: is no JSON object",
        "a.jsonl:43: has no text",
        "a.jsonl:44: has no label",
        "a.jsonl:45: has no text",
        "a.jsonl:46: its text has 20,001 characters, more than 20,000",
    )


class TestRefusals:
    def test_nothing_there(self, tmp_path: Path) -> None:
        assert refusal(DataConfig(path=tmp_path / "none.csv")) == (
            f"--data.path {tmp_path / 'none.csv'}: there is no such file or folder"
        )
        assert refusal(DataConfig(path=tmp_path)).startswith(f"--data.path {tmp_path}: holds neither train.csv")

    def test_another_encoding(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(b"text,label\n" + "".join(f"caf\xe9 {n},{n % 2}\n" for n in range(40)).encode("cp1252"))
        assert refusal(DataConfig(path=path)) == (
            f"--data.path {path}: byte 14 is not utf-8: give --data.encoding, such as cp1252 or gb18030"
        )
        assert load_splits(DataConfig(path=path, encoding="cp1252")).train.texts[0].startswith("café")
        with pytest.raises(ValueError, match=r"--data.encoding klingon is unknown"):
            DataConfig(encoding="klingon")

    def test_a_column_that_is_called_otherwise(self, tmp_path: Path) -> None:
        path = csv_of(tmp_path / "a.csv", ROWS, "texts,label")
        assert refusal(DataConfig(path=path)) == (
            f"--data.path {path}: has no column 'text'. Did you mean 'texts'? Give --data.text_column"
        )

    def test_one_label_or_hundreds(self, tmp_path: Path) -> None:
        one = csv_of(tmp_path / "a.csv", [(text, "pos") for text, _ in ROWS])
        assert refusal(DataConfig(path=one)) == f"{one}: has texts of 1 labels, and a classifier needs two"
        many = csv_of(tmp_path / "b.csv", [(f"text {number}", str(number)) for number in range(101)])
        assert refusal(DataConfig(path=many)) == (
            f"{many}: has 101 different labels, more than 100: is --data.label_column the right one?"
        )

    def test_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "a.docx").write_text("x")
        assert refusal(DataConfig(path=tmp_path / "a.docx")) == (
            f"--data.path {tmp_path / 'a.docx'}: is none of .csv, .tsv, .jsonl, .parquet"
        )
        (tmp_path / "a.parquet").write_text("x")
        assert "is no Parquet file that can be read" in refusal(DataConfig(path=tmp_path / "a.parquet"))

    def test_the_hub_without_a_network(self) -> None:
        message = refusal(DataConfig(name="nobody/no-such-data-set"))
        assert message.startswith("--data.name nobody/no-such-data-set: cannot be had (")
        assert message.endswith("Offline, leave the flag out or give --data.path")

    def test_settings(self) -> None:
        with pytest.raises(ValueError, match=r"--data.test_share 0.9 must be above 0 and below 0.9"):
            DataConfig(test_share=0.9)
        with pytest.raises(ValueError, match=r"--data.path and --data.name exclude each other"):
            DataConfig(path=Path("x"), name="y")


@given(
    rows=st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["x", "y"])), min_size=4, max_size=60),
    share=st.floats(0.05, 0.8),
    seed=st.integers(0, 5),
)
def test_equal_texts_stay_together_and_no_label_is_used_up(
    rows: list[tuple[str, str]], share: float, seed: int
) -> None:
    whole = Rows([text for text, _ in rows], [label for _, label in rows])
    rest, held = hold_out(whole, share, seed)
    assert not set(rest.texts) & set(held.texts)
    assert Counter(zip(rest.texts, rest.labels, strict=True)) + Counter(
        zip(held.texts, held.labels, strict=True)
    ) == Counter(rows)
    owners: dict[str, str] = {}
    for text, label in rows:
        owners.setdefault(text, label)
    assert {owners[text] for text in rest.texts} == set(owners.values())
