"""`rag-qa ingest` where nothing or not everything can be read: the exit code, the reasons, and what is kept."""

from pathlib import Path

import pytest

from rag_qa.cli import main
from rag_qa.document_processor.index import Index

EMPTY = "is empty (0 bytes)"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders with good files, bad ones, and none."""
    monkeypatch.chdir(tmp_path)
    for name in ("good", "bad", "none"):
        (tmp_path / name).mkdir()
    (tmp_path / "good" / "fine.txt").write_text("The gate is painted green every spring.\n")
    (tmp_path / "good" / "hollow.txt").write_bytes(b"")
    (tmp_path / "bad" / "a.pdf").write_bytes(b"")
    (tmp_path / "bad" / "b.docx").write_bytes(b"words")
    (tmp_path / "alone.pdf").write_bytes(b"")
    return tmp_path


def ingest(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    """Exit code, lines of the report, and what is said on standard error besides the progress."""
    code = main(["ingest", *arguments, "--index", "index"])
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("rag-qa")]
    return code, said.out.splitlines(), "\n".join(errors)


def test_some_files_are_enough(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, error = ingest(capsys, "good")
    assert (code, error) == (0, "")
    assert lines[1] == f"  refused: hollow.txt: {EMPTY}"
    assert any(line.startswith("index: 1 document") for line in lines)
    assert ingest(capsys, "good")[0] == 0  # unchanged


@pytest.mark.parametrize("dry", [(), ("--dry_run", "True")])
def test_a_folder_of_which_nothing_can_be_read_is_an_error(
    here: Path, capsys: pytest.CaptureFixture[str], dry: tuple[str, ...]
) -> None:
    code, lines, error = ingest(capsys, "bad", *dry)
    assert code == 2
    assert lines[1:3] == [
        f"  refused: a.pdf: {EMPTY}",
        "  refused: b.docx: is no DOCX: it is not a zip archive; it may be damaged or cut",
    ]
    assert error == "rag-qa ingest: bad: none of its files can be read, for the reasons above"


def test_a_file_that_is_named_and_cannot_be_read_is_an_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = ingest(capsys, "alone.pdf")
    assert (code, error) == (2, f"rag-qa ingest: alone.pdf: {EMPTY}")


def test_bad_paths_do_not_keep_the_others_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, error = ingest(capsys, "none", "bad", "good", "alone.pdf")
    assert code == 2
    assert any(line.startswith("index: 1 document") for line in lines)
    assert error == (
        "rag-qa ingest: none: holds no file to read; bad: none of its files can be read, for the reasons above; "
        f"alone.pdf: {EMPTY}"
    )


def test_an_emptied_folder_does_not_keep_the_others_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest(capsys, "good")[0] == 0
    (here / "good" / "fine.txt").rename(here / "none" / "moved.txt")
    (here / "good" / "hollow.txt").unlink()
    code, lines, error = ingest(capsys, "good", "none")
    assert code == 2
    assert any(line.startswith("index: 1 document") for line in lines)
    assert error == (
        f"rag-qa ingest: {here / 'good'}: has no files, but 1 documents of the index came from there: is it mounted? "
        "To remove them, name them in `rag-qa delete`"
    )


def test_how_words_are_counted_is_fixed_by_the_first_ingestion(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest(capsys, "good", "--sparse.k1", "0.9")[0] == 0
    assert ingest(capsys, "good", "--sparse.k1", "1.5")[0] == 0
    with Index.open(Path("index")) as index:
        assert index.sparse_config.k1 == index.sparse.config.k1 == 0.9
