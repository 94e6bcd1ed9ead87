"""Labelling files: every format, every kind of broken record, and the same bytes after an interruption."""

import csv
import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bert_sentiment.data.encodings import examine
from bert_sentiment.data.readers import open_table as open_training_table
from bert_sentiment.inference import files
from bert_sentiment.inference.files import FileResult, predict_file
from bert_sentiment.inference.predictor import Prediction, Predictor
from bert_sentiment.inference.tables import open_table
from bert_sentiment.models.bert_classifier import SentimentModel
from roadmap_shared.errors import UserError

TinyModel = Callable[..., SentimentModel]
said: list[str] = []  # what the user was told


@pytest.fixture
def predictor(tiny_model: TinyModel) -> Predictor:
    return Predictor(tiny_model())


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK_ROWS", 4)
    said.clear()


def label(predictor: Predictor, source: Path, output: Path | None = None, **options: object) -> FileResult:
    return predict_file(predictor, source, output, say=said.append, **options)  # type: ignore[arg-type]


def rejects_of(result: FileResult) -> list[dict[str, object]]:
    assert result.rejects is not None
    return [json.loads(line) for line in result.rejects.read_text(encoding="utf-8").splitlines()]


def expected(predictor: Predictor, text: str) -> list[str]:
    (prediction,) = predictor.predict([text])
    return [prediction.label, f"{prediction.probability:.6f}"]


# Formats


