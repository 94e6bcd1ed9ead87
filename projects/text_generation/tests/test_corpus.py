"""Corpora: built in, from files of every kind, from folders and from the hub, and how a part is held out."""

import gzip
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from roadmap_shared.errors import UserError
from text_generation.config.data import CorpusConfig, TokenizerConfig
from text_generation.corpora.loaders import load_corpus
from text_generation.corpora.splitting import hash_fraction, split_documents, text_group
from text_generation.corpora.stories.fields import parse_document
from text_generation.corpora.story_checker import check_story
from text_generation.corpora.types import Corpus, Document, texts_of


def _all_texts(corpus: Corpus) -> list[str]:
    return sorted(texts_of(corpus.train + corpus.validation))


def _error(config: CorpusConfig) -> str:
    with pytest.raises(UserError) as error:
        load_corpus(config)
    return str(error.value)


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"path": Path("a"), "name": "b"},
            "--data.path and --data.name exclude each other: give one of them",
        ),
        ({"sources": ()}, "--data.sources needs at least one of stories, functions"),
        ({"stories": 3}, "--data.stories 3 must be at least 20"),
        (
            {"min_function_characters": 500, "max_function_characters": 400},
            "--data.min_function_characters 500 must be above 0 and below --data.max_function_characters 400",
        ),
        ({"separator": "\n"}, "--data.separator is blank: it would cut every text into words"),
        ({"max_documents": 1}, "--data.max_documents 1 must be at least 2"),
        ({"validation_share": 1.0}, "--data.validation_share 1.0 must be above 0 and below 0.9"),
        ({"split_seed": -1}, "--data.split_seed -1 is outside 0 … 4294967295"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        CorpusConfig(**settings)
    assert str(error.value) == message


def test_tokenizer_settings_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^--tokenizer.vocabulary 10 must be at least 300$"):
        TokenizerConfig(vocabulary=10)
    with pytest.raises(ValueError, match=r"^--tokenizer.min_frequency 0 must be at least 1$"):
        TokenizerConfig(min_frequency=0)


# Built in


@pytest.fixture(scope="module")
def built_in() -> Corpus:
    return load_corpus(CorpusConfig(stories=400))


def test_built_in_corpus(built_in: Corpus) -> None:
    assert built_in.kinds == ("story", "function")
    assert len([d for d in built_in.train + built_in.validation if d.kind == "story"]) == 400
    for document in built_in.validation:
        if document.kind == "story":
            fields, story = parse_document(document.text)
            assert check_story(story, fields).passed
    # Mixed: both kinds among any fifty documents.
    assert {document.kind for document in built_in.train[:50]} == {"story", "function"}
    assert built_in.origin.startswith("400 stories that a grammar wrote by seed 1. ")
    assert "documented functions of the standard library of CPython" in built_in.origin


def test_no_group_is_on_both_sides(built_in: Corpus) -> None:
    train, validation = ({document.group for document in part} for part in (built_in.train, built_in.validation))
    assert train
    assert validation
    assert not train & validation


def test_the_same_settings_give_the_same_corpus() -> None:
    config = CorpusConfig(sources=("stories",), stories=60)
    assert load_corpus(config) == load_corpus(config)
    assert load_corpus(config) != load_corpus(CorpusConfig(sources=("stories",), stories=60, split_seed=2))
    assert load_corpus(config).kinds == ("story",)


# Files


def test_text_file_with_separators(tmp_path: Path) -> None:
    path = tmp_path / "stories.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\nmore\n<|endoftext|>\n\ntwo\n<|endoftext|>three<|endoftext|>\n")
    said: list[str] = []
    corpus = load_corpus(CorpusConfig(path=path), said.append)
    assert _all_texts(corpus) == ["one\nmore\n", "three\n", "two\n"]
    assert {d.text: d.source for d in corpus.train + corpus.validation} == {
        "one\nmore\n": "stories.txt:1",
        "two\n": "stories.txt:5",
        "three\n": "stories.txt:6",
    }
    assert corpus.kinds == ("text",)
    assert len(said) == 1
    assert said[0].startswith("3 documents of stories.txt. ")


def test_separator_of_ones_own_and_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.md.gz"
    path.write_bytes(gzip.compress("eins\n---\nzwei ä".encode()))
    assert _all_texts(load_corpus(CorpusConfig(path=path, separator="---"))) == ["eins\n", "zwei ä\n"]


