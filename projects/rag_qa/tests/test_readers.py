"""Which files are found, which reader gets them, and what is refused before a reader sees it."""

import io
import os
import subprocess
import sys
from pathlib import Path

import docx
import pytest

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor.readers import (
    SkippedFile,
    UnreadableDocument,
    UnsupportedFormat,
    find_files,
    read_document,
    read_document_bytes,
    survey,
)
from roadmap_shared.errors import UserError


def test_files_are_found_sorted_and_hidden_ones_left_out(tmp_path: Path) -> None:
    for name in ["b/z.txt", "b/a.md", "a.txt", ".hidden/x.txt", ".x.txt", "~$lock.docx", "中/文.xyz"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [found.source for found in find_files(tmp_path)] == ["a.txt", "b/a.md", "b/z.txt", "中/文.xyz"]
    assert find_files(tmp_path)[0].path == tmp_path / "a.txt"
    assert [found.source for found in find_files(tmp_path / "b" / "z.txt")] == ["z.txt"]
    assert find_files(tmp_path / ".hidden")[0].source == "x.txt"


def test_links_are_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    outside, root = tmp_path / "secret.txt", tmp_path / "root"
    outside.write_text("x")
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("x")
    (root / "inside.txt").symlink_to("a.txt")
    (root / "out.txt").symlink_to(outside)
    (root / "sub" / "up").symlink_to(root)
    (root / "loop").symlink_to("loop")
    (root / "nothing").symlink_to("not there")
    os.mkfifo(root / "pipe")
    found = survey(root)
    assert [file.source for file in found.files] == ["a.txt", "inside.txt"]
    assert found.skipped == (
        SkippedFile(source="loop", reason="a link that leads nowhere, or back to itself"),
        SkippedFile(source="nothing", reason="a link that leads nowhere, or back to itself"),
        SkippedFile(source="out.txt", reason="a link to a file outside the folder, not followed"),
        SkippedFile(source="pipe", reason="not a regular file"),
        SkippedFile(source="sub/up", reason="a link to a folder, not followed"),
    )


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    except OSError:
        pytest.skip("the file system takes only UTF-8")
    (found,) = find_files(tmp_path)
    assert found.source == "\\xff.txt"
    assert read_document(found.path, found.source).text == "x"


@pytest.mark.skipif(sys.platform == "win32", reason="such names are not allowed there")
def test_a_name_cannot_steer_a_terminal_or_write_lines_of_its_own(tmp_path: Path) -> None:
    for name in ("a\n  refused: b.txt", "c\x1b[31m.txt", "d\u202egnp.txt", "é \u3000中🎉.txt"):
        (tmp_path / name).write_text("x")
    assert [found.source for found in find_files(tmp_path)] == [
        "a\\n  refused: b.txt",
        "c\\x1b[31m.txt",
        "d\\u202egnp.txt",
        "é \u3000中🎉.txt",
    ]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        find_files(tmp_path / "none")
    assert str(caught.value) == f"{tmp_path / 'none'}: cannot be read: No such file or directory"


def test_refused_before_reading(tmp_path: Path) -> None:
    (tmp_path / "x.pdf").mkdir()
    (tmp_path / "big.txt").write_bytes(b"x" * 2000)
    (tmp_path / "empty.txt").touch()
    os.mkfifo(tmp_path / "pipe.txt")
    for name, message in [
        ("x.pdf", "x.pdf: is a folder, not a file"),
        ("gone.txt", "gone.txt: is gone: it was moved or deleted before it could be read"),
        ("empty.txt", "empty.txt: is empty (0 bytes)"),
        ("pipe.txt", "pipe.txt: is not a regular file"),
        ("big.txt", "big.txt: is larger than 1,000 bytes; raise --reading.max_bytes to read it, or split it"),
    ]:
        with pytest.raises(UnreadableDocument) as caught:
            read_document(tmp_path / name, name, ReadOptions(max_bytes=1000))
        assert str(caught.value) == message


def test_file_that_vanishes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")

    def vanish(self: Path, *args: object) -> object:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "open", vanish)
    with pytest.raises(UnreadableDocument, match=r"^a\.txt: is gone: it was moved or deleted before it could be read$"):
        read_document(path, "a.txt")


def test_unknown_suffix() -> None:
    with pytest.raises(UnsupportedFormat, match=r"^a\.xyz: skipped: files of type \.xyz are not read, only \.pdf, "):
        read_document_bytes(b"words", "a.xyz")
    with pytest.raises(UnsupportedFormat, match=r"^README: skipped: files of type \(no suffix\) are not read, only "):
        read_document_bytes(b"words", "README")


def test_content_decides() -> None:
    buffer = io.BytesIO()
    made = docx.Document()
    made.add_paragraph("Words.")
    made.save(buffer)
    document = read_document_bytes(buffer.getvalue(), "a.txt")
    assert (document.text, document.metadata["format"]) == ("Words.", "docx")
    assert document.notes == ("the name says .txt, the content is DOCX: read as DOCX",)
    html = read_document_bytes(b"<!DOCTYPE html><p>Hello", "page.txt")
    assert (html.text, html.notes) == ("Hello", ("the name says .txt, the content is HTML: read as HTML",))
    assert read_document_bytes(b"The mark %PDF-1.7 begins a PDF.", "a.txt").metadata["format"] == "text"
    assert read_document_bytes(b"words", "A.TXT").notes == ()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", bytes(range(256)) * 8, "a.txt: is binary data, not text"),
        ("a.csv", bytes(range(256)) * 8, "a.csv: is binary data, not text"),
        ("a.pdf", b"\x89PNG\r\n\x1a\n...", "a.pdf: is a PNG image, not a .pdf document"),
        ("a.txt", b"\x7fELF...", "a.txt: is a program, not a .txt document"),
    ],
)
def test_other_content_is_refused(name: str, data: bytes, message: str) -> None:
    with pytest.raises(UnreadableDocument) as caught:
        read_document_bytes(data, name)
    assert str(caught.value) == message


def test_hash_is_of_the_bytes() -> None:
    document = read_document_bytes(b"abc", "a.txt")
    assert document.content_hash == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_pages": 0}, "--reading.max_pages 0 must be at least 1"),
        ({"encoding": "utf-9"}, "--reading.encoding utf-9 is no encoding that Python knows"),
    ],
)
def test_options_are_checked(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ReadOptions(**setting)  # type: ignore[arg-type]


def test_heavy_readers_are_not_imported_on_the_way() -> None:
    code = (
        "import sys, rag_qa.document_processor.readers as r; r.read_document_bytes(b'x', 'a.txt'); "
        "print([m for m in ('pypdfium2', 'pdfplumber', 'docx', 'bs4', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
