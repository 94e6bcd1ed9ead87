import subprocess
import sys
from pathlib import Path

import pytest

from model_optimization.benchmarking.environment import cpu_facts, cpu_limit, environment, facts, memory_limit_mb
from model_optimization.benchmarking.memory import high_water_mark, peak_memory, resident_memory

X86 = """processor\t: 0
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni amx_int8

processor\t: 1
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni amx_int8
power management:
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd aes asimddp sve i8mm
CPU part\t: 0xd40
"""


def test_processors_of_two_makes() -> None:
    assert cpu_facts(X86) == ("Intel(R) Xeon(R) Processor", ("avx2", "avx512f", "avx512_vnni", "amx_int8"))
    assert cpu_facts(ARM) == ("", ("asimddp", "i8mm", "sve"))
    assert cpu_facts("") == ("", ())


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "half of it\n"}, None),
        ({}, None),
    ],
)
def test_cores_that_a_container_grants(tmp_path: Path, files: dict[str, str], cores: float | None) -> None:
    write(tmp_path, files)
    assert cpu_limit(tmp_path) == cores


@pytest.mark.parametrize(
    ("files", "megabytes"),
    [
        ({"memory.max": "2147483648\n"}, 2048),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "1073741824\n"}, 1024),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({}, None),
    ],
)
def test_memory_that_a_container_grants(tmp_path: Path, files: dict[str, str], megabytes: int | None) -> None:
    write(tmp_path, files)
    assert memory_limit_mb(tmp_path) == megabytes


def test_this_machine_can_be_described() -> None:
    found = environment(threads=3)
    assert found.threads == 3
    assert 1 <= found.usable_cores <= found.cores
    assert found.memory_mb > 100
    assert {"torch", "onnxruntime", "transformers"} <= set(found.versions)
    shown = facts(found)
    assert shown["granted"].endswith("; threads of a variant: 3")
    assert all(shown.values())


def test_the_peak_in_the_kernels_text() -> None:
    assert high_water_mark("VmPeak:\t  999 kB\nVmHWM:\t  1234 kB\nVmRSS:\t  10 kB\n") == 1234 * 1024
    assert high_water_mark("Name:\tpython\n") is None


def test_the_peak_remembers_memory_that_was_given_back() -> None:
    before = peak_memory()
    held = bytearray(b"x" * (before - resident_memory() + 64_000_000))
    size = len(held)
    del held
    assert size > 0
    assert peak_memory() >= before + 50_000_000


def test_a_small_process_does_not_report_the_peak_of_the_large_one_that_started_it() -> None:
    code = "from model_optimization.benchmarking.memory import peak_memory; print(peak_memory())"
    peaks = []
    for size in (1_000_000, 300_000_000):
        held = bytearray(b"x" * size)
        peaks.append(int(subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True).stdout))
        assert held
    assert abs(peaks[1] - peaks[0]) < 50_000_000


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