def test_one_long_document_is_cut_at_a_line(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    corpus = load_corpus(CorpusConfig(path=path, validation_share=0.25))
    (train,), (validation,) = corpus.train, corpus.validation
    assert train.text + validation.text == path.read_text()
    assert train.text.endswith("\n")
    assert len(validation.text) / len(path.read_text()) == pytest.approx(0.25, abs=0.02)


def test_jsonl_names_the_lines_that_it_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ['{"text": "one"}', "{broken", "[1]", '{"text": 7}', "", '{"text": " "}', '{"text": "\\ud800"}']
    path.write_text("\n".join([*lines, '{"text": "two"}', '{"other": 1}']))
    said: list[str] = []
    corpus = load_corpus(CorpusConfig(path=path), said.append)
    assert _all_texts(corpus) == ["one\n", "two\n"]
    assert [(reject.source, reject.reason) for reject in corpus.rejects] == [
        ("a.jsonl:2", "no JSON (expecting property name enclosed in double quotes at column 2)"),
        ("a.jsonl:3", "no JSON object"),
        ("a.jsonl:4", "no text in 'text'"),
        ("a.jsonl:6", "no text"),
        ("a.jsonl:7", "holds half of a surrogate pair, which no UTF-8 text can"),
        ("a.jsonl:9", "no text in 'text'"),
    ]
    assert said[0] == (
        f"{path}: 6 rows left out: a.jsonl:2 (no JSON (expecting property name enclosed in double quotes at column "
        "2)), a.jsonl:3 (no JSON object), a.jsonl:4 (no text in 'text') and 3 more"
    )


def test_json_that_python_does_not_take_is_left_out_too(tmp_path: Path) -> None:
    """Python reads no integer of more than 4,300 digits, and no deep nesting."""
    bad = {"9" * 5000: "a number with too many digits", "[" * 100_000: "nested too deeply"}
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(['{"text": "one"}', *bad, '{"text": "two"}']))
    assert [(reject.source, reject.reason) for reject in load_corpus(CorpusConfig(path=path)).rejects] == [
        ("a.jsonl:2", "no JSON (a number with too many digits)"),
        ("a.jsonl:3", "no JSON (nested too deeply)"),
    ]
    for value, problem in bad.items():
        path = tmp_path / "a.json"
        path.write_text(f"[{value}]")
        assert _error(CorpusConfig(path=path)) == f"{path}: is no sound JSON ({problem}): mend it or write it again"


def test_columns(tmp_path: Path) -> None:
    path = tmp_path / "mbpp.json"
    path.write_text(json.dumps([{"prompt": "p1", "code": "c1"}, {"prompt": "p2", "code": "c2"}]))
    assert _all_texts(load_corpus(CorpusConfig(path=path))) == ["c1\n", "c2\n"]
    assert _all_texts(load_corpus(CorpusConfig(path=path, text_column="prompt"))) == ["p1\n", "p2\n"]
    assert _error(CorpusConfig(path=path, text_column="promt")) == (
        "mbpp.json: has no column 'promt'. Did you mean 'prompt'?"
    )
    path.write_text('[{"a": 1, "b": 2}]')
    assert _error(CorpusConfig(path=path)) == (
        "mbpp.json: which column holds the text? Name one of a, b with --data.text_column"
    )


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"content": ["one", None, "two"]}), path)
    corpus = load_corpus(CorpusConfig(path=path))
    assert _all_texts(corpus) == ["one\n", "two\n"]
    assert [reject.source for reject in corpus.rejects] == ["a.parquet:2"]


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "sub" / "b.txt").write_text("one<|endoftext|>two")
    (tmp_path / "c.md").write_bytes(b"caf\xe9")
    (tmp_path / "d.txt").write_text("")
    (tmp_path / "e.bin").write_text("no")
    (tmp_path / ".git" / "f.txt").write_text("no")
    corpus = load_corpus(CorpusConfig(path=tmp_path))
    assert _all_texts(corpus) == ["one\n", "two\n", "x = 1\n"]
    assert [(reject.source, reject.reason) for reject in corpus.rejects] == [
        (
            "c.md",
            "is not UTF-8 (byte 0xe9 on line 1): convert it first, for example with iconv -f latin1 -t utf-8",
        ),
        ("d.txt", "is empty: there is no text in it"),
    ]


