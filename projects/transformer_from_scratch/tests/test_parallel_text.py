"""Sentence pairs from files: what is read, what is left out and said, what is refused."""

import gzip
from pathlib import Path

import pytest

from roadmap_shared.errors import UserError
from transformer_from_scratch.config import ParallelTextConfig
from transformer_from_scratch.parallel_text import load_parallel_text, read_pairs


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def message(*files: Path | None) -> str:
    with pytest.raises(UserError) as caught:
        read_pairs(*files)
    return str(caught.value)


def test_two_columns(tmp_path: Path) -> None:
    text = "\ufeffHello.\tHallo.\tCC-BY\tmore\r\nGood night. \t Gute Nacht.\r\n"
    assert read_pairs(written(tmp_path / "a.tsv", text), None, None) == [
        ("Hello.", "Hallo."),
        ("Good night.", "Gute Nacht."),
    ]


def test_aligned_files_plain_and_gzipped(tmp_path: Path) -> None:
    # U+2028 and a form feed end a line for str.splitlines, and would shift all that follows.
    source = written(tmp_path / "a.en.gz", gzip.compress("one\u2028more\ntwo\x0c2\nthree".encode()))
    target = written(tmp_path / "a.de", "eins\nzwei\ndrei\n")
    assert read_pairs(None, source, target) == [("one\u2028more", "eins"), ("two\x0c2", "zwei"), ("three", "drei")]


def test_aligned_files_are_split_as_the_same_pairs_in_two_columns(tmp_path: Path) -> None:
    columns = numbered(tmp_path, "a.tsv", range(100))
    rows = [line.split("\t") for line in columns.read_text().splitlines()]
    source = written(tmp_path / "a.en", "\n".join(row[0] for row in rows))
    target = written(tmp_path / "a.de", "\n".join(row[1] for row in rows))
    a = load_parallel_text(ParallelTextConfig(path=columns), seed=3)
    b = load_parallel_text(ParallelTextConfig(source=source, target=target), seed=3)
    assert (a.train, a.validation, a.test) == (b.train, b.validation, b.test)
    assert (a.origin, b.origin) == ("a.tsv", "a.en and a.de")


def test_pairs_with_an_empty_side_are_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "a.tsv", "one\teins\n\ntwo\t\n\tdrei\nfour\tvier\n")
    assert read_pairs(path, None, None) == [("one", "eins"), ("four", "vier")]
    assert capsys.readouterr().err == f"{path}: 3 of 5 pairs are empty on one side and left out\n"


def test_nothing_is_said_when_nothing_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_pairs(written(tmp_path / "a.tsv", "one\teins\n"), None, None)
    assert capsys.readouterr().err == ""


def test_only_empty_sides(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "one\t\n\teins\n")
    assert message(path, None, None) == f"{path}: no sentence pair in it: every line is empty on one side"


def test_a_row_without_a_tab(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "one\teins\n\ntwo zwei\n")
    assert message(path, None, None) == f"{path}, line 3: no TAB between source and target: 'two zwei'"


def test_different_numbers_of_lines(tmp_path: Path) -> None:
    source, target = written(tmp_path / "a.en", "one\ntwo\nthree\n"), written(tmp_path / "a.de", "eins\nzwei\n")
    assert message(None, source, target) == (
        f"{source} has 3 lines, but {target} has 2: line n of one must translate line n of the other"
    )


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.tsv"
    assert message(path, None, None) == f"{path}: cannot be read (No such file or directory)"


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "one\tgrün\n".encode("latin1"))
    assert "not UTF-8 (byte 0xfc at offset 6)" in message(path, None, None)


def test_a_damaged_gzip_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv.gz", gzip.compress(b"one\teins\n" * 50)[:-12])
    assert f"{path}: damaged gzip file" in message(path, None, None)


def test_an_empty_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "\n \n")
    assert message(path, None, None).startswith(f"{path}: empty")


def test_no_file_at_all() -> None:
    with pytest.raises(UserError, match=r"^which sentences\? Give a two-column file \(source TAB target\) with --data"):
        load_parallel_text(ParallelTextConfig(), seed=0)


def numbered(tmp_path: Path, name: str, numbers: range) -> Path:
    return written(tmp_path / name, "".join(f"word {n}\tWort {n}\n" for n in numbers))


def test_held_out_parts_share_no_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "a.tsv", "".join(f"word {n % 50}\tWort {n}\n" for n in range(200)))
    config = ParallelTextConfig(path=path, validation_share=0.1, test_share=0.2)
    pairs = load_parallel_text(config, seed=1)
    assert [len(part) for part in (pairs.train, pairs.validation, pairs.test)] == [140, 20, 40]
    sources = [{source for source, _ in part} for part in (pairs.train, pairs.validation, pairs.test)]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 50
    assert pairs == load_parallel_text(config, seed=1)
    assert pairs != load_parallel_text(config, seed=2)
    assert capsys.readouterr().err == ""


def test_test_files_of_their_own_leave_the_training_pairs_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ParallelTextConfig(
        path=numbered(tmp_path, "train.tsv", range(100)),
        validation_path=numbered(tmp_path, "val.tsv", range(200, 210)),
        test_source=written(tmp_path / "test.en", "word 5\nword 300\n"),
        test_target=written(tmp_path / "test.de", "Wort 5\nWort 300\n"),
    )
    pairs = load_parallel_text(config, seed=1)
    assert pairs.train == [(f"word {n}", f"Wort {n}") for n in range(100)]
    assert pairs.validation == [(f"word {n}", f"Wort {n}") for n in range(200, 210)]
    assert pairs.test == [("word 5", "Wort 5"), ("word 300", "Wort 300")]
    assert capsys.readouterr().err == "1 of 2 test sentences also stand among the training sentences\n"


def test_only_the_missing_part_is_held_out(tmp_path: Path) -> None:
    config = ParallelTextConfig(
        path=numbered(tmp_path, "train.tsv", range(100)), test_path=numbered(tmp_path, "test.tsv", range(200, 203))
    )
    pairs = load_parallel_text(config, seed=1)
    assert [len(part) for part in (pairs.train, pairs.validation, pairs.test)] == [98, 2, 3]


def test_too_few_pairs(tmp_path: Path) -> None:
    config = ParallelTextConfig(path=numbered(tmp_path, "train.tsv", range(2)))
    with pytest.raises(
        UserError, match=r"^2 different source sentences are too few to train on and to hold out 2 parts"
    ):
        load_parallel_text(config, seed=1)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"path": "a.tsv", "source": "a.en", "target": "a.de"},
            "--data.path and --data.source/--data.target exclude each other",
        ),
        ({"source": "a.en"}, "--data.source and --data.target go together: give target too"),
        ({"test_target": "a.de"}, "--data.test_source and --data.test_target go together: give source too"),
        ({"validation_share": 0.0}, "--data.validation_share 0.0 must be above 0 and below 0.5"),
        ({"test_share": 0.5}, "--data.test_share 0.5 must be above 0 and below 0.5"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, str | float], expected: str) -> None:
    paths = {name: Path(value) if isinstance(value, str) else value for name, value in settings.items()}
    with pytest.raises(ValueError, match=expected):
        ParallelTextConfig(**paths)  # type: ignore[arg-type]
