"""Files as streams of rows: encodings, quoting, broken rows and broken files."""

import csv
import gzip
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from bert_sentiment.data import lines as data_lines
from bert_sentiment.data.csv_rows import csv_records, sniff_delimiter
from bert_sentiment.data.encodings import Encoding, detect, examine
from bert_sentiment.data.json_rows import json_array
from bert_sentiment.data.lines import Line, Lines
from bert_sentiment.data.readers import Row, open_table
from roadmap_shared.errors import UserError


def read(path: Path, wanted: Sequence[str | None] = ()) -> tuple[tuple[str, ...], list[Row], list[str]]:
    log: list[str] = []
    with open_table(path, wanted, log.append) as table:
        return table.columns, list(table.rows), log


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error_of(path: Path, wanted: Sequence[str | None] = ()) -> str:
    with pytest.raises(UserError) as caught:
        read(path, wanted)
    return str(caught.value).replace(str(path.parent), "DIR")


@pytest.mark.parametrize(
    ("encoding", "text", "said"),
    [
        ("utf-8", "naïve – 很好 🙂", []),
        ("utf-8-sig", "naïve", []),
        ("utf-16", "naïve 很好", []),
        ("utf-16-be", "\ufeffnaïve", []),
        (
            "latin-1",
            "naïve café",
            ["f.csv: is not UTF-8; read as Latin-1 (Western European). Save it as UTF-8 if wrong"],
        ),
        (
            "cp1252",
            "it’s a “naïve” film",
            ["f.csv: is not UTF-8; read as Windows-1252 (Western European). Save it as UTF-8 if wrong"],
        ),
        (
            "gb18030",
            "房间太小，其他的都一般。早餐不错",
            ["f.csv: is not UTF-8; read as GB18030 (Chinese). Save it as UTF-8 if wrong"],
        ),
    ],
)
def test_the_encoding_is_found_and_said(tmp_path: Path, encoding: str, text: str, said: list[str]) -> None:
    path = write(tmp_path / "f.csv", f"text,label\n{text},1\n".encode(encoding))
    if encoding == "utf-16-be":
        path.write_bytes("\ufefftext,label\nnaïve,1\n".encode(encoding))
        text = "naïve"
    columns, rows, log = read(path)
    assert columns == ("text", "label")
    assert rows == [Row(2, {"text": text, "label": "1"})]
    assert log == said


