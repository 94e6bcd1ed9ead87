"""Atomic writes: whole or absent, nothing left behind."""

from __future__ import annotations

import os
import stat

import pytest

from roadmap_shared.files import atomic_write


def test_writes_text_and_bytes_and_replaces(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write(path, "é\r\n")
    assert path.read_bytes() == b"\xc3\xa9\r\n"
    atomic_write(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_file_has_the_usual_permissions(tmp_path):
    usual = tmp_path / "usual"
    usual.write_text("")
    atomic_write(tmp_path / "a", "")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
