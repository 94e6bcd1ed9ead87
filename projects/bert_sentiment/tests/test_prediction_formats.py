"""Labelling files in every format and encoding: what stays as it was, and what is added."""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_sentiment.data.encodings import examine
from bert_sentiment.data.readers import open_table as open_training_table
from bert_sentiment.inference.predictor import Predictor
from bert_sentiment.inference.tables import open_table
from bert_sentiment.models.bert_classifier import SentimentModel

from .helpers import label_file, said

pytestmark = pytest.mark.usefixtures("small_chunks")

TinyModel = Callable[..., SentimentModel]


def expected(predictor: Predictor, text: str) -> list[str]:
    (prediction,) = predictor.predict([text])
    return [prediction.label, f"{prediction.probability:.6f}"]


def test_csv_keeps_all_columns_and_adds_two(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    source.write_text('id,review,"a, b"\n007,good film,"x ""y"""\n008,"awful,\nreally",\n')
    result = label_file(predictor, source)
    assert result.output == tmp_path / "reviews.predictions.csv"
    with result.output.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["id", "review", "a, b", "predicted_label", "predicted_probability"],
        ["007", "good film", 'x "y"', *expected(predictor, "good film")],
        ["008", "awful,\nreally", "", *expected(predictor, "awful,\nreally")],
    ]
    assert (result.n_labelled, result.n_rejected, result.rejects) == (2, 0, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reviews.csv", "reviews.predictions.csv"]
    assert said == []


def test_the_text_of_a_cell_survives_as_it_is(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    cells = ["good 👍🏽\r\nfilm", "  blanks\t", 'quo"te', "e\u0301\u2028x", "=1+1", "好看"]
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "note"], *[[cell, cell] for cell in cells]])
    result = label_file(predictor, source)
    raw = result.output.read_bytes().decode()
    assert [row[:2] for row in csv.reader(io.StringIO(raw, newline=""))][1:] == [[cell, cell] for cell in cells]
    assert raw.startswith("text,note,predicted_label,predicted_probability\r\n"), "line ends are those of the input"


