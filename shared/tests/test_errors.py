"""The failed system call behind an exception: that of the libraries themselves, on a file system that refuses."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from roadmap_shared.errors import system_error
from roadmap_shared.files import atomic_write

LIMIT = 64 * 1024


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond `LIMIT`: the kernel refuses the write, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refused(error: BaseException) -> tuple[int | None, str | None] | None:
    found = system_error(error)
    return None if found is None else (found.errno, found.strerror)


def test_python(tmp_path: Path, small_files: None) -> None:
    with pytest.raises(OSError) as caught:
        atomic_write(tmp_path / "a", b"x" * 2 * LIMIT)
    assert system_error(caught.value) is caught.value
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "a"))
    assert not list(tmp_path.iterdir())


def test_safetensors(tmp_path: Path, small_files: None) -> None:
    numpy = pytest.importorskip("numpy")
    safetensors = pytest.importorskip("safetensors.numpy")
    with pytest.raises(Exception, match=r"os error") as caught:  # whatever its type
        safetensors.save_file({"a": numpy.zeros(LIMIT)}, tmp_path / "a.safetensors")
    assert refused(caught.value) == (errno.EFBIG, "File too large")


def test_torch(tmp_path: Path, small_files: None) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as caught:
        torch.save({"a": torch.zeros(LIMIT)}, tmp_path / "a.pt")
    assert refused(caught.value) == (errno.ENOSPC, "torch could not write a file to its end, as on a full disk")


def test_an_explicit_cause_counts_and_a_context_does_not() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = ValueError("bug")
    wrapped.__context__ = full
    assert system_error(wrapped) is None
    wrapped.__cause__ = full
    assert system_error(wrapped) is full


@pytest.mark.parametrize("error", [RuntimeError("inline_container.cc: not a ZIP archive"), ValueError("os error")])
def test_other_exceptions_are_none(error: Exception) -> None:
    assert system_error(error) is None
