"""Freed memory stays with the process: taking it again costs no page faults."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
from roadmap_shared.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def touch(n_bytes):
    block = libc.malloc(n_bytes)
    libc.memset(block, 1, n_bytes)
    libc.free(block)

touch(64 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch(64 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator has these settings")
def test_a_block_taken_again_needs_no_new_pages() -> None:
    assert faults("usual") > 20  # 16,384 pages of 4 kB, or 32 of 2 MB
    assert faults("keep") < 20


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from roadmap_shared.allocator import keep_freed_memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