def test_max_documents_takes_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"t{number}"}) for number in range(9)))
    assert _all_texts(load_corpus(CorpusConfig(path=path, max_documents=2))) == ["t0\n", "t1\n"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"", "is empty: there is no text in it"),
        ("a.txt", b"<|endoftext|>\n<|endoftext|>", "holds no document that can be used"),
        ("a.txt", b"same<|endoftext|>Same <|endoftext|>same", "its 3 documents are all equal, none can be held out"),
        (
            "a.txt",
            b"ok\nna\xefve",
            "is not UTF-8 (byte 0xef on line 2): convert it first, for example with iconv -f latin1 -t utf-8",
        ),
        ("a.txt.gz", b"\x1f\x8bxx", "is a damaged gzip archive: copy it again"),
        (
            "a.csv",
            b"text",
            "cannot tell its format by its name: use .txt, .md, .py, .jsonl, .json (each also as .gz), .parquet, or a "
            "folder of .txt, .md and .py files",
        ),
        (
            "a.txt",
            b"PK\x03\x04",
            "is a zip archive, not text: use .txt, .md, .py, .jsonl, .json (each also as .gz), .parquet, or a folder "
            "of .txt, .md and .py files",
        ),
        (
            "a.json",
            b'[{"text": "a"},\n{]',
            "is no sound JSON (expecting property name enclosed in double quotes at column 2 of line 2): mend it or "
            "write it again",
        ),
        ("a.jsonl", b"{\n", "holds no document that can be used: 1 row left out: a.jsonl:1 (no JSON (expecting "
         "property name enclosed in double quotes at column 2))"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert _error(CorpusConfig(path=path)) == f"{path}: {message}"


def test_short_single_document(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("short")
    assert _error(CorpusConfig(path=path)) == (
        "a.txt:1: one document of 6 characters is too short to hold a part out: give several, with --data.separator "
        "between them, or 200 characters at least"
    )


def test_missing_path_and_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "stories.txt").write_text("x")
    assert _error(CorpusConfig(path=tmp_path / "storys.txt")) == (
        f"{tmp_path / 'storys.txt'}: there is no such file or folder. Did you mean 'stories.txt'?"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert _error(CorpusConfig(path=empty)) == f"{empty}: no .txt, .md or .py files in this folder"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(UserError) as caught:
        load_corpus(CorpusConfig(path=tmp_path / "a.txt"))
    assert str(caught.value) == f"{tmp_path / 'a.txt'}: is neither a file nor a folder"


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 nothing")
    assert _error(CorpusConfig(path=path)).startswith(f"{path}: is no sound Parquet file (")


# Hub


def _fake_datasets(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    """Stands in for the library: its errors are what a machine without a network gets."""
    library, exceptions = types.ModuleType("datasets"), types.ModuleType("datasets.exceptions")
    library.load_dataset = load  # type: ignore[attr-defined]
    exceptions.DatasetsError = type("DatasetsError", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", library)
    monkeypatch.setitem(sys.modules, "datasets.exceptions", exceptions)


def test_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(*args: Any, **options: Any) -> list[dict[str, str]]:
        asked.append((args, options))
        return [{"text": f"t{number}"} for number in range(10)]

    _fake_datasets(monkeypatch, load)
    corpus = load_corpus(CorpusConfig(name="a/b", subset="c", split="test", max_documents=3))
    assert asked == [(("a/b", "c"), {"split": "test"})]
    assert _all_texts(corpus) == ["t0\n", "t1\n", "t2\n"]
    assert corpus.origin == "3 documents of a/b."


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ConnectionError("offline"),
            "--data.name a/b: the hub does not answer or has no such data set. Offline, leave out --data.name for the "
            "built-in texts, or give a file with --data.path",
        ),
        (
            ValueError("Unknown split.\nShould be one of ['train']."),
            "--data.name a/b: Unknown split. Should be one of ['train']. Choose with --data.subset and --data.split",
        ),
        (
            RuntimeError("scripts are not supported"),
            "--data.name a/b: cannot be loaded: scripts are not supported. Offline, leave out --data.name for the "
            "built-in texts, or give a file with --data.path",
        ),
    ],
)
def test_hub_errors(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def load(*args: Any, **options: Any) -> None:
        raise error

    _fake_datasets(monkeypatch, load)
    assert _error(CorpusConfig(name="a/b")) == message


# Splitting


@given(st.lists(st.sampled_from("abcdefghij"), min_size=2).filter(lambda names: len(set(names)) > 1), st.integers(0, 9))
def test_split_keeps_groups_together_and_no_side_empty(groups: list[str], seed: int) -> None:
    documents = [Document(str(number), "text", str(number), group) for number, group in enumerate(groups)]
    train, validation = split_documents(documents, 0.2, seed)
    assert train
    assert validation
    assert not {d.group for d in train} & {d.group for d in validation}
    assert sorted(train + validation, key=lambda d: int(d.text)) == documents
    assert (train, validation) == split_documents(documents, 0.2, seed)


def test_share_is_met() -> None:
    documents = [Document(str(number), "text", "", str(number)) for number in range(4000)]
    _, validation = split_documents(documents, 0.1, 3)
    assert len(validation) == pytest.approx(400, abs=4 * (4000 * 0.1 * 0.9) ** 0.5)


def test_hash_fraction_by_hand() -> None:
    # First 8 bytes of sha256("1:json"), by another tool: printf 1:json | sha256sum
    assert hash_fraction("json", 1) == int("6d30906e31296e0f", 16) / 2**64


def test_equal_texts() -> None:
    assert text_group("A  b\n") == text_group("a b") != text_group("ab")


# Real data


@pytest.mark.skipif("ROADMAP_DATA" not in os.environ, reason="ROADMAP_DATA names no folder of real data")
@pytest.mark.parametrize(
    ("file", "column", "n_documents"),
    [
        ("tinystories/tinystories_sample.txt", None, 2317),
        ("mbpp/mbpp.jsonl", "code", 974),
        ("conala/conala-train.json", "snippet", 2378),
    ],
)
def test_real_files(file: str, column: str | None, n_documents: int) -> None:
    corpus = load_corpus(CorpusConfig(path=Path(os.environ["ROADMAP_DATA"]) / file, text_column=column))
    assert not corpus.rejects
    assert len(corpus.train) + len(corpus.validation) == n_documents
    assert not {d.group for d in corpus.train} & {d.group for d in corpus.validation}
