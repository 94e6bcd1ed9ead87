"""Labelling files with broken records, and files that cannot be labelled at all."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from bert_sentiment.config import DataConfig
from bert_sentiment.data.labelled import pick_columns
from bert_sentiment.inference.files import FileResult
from bert_sentiment.inference.predictor import Predictor
from roadmap_shared.errors import UserError

from .helpers import label_file, labelling_error, said

pytestmark = pytest.mark.usefixtures("small_chunks")


def rejects_of(result: FileResult) -> list[dict[str, object]]:
    assert result.rejects is not None
    return [json.loads(line) for line in result.rejects.read_text(encoding="utf-8").splitlines()]


def test_bad_records_are_rejected_and_the_rest_is_labelled(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text(
        "text,id\n"
        "good,1\n"
        ",2\n"
        "<p>,3\n"
        "one,two,4\n"
        'wrong "quotes" are fine,5\n'
        '"wrong" quotes,6\n'
        '"never closed,7\n'
        "fine,8\n" + "x" * 1_000_001 + ",9\n"
        "last,10\n"
    )
    result = label_file(predictor, source)
    assert rejects_of(result) == [
        {"row": 2, "line": 3, "reason": "is empty"},
        {"row": 3, "line": 4, "reason": "is empty once markup is taken away"},
        {"row": 4, "line": 5, "reason": "2 columns expected, 3 found: put a cell that holds a comma in quotes"},
        {"row": 7, "line": 8, "reason": "a quote that is not closed: close it, or write a quote inside a cell twice"},
        {"row": 9, "line": 10, "reason": "has 1,000,001 characters; at most 1,000,000 are read"},
    ]
    with result.output.open(newline="") as file:
        assert [row[1] for row in csv.reader(file)] == ["id", "1", "5", "6", "8", "10"]
    assert result.rejects == tmp_path / "a.rejects.jsonl"
    assert (result.n_labelled, result.n_rejected) == (5, 5)


def test_a_file_without_records_is_said_to_have_none(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("id,text\n")
    result = label_file(predictor, source)
    assert said == [f"{source}: holds no records, so there is nothing to label and {result.output} has none either"]
    assert result.output.read_text() == "id,text,predicted_label,predicted_probability\n"
    assert (result.n_labelled, result.n_rejected, result.rejects) == (0, 0, None)


def test_rejects_of_an_earlier_run_go(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("good\n<p>\n")
    rejects = label_file(predictor, source).rejects
    assert rejects is not None
    source.write_text("good\nbad\n")
    assert label_file(predictor, source).rejects is None
    assert not rejects.exists()


def test_json_rejects(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    lines = [
        '{"text": "good"}',
        '{"text": "cut of',
        "[1]",
        '{"id": 1}',
        '{"text": null}',
        '{"text": 5}',
        '{"text": "\\ud800"}',
        '{"text": "x", "predicted_label": "y"}',
        "[" * 100_000,
    ]
    # A column that is there already among the first hundred records would be an error of the whole file.
    source.write_text("\n".join(['{"text": "good"}'] * 100 + lines) + "\n")
    reasons = [reject["reason"] for reject in rejects_of(label_file(predictor, source))]
    assert reasons == [
        "broken JSON: Invalid control character at",
        "no JSON object",
        "has no text",
        "has no text",
        "text is 5 and no text",
        "holds a broken character (half of a surrogate pair, or bytes that are not UTF-8)",
        "has predicted_label already",
        "broken JSON",
    ]


def test_ten_megabytes_in_one_cell_cost_one_record(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("text,id\ngood,1\n" + '"' + ("line, of text " * 100 + "\n") * 8_000 + '",2\nbad,3\n')
    result = label_file(predictor, source)
    assert rejects_of(result) == [
        {"row": 2, "line": 3, "reason": "has 11,208,000 characters; at most 1,000,000 are read"}
    ]
    assert result.n_labelled == 2


# --- the file as a whole --------------------------------------------------------------------------


def test_errors_about_the_input(predictor: Predictor, tmp_path: Path) -> None:
    def write(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    absent = tmp_path / "absent.csv"
    assert labelling_error(predictor, absent) == f"--input {absent}: does not exist"
    assert labelling_error(predictor, tmp_path) == f"--input {tmp_path}: is a folder: name a file"
    excel = write("a.xlsx", b"PK\3\4")
    assert labelling_error(predictor, excel) == (
        f"{excel}: ends in '.xlsx'; files that can be labelled end in .csv, .tsv, .jsonl, .txt"
    )
    binary = write("b.csv", b"PK\0\0")
    assert labelling_error(predictor, binary) == (
        f"{binary}: is a zip archive or an Excel workbook, not text: save it as CSV in UTF-8"
    )
    wide = write("c.csv", "\n".encode("utf-16"))
    assert labelling_error(predictor, wide) == f"{wide}: its first line is no header (it is blank)"
    packed = write("c.csv.gz", gzip.compress(b"text\ngood\n" * 99)[:-12])
    assert labelling_error(predictor, packed) == (
        f"{packed}: cannot be read (damaged: Compressed file ended before the end-of-stream marker was reached)"
    )
    empty = write("d.csv", b"\n\n")
    assert labelling_error(predictor, empty) == f"{empty}: is empty: give a file with a text in each row"
    no_json = write("e.jsonl", b"[1]\n")
    assert labelling_error(predictor, no_json) == f"{no_json}: none of its first 100 lines is a JSON object"
    plain = write("f.txt", b"good\n")
    assert labelling_error(predictor, plain, text_column="text") == (
        f"{plain}: has one text a line and no columns: leave --text_column out"
    )
    quote = write("g.csv", b'"text,id\n1,2\n')
    assert labelling_error(predictor, quote) == (
        f"{quote}: its first line is no header (a quote that is not closed: close it, or write a quote inside a cell "
        "twice)"
    )
    assert not list(tmp_path.glob("*.part"))


def test_errors_about_columns(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("Opinion,id\ngood,1\n")
    assert labelling_error(predictor, source) == (
        f"{source}: has no column text, sentence, review, content, tweet or comment. Its columns: Opinion, id. "
        "Name the one with the text with --text_column"
    )
    assert labelling_error(predictor, source, text_column="Opinions") == (
        f"{source}: has no column 'Opinions'. Did you mean 'Opinion'? Its columns: Opinion, id"
    )
    assert (
        labelling_error(predictor, source, text_column="xyz")
        == f"{source}: has no column 'xyz'. Its columns: Opinion, id"
    )
    assert label_file(predictor, source, text_column="Opinion").n_labelled == 1
    labelled = tmp_path / "a.predictions.csv"
    assert labelling_error(predictor, labelled, text_column="Opinion") == (
        f"{labelled}: has a column predicted_label already: rename it, or label the file it was made from"
    )


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (["id", "Text"], "Text"),
        (["REVIEW", "id"], "REVIEW"),
        (["TEXT", "text", "Text"], "text"),
        (["review", "Text"], "Text"),
        (["Review", "comment"], "Review"),
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_the_text_column_is_found_in_upper_and_lower_case(
    predictor: Predictor, tmp_path: Path, ending: str, columns: list[str], chosen: str
) -> None:
    source = tmp_path / f"a{ending}"
    record = {column: "a good film" if column == chosen else "awful" for column in columns}
    if ending == ".csv":
        source.write_text(",".join(record) + "\n" + ",".join(record.values()) + "\n")
    else:
        source.write_text(json.dumps(record) + "\n")
    (expected,) = predictor.predict(["a good film"])
    result = label_file(predictor, source)
    assert result.text_column == chosen
    assert f"{expected.probability:.6f}" in result.output.read_text()
    # A model is trained on the column that is labelled.
    assert pick_columns([*columns, "label"], DataConfig(path=source), "a") == (chosen, "label")


def test_text_columns_that_differ_by_case_alone(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("Text,id,TEXT\ngood,1,bad\n")
    assert labelling_error(predictor, source) == (
        f"{source}: columns Text and TEXT differ by case alone: name the one with the text with --text_column"
    )
    assert label_file(predictor, source, text_column="TEXT").text_column == "TEXT"
    with pytest.raises(UserError) as failure:
        pick_columns(["text", "LABEL", "Label", "lAbel"], DataConfig(path=source), "a.csv")
    assert str(failure.value) == (
        "a.csv: columns LABEL, Label and lAbel differ by case alone: name the one with the label with "
        "--data.label_column"
    )


def test_errors_about_the_output(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("text\ngood\n")
    assert labelling_error(predictor, source, source) == f"--output {source}: is the input: choose another name"
    other = tmp_path / "b.jsonl"
    assert (
        labelling_error(predictor, source, other) == f"--output {other}: must end in .csv, since the input ends in .csv"
    )
    nowhere = tmp_path / "absent" / "b.csv"
    assert labelling_error(predictor, source, nowhere) == (
        f"--output {nowhere}: the folder {tmp_path / 'absent'} does not exist"
    )
    folder = tmp_path / "c.csv"
    folder.mkdir()
    assert labelling_error(predictor, source, folder) == f"--output {folder}: is a folder: name a file"
    rejects = tmp_path / "x.rejects.jsonl"
    rejects.write_text('{"text": "good"}\n')
    output = tmp_path / "x.jsonl"
    assert labelling_error(predictor, rejects, output) == (
        f"--output {output}: its rejects would replace the input {rejects}: choose another name"
    )