def test_one_damaged_byte_does_not_turn_utf8_into_latin1(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", b"text,label\n" + "é".encode() * 50 + b"\xff,1\n")
    _, rows, log = read(path)
    assert rows == [Row(2, {"text": "é" * 50 + "�", "label": "1"})]
    assert log == ["f.csv: 1 damaged byte in its UTF-8 is read as �"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_sniffed(tmp_path: Path, delimiter: str) -> None:
    path = write(tmp_path / "f.csv", delimiter.join(["text", "label"]) + "\n" + delimiter.join(["so, so; yes", "1"]))
    if delimiter != "\t":
        path.write_text(f'text{delimiter}label\n"so, so; yes"{delimiter}1\n')
    assert read(path)[1] == [Row(2, {"text": "so, so; yes", "label": "1"})]


def test_a_quoted_header_is_one_column() -> None:
    assert sniff_delimiter('"a;b;c",d') == ","


def test_u_2028_ends_no_line_of_json(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", '{"text": "a\u2028b"}\n{"text": "c"}\n')
    assert read(path)[1] == [Row(1, {"text": "a\u2028b"}), Row(2, {"text": "c"})]


def test_a_number_of_thousands_of_digits_costs_one_record(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", f'{{"text": "a"}}\n{{"n": {"1" * 5000}}}\n{"[" * 100_000}\n')
    assert read(path)[1] == [Row(1, {"text": "a"}), Row(2, {}, "broken JSON"), Row(3, {}, "broken JSON")]


@given(content=st.binary(max_size=60) | st.text(max_size=30).map(str.encode), size=st.integers(1, 7))
def test_utf_8_is_what_python_takes_for_it(content: bytes, size: int) -> None:
    content = b"a" + content.replace(b"\0", b"")
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    found = detect(blocks, Path("f"))
    try:
        content.decode()
    except UnicodeDecodeError:
        assert found != Encoding("utf-8")
    else:
        assert found == Encoding("utf-8")


def test_a_lone_zero_byte_in_a_long_text_is_a_character(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", "text,label\na\0b,1\n" + "good,0\n" * 300)
    assert read(path)[1][0] == Row(2, {"text": "a\0b", "label": "1"})


def test_a_file_is_opened_as_often_as_wanted(tmp_path: Path) -> None:
    content = "naïve\r\ncafé"
    found = examine(write(tmp_path / "f.txt.gz", gzip.compress(content.encode("utf-16"))))
    assert found.sha256 == hashlib.sha256(content.encode("utf-16")).hexdigest()
    assert (found.encoding.has_mark, found.encoding.is_utf8) == (True, False)
    for _ in range(2):
        with found.open() as text:
            assert text.read() == content


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
tables = st.integers(2, 4).flatmap(lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1))


@given(tables, st.sampled_from(",;"))
def test_what_python_writes_is_read_again_with_its_lines(rows: list[list[str]], delimiter: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    found = list(csv_records(Lines(io.StringIO(file.getvalue(), newline="")), delimiter))
    assert [record.cells for record in found] == rows
    lines = list(io.StringIO(file.getvalue(), newline=""))
    for record, row in zip(found, rows, strict=True):
        assert lines[record.line - 1].startswith('"' + re.split("[\r\n]", row[0].replace('"', '""'))[0])


@given(st.text(st.sampled_from('ab,";\t\n\r'), max_size=60), st.sampled_from(",;\t"))
def test_no_file_makes_it_stop_or_lose_a_line(content: str, delimiter: str) -> None:
    lines = list(io.StringIO(content, newline=""))
    numbers = [record.line for record in csv_records(Lines(io.StringIO(content, newline="")), delimiter)]
    assert numbers == sorted(set(numbers))
    assert all(1 <= number <= len(lines) for number in numbers)


def test_an_unclosed_quote_costs_one_row(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", 'text,label\ngood,1\n"never closed,0\nbad,0\nfine,1\n')
    assert read(path)[1] == [
        Row(2, {"text": "good", "label": "1"}),
        Row(3, {}, "a quote that is not closed: close it, or write a quote inside a cell twice"),
        Row(4, {"text": "bad", "label": "0"}),
        Row(5, {"text": "fine", "label": "1"}),
    ]


def test_an_unclosed_quote_before_a_quoted_row_costs_one_row(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", 'text,label\n"never closed,0\n"bad",0\n')
    assert read(path)[1] == [
        Row(2, {}, "a quote that is not closed: close it, or write a quote inside a cell twice"),
        Row(3, {"text": "bad", "label": "0"}),
    ]


def test_bare_quotes_within_a_line_are_text(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", 'text,label\n"he said "no" twice",1\n')
    assert read(path)[1] == [Row(2, {"text": 'he said no" twice"', "label": "1"})]


def test_line_numbers_count_the_lines_of_a_quoted_cell(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", 'text,label\r\n"two\r\nlines",1\r\n\r\nlast,0\r\n')
    assert read(path)[1] == [
        Row(2, {"text": "two\r\nlines", "label": "1"}),
        Row(5, {"text": "last", "label": "0"}),
    ]


@pytest.mark.parametrize(("delimiter", "name"), [(";", "semicolon"), ("\t", "tab")])
def test_the_remedy_names_the_delimiter(tmp_path: Path, delimiter: str, name: str) -> None:
    path = write(tmp_path / "f.csv", f"text{delimiter}label\na{delimiter}1{delimiter}2\n")
    assert read(path)[1] == [Row(2, {}, f"2 columns expected, 3 found: put a cell that holds a {name} in quotes")]


def test_rows_of_another_width_are_problems(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", "text,label\na,1,2\nb\nc,0\n")
    assert read(path)[1] == [
        Row(2, {}, "2 columns expected, 3 found: put a cell that holds a comma in quotes"),
        Row(3, {}, "2 columns expected, 1 found: add the cells that are missing"),
        Row(4, {"text": "c", "label": "0"}),
    ]


def test_a_line_that_does_not_fit_into_memory_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_lines, "MAX_LINE", 50)
    too_long = Row(2, {}, "a line above 16 MB")
    table = write(tmp_path / "f.csv", f"text,label\n{'x' * 200},1\nc,0\n")
    assert read(table)[1] == [too_long, Row(3, {"text": "c", "label": "0"})]
    objects = write(tmp_path / "f.jsonl", f'{{"text": "a"}}\n{{"text": "{"x" * 200}"}}\n{{"text": "b"}}\n')
    assert read(objects)[1] == [Row(1, {"text": "a"}), too_long, Row(3, {"text": "b"})]


def test_a_line_without_end_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_lines, "MAX_LINE", 10)
    lines = list(Lines(io.StringIO("short\n" + "x" * 95 + "\nnext\n" + "y" * 20)))
    assert [(line.number, len(line.text), line.whole) for line in lines] == [
        (1, 6, True),
        (2, 10, False),
        (3, 5, True),
        (4, 10, False),
    ]


def test_lines_that_are_put_back_come_again_in_their_order() -> None:
    lines = Lines(io.StringIO("a\nb\nc\n"))
    first, second = next(lines), next(lines)
    lines.put_back([first, second])
    assert list(lines) == [Line(1, "a\n"), Line(2, "b\n"), Line(3, "c\n")]


def test_two_stray_quotes_do_not_swallow_the_rows_between_them(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", 'text,label\n"opens,0\nbetween,1\ncloses,0"\nfine,1\n')
    assert read(path)[1] == [
        Row(2, {}, "a quote that is not closed: close it, or write a quote inside a cell twice"),
        Row(3, {"text": "between", "label": "1"}),
        Row(4, {"text": "closes", "label": '0"'}),
        Row(5, {"text": "fine", "label": "1"}),
    ]


def test_a_long_cell_in_a_row_of_another_width_is_one_problem(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", 'text,label\n"first line\nsecond, and\nthird line",1,2\nfine,1\n')
    assert read(path)[1] == [
        Row(2, {}, "2 columns expected, 3 found: put a cell that holds a comma in quotes"),
        Row(5, {"text": "fine", "label": "1"}),
    ]


def test_tab_separated_text_may_begin_with_a_quote(tmp_path: Path) -> None:
    content = 'label\ttext\n1\t"so" it begins\n0\t"never closed\n1\tfine\n0\tends "here"\n1\t"a ""quoted"" cell"\n'
    path = write(tmp_path / "f.tsv", content)
    assert [row.cells.get("text") for row in read(path)[1]] == [
        '"so" it begins',
        '"never closed',
        "fine",
        'ends "here"',
        'a "quoted" cell',
    ]


def test_a_tab_separated_cell_that_closes_rows_later_does_not_swallow_them(tmp_path: Path) -> None:
    path = write(tmp_path / "f.tsv", 'label\ttext\n1\t"opens\n0\tin between\n1\tcloses"\n')
    assert [row.cells["text"] for row in read(path)[1]] == ['"opens', "in between", 'closes"']


def test_a_tab_separated_cell_over_two_lines_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "f.tsv", 'label\ttext\n1\t"two\nlines"\n0\tone\n')
    assert read(path)[1] == [
        Row(2, {"label": "1", "text": "two\nlines"}),
        Row(4, {"label": "0", "text": "one"}),
    ]


def test_a_number_as_column_says_that_there_is_no_header(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", '"4","2087","love it"\n"0","2088","hate it"\n')
    columns, rows, _ = read(path, ("3", "1"))
    assert columns == ("1", "2", "3")
    assert rows == [
        Row(1, {"1": "4", "2": "2087", "3": "love it"}),
        Row(2, {"1": "0", "2": "2088", "3": "hate it"}),
    ]


def test_json_lines_go_on_after_a_broken_one(tmp_path: Path) -> None:
    path = write(
        tmp_path / "f.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b", \n[1, 2]\n{"text": "c", "label": 0}\n'
    )
    columns, rows, _ = read(path)
    assert columns == ("text", "label")
    assert rows == [
        Row(1, {"text": "a", "label": 1}),
        Row(3, {}, "broken JSON: Expecting property name enclosed in double quotes"),
        Row(4, {}, "no JSON object"),
        Row(5, {"text": "c", "label": 0}),
    ]


def test_json_array_and_lines_in_a_json_file_are_told_apart(tmp_path: Path) -> None:
    objects = [{"text": "a", "label": 1}, {"text": "b", "label": 0}]
    array = write(tmp_path / "array.json", "\n" + json.dumps(objects, indent=1))
    lines = write(tmp_path / "lines.json", "\n" + "\n".join(map(json.dumps, objects)))
    assert read(array)[1] == [Row(3, objects[0]), Row(7, objects[1])]
    assert read(lines)[1] == [Row(2, objects[0]), Row(3, objects[1])]


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=5) | st.integers(), max_size=3), max_size=6))
def test_a_json_array_is_what_python_reads(objects: list[dict[str, Any]]) -> None:
    for indent in (None, 2):
        text = json.dumps(objects, indent=indent, ensure_ascii=False)
        found = list(json_array(text, Path("f.json")))
        assert [value for _, value in found] == json.loads(text)
        assert all(text.split("\n")[line - 1].lstrip(" [").startswith("{") for line, _ in found)


def test_parquet_rows_have_numbers(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    parquet.write_table(pa.table({"text": ["a", None], "label": [1.0, 0.0]}), path)
    assert read(path) == (
        ("text", "label"),
        [Row(1, {"text": "a", "label": 1.0}), Row(2, {"text": None, "label": 0.0})],
        [],
    )


def test_lines_that_begin_with_a_label(tmp_path: Path) -> None:
    path = write(tmp_path / "f.all", "1 good , really\n\n__label__neg bad\n0\n")
    assert read(path)[1] == [
        Row(1, {"label": "1", "text": "good , really"}),
        Row(3, {"label": "neg", "text": "bad"}),
        Row(4, {"label": "0", "text": ""}),
    ]


def test_gzip_is_unpacked_and_a_cut_archive_named(tmp_path: Path) -> None:
    packed = gzip.compress(("text,label\n" + "good,1\n" * 50).encode())
    assert len(read(write(tmp_path / "f.csv.gz", packed))[1]) == 50
    assert error_of(write(tmp_path / "cut.csv.gz", packed[:-12])) == (
        "DIR/cut.csv.gz: cannot be read (damaged: Compressed file ended before the end-of-stream marker was reached)"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.csv", "", "DIR/f.csv: is empty: give a file with a text in each row"),
        ("f.csv", " \n\n", "DIR/f.csv: is empty: give a file with a text in each row"),
        (
            "f.csv",
            b"PK\x03\x04\0\0",
            "DIR/f.csv: is a zip archive or an Excel workbook, not text: save it as CSV in UTF-8",
        ),
        ("f.tsv", b"\x01\0\x02\0", "DIR/f.tsv: is a binary file, not text: save it as CSV in UTF-8"),
        (
            "f.xlsx",
            "x",
            "DIR/f.xlsx: cannot tell its format by its name: use .csv, .tsv, .jsonl, .json, .parquet (each but the "
            "last also as .gz), or .txt with `label text` a line",
        ),
        (
            "f.csv",
            '"x',
            "DIR/f.csv: its first line is no header (a quote that is not closed: close it, or write a quote inside a "
            "cell twice)",
        ),
        (
            "f.jsonl",
            "oops\n",
            "DIR/f.jsonl: holds no JSON objects (f.jsonl:1: broken JSON: Expecting value): write one a line",
        ),
        ("f.json", "[]", "DIR/f.json: holds no JSON objects (f.json:1: nothing in it): write one a line"),
        (
            "f.json",
            '[{"text": "a"},\n{"text": ]',
            "DIR/f.json: broken JSON at line 2: mend it, or write one object a line (JSONL)",
        ),
        ("f.parquet", "no", "DIR/f.parquet: is no sound Parquet file: copy or write it again"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    assert error_of(write(tmp_path / name, content)) == message


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "reviews.csv", "x")
    assert error_of(tmp_path / "review.csv") == (
        "DIR/review.csv: there is no such file or folder. Did you mean 'reviews.csv'?"
    )
    assert error_of(tmp_path / "zzz.csv") == "DIR/zzz.csv: there is no such file or folder."