def test_csv_keeps_all_columns_and_adds_two(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    source.write_text('id,review,"a, b"\n007,good film,"x ""y"""\n008,"awful,\nreally",\n')
    result = label(predictor, source)
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
    result = label(predictor, source)
    raw = result.output.read_bytes().decode()
    assert [row[:2] for row in csv.reader(io.StringIO(raw, newline=""))][1:] == [[cell, cell] for cell in cells]
    assert raw.startswith("text,note,predicted_label,predicted_probability\r\n"), "line ends are those of the input"


def test_a_byte_order_mark_and_semicolons_stay(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "excel.csv"
    source.write_bytes("\ufefftext;stars\nschön, gut;5\n".encode())
    raw = label(predictor, source).output.read_bytes().decode()
    mark, score = expected(predictor, "schön, gut")
    assert raw == f"\ufefftext;stars;predicted_label;predicted_probability\nschön, gut;5;{mark};{score}\n"


def test_tsv_without_quoting_is_read_literally(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.tsv"
    source.write_text('text\tid\n"good" he said\t1\n"never closed\t2\nbad\t3\n"quoted\ttab"\t4\n')
    result = label(predictor, source)
    with result.output.open(newline="") as file:
        rows = [row[:2] for row in csv.reader(file, delimiter="\t")][1:]
    assert rows == [['"good" he said', "1"], ['"never closed', "2"], ["bad", "3"], ["quoted\ttab", "4"]]


def test_json_lines_keep_their_characters(predictor: Predictor, tmp_path: Path) -> None:
    lines = ['{"n": 1.10, "text":"good \\u00e9", "big": 1e400, "n": 2 }', "", '{"text": "bad", "deep": {"a": [1]}}']
    source = tmp_path / "a.jsonl"
    source.write_text("\n".join(lines))
    result = label(predictor, source)
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
    result = label(predictor, source)
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
    result = label(Predictor(tiny_model(), unsure_below=0.99), source)
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
    result = label(predictor, source)
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
    assert label(predictor, source).output.read_bytes().decode() == (
        f"\ufefftext\tid\tpredicted_label\tpredicted_probability\r\nnaïve\t1\t{mark}\t{score}\r\n"
    )


def test_a_damaged_byte_costs_a_character(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(b"text,id\n" + "é".encode() * 20 + b"\xff,1\n")
    assert "é" * 20 + "�,1," in label(predictor, source).output.read_text(encoding="utf-8")
    assert said == [f"{source}: 1 damaged byte in its UTF-8 is read as �"]


def test_a_file_without_header_is_labelled_by_the_number_of_its_column(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text('4,"good, really"\n0,awful\n')
    with label(predictor, source, text_column="2").output.open(newline="") as file:
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


# Broken records


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
    result = label(predictor, source)
    assert rejects_of(result) == [
        {"row": 2, "line": 3, "reason": "is empty"},
        {"row": 3, "line": 4, "reason": "is empty once markup is taken away"},
        {"row": 4, "line": 5, "reason": "2 columns expected, 3 found"},
        {"row": 7, "line": 8, "reason": "a quote that is not closed"},
        {"row": 9, "line": 10, "reason": "has 1,000,001 characters; at most 1,000,000 are read"},
    ]
    with result.output.open(newline="") as file:
        assert [row[1] for row in csv.reader(file)] == ["id", "1", "5", "6", "8", "10"]
    assert result.rejects == tmp_path / "a.rejects.jsonl"
    assert (result.n_labelled, result.n_rejected) == (5, 5)


def test_rejects_of_an_earlier_run_go(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("good\n<p>\n")
    rejects = label(predictor, source).rejects
    assert rejects is not None
    source.write_text("good\nbad\n")
    assert label(predictor, source).rejects is None
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
    reasons = [reject["reason"] for reject in rejects_of(label(predictor, source))]
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
    result = label(predictor, source)
    assert rejects_of(result) == [
        {"row": 2, "line": 3, "reason": "has 11,208,000 characters; at most 1,000,000 are read"}
    ]
    assert result.n_labelled == 2


# The file as a whole


def error(predictor: Predictor, source: Path, output: Path | None = None, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        label(predictor, source, output, **options)
    return str(caught.value)


def test_errors_about_the_input(predictor: Predictor, tmp_path: Path) -> None:
    def write(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    absent = tmp_path / "absent.csv"
    assert error(predictor, absent) == f"--input {absent}: does not exist"
    assert error(predictor, tmp_path) == f"--input {tmp_path}: is a folder: name a file"
    excel = write("a.xlsx", b"PK\3\4")
    assert error(predictor, excel) == (
        f"{excel}: ends in '.xlsx'; files that can be labelled end in .csv, .tsv, .jsonl, .txt"
    )
    binary = write("b.csv", b"PK\0\0")
    assert error(predictor, binary) == (
        f"{binary}: is a zip archive or an Excel workbook, not text: save it as CSV in UTF-8"
    )
    wide = write("c.csv", "\n".encode("utf-16"))
    assert error(predictor, wide) == f"{wide}: its first line is no header (it is blank)"
    packed = write("c.csv.gz", gzip.compress(b"text\ngood\n" * 99)[:-12])
    assert error(predictor, packed) == (
        f"{packed}: cannot be read (damaged: Compressed file ended before the end-of-stream marker was reached)"
    )
    empty = write("d.csv", b"\n\n")
    assert error(predictor, empty) == f"{empty}: is empty: give a file with a text in each row"
    no_json = write("e.jsonl", b"[1]\n")
    assert error(predictor, no_json) == f"{no_json}: none of its first 100 lines is a JSON object"
    plain = write("f.txt", b"good\n")
    assert error(predictor, plain, text_column="text") == (
        f"{plain}: has one text a line and no columns: leave --text_column out"
    )
    quote = write("g.csv", b'"text,id\n1,2\n')
    assert error(predictor, quote) == f"{quote}: its first line is no header (a quote that is not closed)"
    assert not list(tmp_path.glob("*.part"))


def test_errors_about_columns(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("Review,id\ngood,1\n")
    assert error(predictor, source) == (
        f"{source}: has no column text, sentence, review, content, tweet or comment. Its columns: Review, id. "
        "Name the one with the text with --text_column"
    )
    assert error(predictor, source, text_column="Reviews") == (
        f"{source}: has no column 'Reviews'. Did you mean 'Review'? Its columns: Review, id"
    )
    assert error(predictor, source, text_column="xyz") == f"{source}: has no column 'xyz'. Its columns: Review, id"
    assert label(predictor, source, text_column="Review").n_labelled == 1
    labelled = tmp_path / "a.predictions.csv"
    assert error(predictor, labelled, text_column="Review") == (
        f"{labelled}: has a column predicted_label already: rename it, or label the file it was made from"
    )


def test_errors_about_the_output(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("text\ngood\n")
    assert error(predictor, source, source) == f"--output {source}: is the input: choose another name"
    other = tmp_path / "b.jsonl"
    assert error(predictor, source, other) == f"--output {other}: must end in .csv, since the input ends in .csv"
    nowhere = tmp_path / "absent" / "b.csv"
    assert error(predictor, source, nowhere) == (f"--output {nowhere}: the folder {tmp_path / 'absent'} does not exist")
    folder = tmp_path / "c.csv"
    folder.mkdir()
    assert error(predictor, source, folder) == f"--output {folder}: is a folder: name a file"
    rejects = tmp_path / "x.rejects.jsonl"
    rejects.write_text('{"text": "good"}\n')
    output = tmp_path / "x.jsonl"
    assert error(predictor, rejects, output) == (
        f"--output {output}: its rejects would replace the input {rejects}: choose another name"
    )


# Interruptions


@dataclass(frozen=True)
class Interrupted(Predictor):
    """Stops as Ctrl-C does when it meets a text for the given time."""

    calls: tuple[int, ...] = ()
    counter: list[int] = None  # type: ignore[assignment]

    def predict(self, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
        self.counter.append(len(texts))
        if len(self.counter) in self.calls:
            raise KeyboardInterrupt
        return super().predict(texts, batch_size)


def write_reviews(path: Path, n_rows: int = 42) -> Path:
    """Records of any length, some of them broken."""
    draw = random.Random(3)
    words = "the film was not good , awful plot and bright i loved it !".split()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        for number in range(n_rows):
            text = " ".join(draw.choices(words, k=draw.randint(1, 30))) if number % 7 else ""
            writer.writerow([number, text] if number % 10 else [number])
    return path


@pytest.fixture
def whole(predictor: Predictor, tmp_path: Path) -> tuple[bytes, bytes]:
    """Result and rejects of an undisturbed run over `write_reviews`."""
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    result = label(predictor, write_reviews(folder / "a.csv"))
    assert result.rejects is not None
    return result.output.read_bytes(), result.rejects.read_bytes()


def is_whole(result: FileResult, whole: tuple[bytes, bytes]) -> bool:
    assert result.rejects is not None
    return (result.output.read_bytes(), result.rejects.read_bytes()) == whole


@pytest.mark.parametrize("call", [1, 2, 7])
def test_ctrl_c_and_again_gives_the_same_bytes(
    predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes], call: int
) -> None:
    source = write_reviews(tmp_path / "a.csv")
    output = tmp_path / "a.predictions.csv"
    interrupted = Interrupted(predictor.model, calls=(call,), counter=[])
    with pytest.raises(KeyboardInterrupt):
        label(interrupted, source)
    done = 4 * (call - 1)
    assert said.pop() == f"{output}: stopped behind record {done} of 42; the same command continues there"
    assert not output.exists()
    assert output.with_name("a.predictions.csv.part").exists()
    counting = Interrupted(predictor.model, counter=[])
    result = label(counting, source)
    assert is_whole(result, whole)
    assert (result.n_labelled, result.n_rejected) == (32, 10)
    assert len(counting.counter) == 11 - (call - 1), "what was done is not done again"
    assert ([f"{output}: continuing an interrupted run behind record {done}"] if done else []) == said
    assert sorted(path.name for path in tmp_path.glob("a.*")) == ["a.csv", "a.predictions.csv", "a.rejects.jsonl"]


def test_whatever_call_to_the_disk_is_the_last(
    predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        """Nothing catches it, as nothing catches a kill."""

    def dies_at(calls: int) -> Iterator[None]:
        for name in ("fsync", "replace", "unlink"):
            real = getattr(os, name)

            def dying(*arguments: object, real: Callable[..., object] = real, **options: object) -> object:
                nonlocal calls
                calls -= 1
                if calls < 0:
                    raise KilledError
                return real(*arguments, **options)

            monkeypatch.setattr(os, name, dying)
        yield
        monkeypatch.undo()
        monkeypatch.setattr(files, "CHUNK_ROWS", 4)

    for calls in (0, 2, 4, 8, 31, 58, 60, 61, 62, 63):
        folder = tmp_path / str(calls)
        folder.mkdir()
        source = write_reviews(folder / "a.csv")
        dying = dies_at(calls)
        next(dying)
        try:
            label(predictor, source)
        except KilledError:
            pass
        finally:
            next(dying, None)
        assert is_whole(label(predictor, source), whole)


KILLED = """
import os, signal, sys
from pathlib import Path
from bert_sentiment.data.encodings import examine
from bert_sentiment.data.readers import open_table as open_training_table
from bert_sentiment.inference import files
from bert_sentiment.inference.predictor import Predictor

class Killed(Predictor):
    def predict(self, texts, batch_size=32):
        counter.append(texts)
        if len(counter) == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(texts, batch_size)

counter = []
files.CHUNK_ROWS = 4
files.predict_file(Killed.find(sys.argv[1], Path("runs"), "cpu"), Path(sys.argv[2]))
"""


def test_kill_9_and_again_gives_the_same_bytes(
    predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes]
) -> None:
    predictor.model.save(tmp_path / "model")
    source = write_reviews(tmp_path / "a.csv")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "model"), str(source)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.predictions.csv").exists()
    # What the killed process wrote behind its last save is cut off.
    with (tmp_path / "a.predictions.csv.part").open("ab") as part:
        part.write(b"20,half a rec")
    again = Predictor.find(str(tmp_path / "model"), tmp_path, "cpu")
    assert is_whole(label(again, source), whole)
    assert said[-1] == f"{tmp_path / 'a.predictions.csv'}: continuing an interrupted run behind record 20"


def interrupted(predictor: Predictor, source: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        label(Interrupted(predictor.model, predictor.unsure_below, calls=(3,), counter=[]), source)
    said.clear()


def test_restart_begins_anew_without_a_word(predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes]) -> None:
    source = write_reviews(tmp_path / "a.csv")
    interrupted(predictor, source)
    counting = Interrupted(predictor.model, counter=[])
    assert is_whole(label(counting, source, restart=True), whole)
    assert (len(counting.counter), said) == (11, [])


def test_another_batch_size_continues(predictor: Predictor, tmp_path: Path) -> None:
    source = write_reviews(tmp_path / "a.csv")
    interrupted(predictor, source)
    label(predictor, source, batch_size=3)
    assert said == [f"{tmp_path / 'a.predictions.csv'}: continuing an interrupted run behind record 8"]


def test_what_changed_is_said_and_the_work_begins_anew(
    predictor: Predictor, tiny_model: TinyModel, tmp_path: Path
) -> None:
    source = write_reviews(tmp_path / "a.csv")
    start = f"{tmp_path / 'a.predictions.csv'}: "

    interrupted(predictor, source)
    fresh = label(replace(predictor, unsure_below=0.99), source)
    assert [f"{start}--unsure_below changed since the interrupted run: starting from the beginning"] == said
    assert fresh.counts == {"unsure": 32}

    interrupted(predictor, source)
    hotter = Predictor(replace(tiny_model(), temperature=2.0), unsure_below=0.99)
    label(hotter, source)
    assert said == [
        f"{start}--unsure_below and the model changed since the interrupted run: starting from the beginning"
    ]

    interrupted(predictor, source)
    write_reviews(source, 44)
    assert label(predictor, source).n_labelled == 33
    assert said == [f"{start}the input changed since the interrupted run: starting from the beginning"]

    interrupted(predictor, source)
    label(predictor, source, text_column="id")
    assert said == [f"{start}the text column changed since the interrupted run: starting from the beginning"]


def test_a_damaged_state_begins_anew(predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes]) -> None:
    source = write_reviews(tmp_path / "a.csv")
    output = tmp_path / "a.predictions.csv"
    interrupted(predictor, source)
    output.with_name("a.predictions.csv.state.json").write_text("{")
    assert is_whole(label(predictor, source), whole)
    interrupted(predictor, source)
    output.with_name("a.predictions.csv.part").write_text("short")
    assert is_whole(label(predictor, source), whole)
    assert said == [f"{output}: the interrupted run's files are shorter than they were: starting from the beginning"]


def test_two_processes_do_not_mix(predictor: Predictor, tmp_path: Path) -> None:
    source = write_reviews(tmp_path / "a.csv")
    seen: list[str] = []

    @dataclass(frozen=True)
    class Nested(Predictor):
        def predict(self, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
            if not seen:
                seen.append(error(predictor, source))
            return super().predict(texts, batch_size)

    assert label(Nested(predictor.model), source).n_labelled == 32
    output = tmp_path / "a.predictions.csv"
    assert seen == [f"{output}: another process is writing it: wait for it, or choose another --output"]


# Disks


def test_a_full_disk_is_one_line_and_the_work_goes_on_later(
    predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_reviews(tmp_path / "a.csv")
    real, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    output = tmp_path / "a.predictions.csv"
    assert error(predictor, source) == (
        f"{output}: cannot be written (No space left on device). "
        "Free some space and repeat the command: it continues where it stopped"
    )
    monkeypatch.setattr(os, "fsync", real)
    assert is_whole(label(predictor, source), whole)
    assert said == [f"{output}: continuing an interrupted run behind record 16"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB in memory; skipped where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(predictor: Predictor, tmp_path: Path, small_disk: Path) -> None:
    source = write_reviews(tmp_path / "a.csv", 240)
    output = small_disk / "a.csv"
    assert error(predictor, source, output) == (
        f"{output}: cannot be written (No space left on device). "
        "Free some space and repeat the command: it continues where it stopped"
    )
    assert not output.exists()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    result = label(predictor, source, output)
    assert output.read_bytes() == label(predictor, source).output.read_bytes()
    assert result.n_labelled + result.n_rejected == 240
    assert "continuing an interrupted run behind record" in said[0]


def test_a_folder_that_cannot_be_written(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_reviews(tmp_path / "a.csv")
    real = Path.open

    def refused(self: Path, mode: str = "r", *arguments: object, **options: object) -> object:
        if "a" in mode:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, mode, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refused)
    assert error(predictor, source) == (
        f"{tmp_path / 'a.predictions.csv'}: cannot be written (Permission denied). Write elsewhere with --output FILE"
    )


def test_progress_counts_from_where_it_continues(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_reviews(tmp_path / "a.csv")
    interrupted(predictor, source)
    capsys.readouterr()
    label(predictor, source)
    assert capsys.readouterr().err.startswith("labelling: 42/42 text (100%)")
