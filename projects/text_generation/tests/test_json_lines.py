"""JSON lines: what is appended is read back, by whomever it was appended, and a bad line spoils itself alone."""

import errno
import fcntl
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from text_generation.json_lines import (
    BrokenJsonError,
    Reject,
    append_line,
    cut_torn_line,
    has_half_pair,
    json_lines,
    parsed,
    read_text,
)

RECORDS = st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.lists(st.text())), max_size=5)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(RECORDS)
def test_what_is_appended_is_read_back(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("lines") / "deep" / "a.jsonl"
    for record in records:
        append_line(path, record)
    assert list(json_lines(read_text(path) if records else "")) == list(enumerate(records, start=1))


def test_many_writers_may_append(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "votes.jsonl"
    threads = [threading.Thread(target=append_line, args=(path, {"n": n})) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(json.loads(line)["n"] for line in path.read_text("utf-8").splitlines()) == list(range(20))


def test_a_torn_line_is_ended_or_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert cut_torn_line(path) == b""
    path.write_bytes(b'{"a": 1}\n{"a": 2')
    append_line(path, {"a": 3})
    assert path.read_bytes() == b'{"a": 1}\n{"a": 2\n{"a": 3}\n'
    path.write_bytes(b'{"a": 1}\n{"a": 2')
    assert cut_torn_line(path) == path.read_bytes() == b'{"a": 1}\n'
    assert cut_torn_line(path) == b'{"a": 1}\n'


def test_a_file_system_without_locks_takes_lines_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    append_line(tmp_path / "a.jsonl", {"a": 1})
    assert cut_torn_line(tmp_path / "a.jsonl") == b'{"a": 1}\n'


@pytest.mark.parametrize(
    ("line", "problem", "column"),
    [
        ('{"a": ', "Expecting value", 7),
        ("{} {}", "Extra data", 4),
        ("[" * 100_000, "nested too deeply", None),
        ('{"a": ' + "9" * 5000 + "}", "a number with too many digits", None),
        (b'{"a": "\xff"}', "not UTF-8", None),
    ],
)
def test_what_is_no_json(line: str | bytes, problem: str, column: int | None) -> None:
    with pytest.raises(BrokenJsonError) as caught:
        parsed(line)
    assert (str(caught.value), caught.value.problem, caught.value.column) == (problem, problem, column)


def test_lines_that_hold_no_object_are_told_and_the_rest_goes_on() -> None:
    bad = ["{", "[1]", '{"a": "\\ud83d"}', '{"a": [{"\\ude00": 1}]}', "9" * 5000]
    text = "\n".join(['{"a": "\u2028"}', "", *bad, '{"a": "\\ud83d\\ude00"}', " "])
    pair = "half of a surrogate pair, which has no UTF-8 form"
    assert list(json_lines(text)) == [
        (1, {"a": "\u2028"}),
        (3, "broken JSON (Expecting property name enclosed in double quotes)"),
        (4, "no JSON object"),
        (5, pair),
        (6, pair),
        (7, "broken JSON (a number with too many digits)"),
        (8, {"a": "😀"}),
    ]


def test_half_a_pair_is_found_however_deep() -> None:
    value: Any = "\ud83d"
    for _ in range(100_000):
        value = [value]
    assert has_half_pair(value)
    assert not has_half_pair([{"a": ["😀", 1, None, True, 0.5]}])


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_text(tmp_path / "none.jsonl")
    assert str(caught.value) == f"{tmp_path / 'none.jsonl'}: cannot be read (No such file or directory)"
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa\xffb")
    assert read_text(tmp_path / "a") == "a\ufffdb"


def test_a_reject_names_its_line() -> None:
    assert str(Reject(Path("a.jsonl"), 3, "bad")) == "a.jsonl:3: bad"