def test_a_byte_order_mark_and_semicolons_stay(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "excel.csv"
    source.write_bytes("\ufefftext;stars\nschön, gut;5\n".encode())
    raw = label_file(predictor, source).output.read_bytes().decode()
    mark, score = expected(predictor, "schön, gut")
    assert raw == f"\ufefftext;stars;predicted_label;predicted_probability\nschön, gut;5;{mark};{score}\n"


def test_tsv_without_quoting_is_read_literally(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.tsv"
    source.write_text('text\tid\n"good" he said\t1\n"never closed\t2\nbad\t3\n"quoted\ttab"\t4\n')
    result = label_file(predictor, source)
    with result.output.open(newline="") as file:
        rows = [row[:2] for row in csv.reader(file, delimiter="\t")][1:]
    assert rows == [['"good" he said', "1"], ['"never closed', "2"], ["bad", "3"], ["quoted\ttab", "4"]]


def test_json_lines_keep_their_characters(predictor: Predictor, tmp_path: Path) -> None:
    lines = ['{"n": 1.10, "text":"good \\u00e9", "big": 1e400, "n": 2 }', "", '{"text": "bad", "deep": {"a": [1]}}']
    source = tmp_path / "a.jsonl"
    source.write_text("\n".join(lines))
    result = label_file(predictor, source)
    first, second = result.output.read_text().splitlines()
    mark, score = expected(predictor, "good é")
    assert first == (
        '{"n": 1.10, "text":"good \\u00e9", "big": 1e400, "n": 2, '
        f'"predicted_label": "{mark}", "predicted_probability": {score}}}'
    )
    assert list(json.loads(second)) == ["text", "deep", "predicted_label", "predicted_probability"]


def test_plain_text_becomes_csv(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text('good, "very"\n\nbad\n')
    result = label_file(predictor, source)
    assert result.output.name == "a.predictions.csv"
    with result.output.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["text", "predicted_label", "predicted_probability"],
            ['good, "very"', *expected(predictor, 'good, "very"')],
            ["bad", *expected(predictor, "bad")],
        ]


def test_unsure_records_are_labelled_unsure_and_counted(tiny_model: TinyModel, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("good\nbad\n")
    result = label_file(Predictor(tiny_model(), unsure_below=0.99), source)
    assert result.counts == {"unsure": 2}
    assert all(",unsure,0." in line for line in result.output.read_text().splitlines()[1:])


ENCODINGS = {
    "utf-8": ("naïve – 很好 🙂", ""),
    "utf-16": ("naïve – 很好 🙂", ""),
    "latin-1": ("naïve café", "is not UTF-8; read as Latin-1 (Western European). Save it as UTF-8 if wrong"),
    "cp1252": (
        "it’s a “naïve” film",
        "is not UTF-8; read as Windows-1252 (Western European). Save it as UTF-8 if wrong",
    ),
    "gb18030": (
        "房间太小，其他的都一般。早餐不错",
        "is not UTF-8; read as GB18030 (Chinese). Save it as UTF-8 if wrong",
    ),
}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".txt", ".csv.gz"])
@pytest.mark.parametrize("encoding", list(ENCODINGS))
def test_what_training_reads_is_labelled(predictor: Predictor, tmp_path: Path, encoding: str, ending: str) -> None:
    text, remark = ENCODINGS[encoding]
    content = {
        ".csv": f"text,id\n{text},1\ngood,2\n",
        ".tsv": f"text\tid\n{text}\t1\ngood\t2\n",
        ".jsonl": f'{{"text": "{text}"}}\n{{"text": "good"}}\n',
        ".txt": f"{text}\ngood\n",
    }[ending.removesuffix(".gz")].encode(encoding)
    source = tmp_path / f"a{ending}"
    source.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    result = label_file(predictor, source)
    suffix = ending.removesuffix(".gz").replace(".txt", ".csv")
    assert (result.output.name, result.n_labelled) == (f"a.predictions{suffix}", 2)
    written = result.output.read_text(encoding="utf-8")
    mark, score = expected(predictor, text)
    assert text in written
    assert score in written.splitlines()[0 if suffix == ".jsonl" else 1]
    assert mark in written
    said_of_input = [f"{source}: {remark}"] if remark else []
    assert said == said_of_input + ([] if encoding == "utf-8" else [f"{result.output}: is written in UTF-8"])


def test_a_mark_is_kept_where_the_encoding_is_not(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.tsv"  # "Unicode text", as Excel calls it
    source.write_bytes("text\tid\r\nnaïve\t1\r\n".encode("utf-16"))
    mark, score = expected(predictor, "naïve")
    assert label_file(predictor, source).output.read_bytes().decode() == (
        f"\ufefftext\tid\tpredicted_label\tpredicted_probability\r\nnaïve\t1\t{mark}\t{score}\r\n"
    )


def test_a_damaged_byte_costs_a_character(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(b"text,id\n" + "é".encode() * 20 + b"\xff,1\n")
    assert "é" * 20 + "�,1," in label_file(predictor, source).output.read_text(encoding="utf-8")
    assert said == [f"{source}: 1 damaged byte in its UTF-8 is read as �"]


def test_a_file_without_header_is_labelled_by_the_number_of_its_column(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text('4,"good, really"\n0,awful\n')
    with label_file(predictor, source, text_column="2").output.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["1", "2", "predicted_label", "predicted_probability"],
            ["4", "good, really", *expected(predictor, "good, really")],
            ["0", "awful", *expected(predictor, "awful")],
        ]


def test_training_and_prediction_take_the_same_rows(predictor: Predictor, tmp_path: Path) -> None:
    """Whatever is wrong with a file, both read the same texts and refuse the same lines for the same reasons."""
    draw = random.Random(5)
    pieces = ["good", "bad, dull", '"quoted"', '"open', 'a "b" c', "", "two\nlines", ",", ";", "\t", "<p>", '""']
    for ending, delimiter in ((".csv", ","), (".csv", ";"), (".tsv", "\t"), (".csv", "\t")):
        rows = [delimiter.join([draw.choice(pieces), str(number)]) for number in range(150)]
        source = tmp_path / f"a{ending}"
        source.write_text(
            delimiter.join(["text", "label"]) + "\n" + "\n".join([*rows, f"a\0b{delimiter}1", "good " * 900])
        )
        with open_training_table(source) as table:
            trained = [(row.line, row.cells.get("text"), row.problem) for row in table.rows]
        predicted = [
            (row.line, None if row.reason else row.text, row.reason) for row in open_table(examine(source), None).rows()
        ]
        assert trained == predicted
        assert {True, False} == {problem is None for _, _, problem in trained}
