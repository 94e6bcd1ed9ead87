"""What a measurement was made on: a number of milliseconds means nothing without it."""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from model_optimization.machine import threads_wanted, usable_cores

_PACKAGES = ("torch", "onnxruntime", "onnx", "transformers", "tokenizers", "numpy", "torchao")
SPEED_FLAGS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
    "sve",
)
"""Instruction sets that decide how fast matrices are multiplied, of x86 and of ARM."""

INT8_FLAGS = ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
"""Those of them that multiply bytes and add up in 32 bits in one instruction."""

_NO_LIMIT = 1 << 60  # bytes: version 1 of cgroups writes a huge number where there is no limit


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The machine, what of it this process may use, and the libraries."""

    cpu: str
    flags: tuple[str, ...]
    """Of `SPEED_FLAGS`, those that the processor has."""

    cores: int
    """Processor cores of the machine."""

    usable_cores: int
    """Those that this process may use."""

    threads: int
    """Threads of one computation."""

    memory_mb: int
    governor: str | None
    """How the system sets the clock rate; None where it does not tell, as in virtual machines."""

    cpu_limit: float | None
    """Cores that a container grants; None without a limit."""

    memory_limit_mb: int | None
    """Memory that a container grants; None without a limit."""

    system: str
    python: str
    versions: Mapping[str, str]


def environment(threads: int | None = None) -> Environment:
    """Read it from the system; what cannot be read is None, and never an error."""
    cpu, flags = cpu_facts(_text(Path("/proc/cpuinfo")) or "")
    return Environment(
        cpu=cpu or platform.processor() or platform.machine(),
        flags=flags,
        cores=psutil.cpu_count() or 1,
        usable_cores=usable_cores(),
        threads=threads_wanted(threads),
        memory_mb=psutil.virtual_memory().total >> 20,
        governor=_text(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        cpu_limit=cpu_limit(Path("/sys/fs/cgroup")),
        memory_limit_mb=memory_limit_mb(Path("/sys/fs/cgroup")),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions=_versions(),
    )


def cpu_facts(cpuinfo: str) -> tuple[str, tuple[str, ...]]:
    """Model name and `SPEED_FLAGS` in the text of /proc/cpuinfo, as x86 ("flags") and ARM ("Features") write it."""
    values = dict(re.findall(r"^(\S[^:\n]*?)\s*:[ \t]*(.*)$", cpuinfo, re.MULTILINE))
    named = set((values.get("flags") or values.get("Features") or "").split())
    return values.get("model name", ""), tuple(flag for flag in SPEED_FLAGS if flag in named)


def cpu_limit(cgroup: Path) -> float | None:
    """Cores that the control group in a folder grants (version 2 `cpu.max`, version 1 quota and period)."""
    quota, _, period = (_text(cgroup / "cpu.max") or "").partition(" ")
    if not period:
        quota = _text(cgroup / "cpu" / "cpu.cfs_quota_us") or ""
        period = _text(cgroup / "cpu" / "cpu.cfs_period_us") or ""
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return None
    return int(quota) / int(period)


def memory_limit_mb(cgroup: Path) -> int | None:
    """Megabytes that the control group in a folder grants."""
    limit = _text(cgroup / "memory.max") or _text(cgroup / "memory" / "memory.limit_in_bytes") or ""
    return int(limit) >> 20 if limit.isdigit() and int(limit) < _NO_LIMIT else None


def facts(measured_on: Environment) -> dict[str, str]:
    """The environment as a reader wants it, for a report's small print."""
    granted = f"{measured_on.usable_cores} of {measured_on.cores} cores"
    if measured_on.cpu_limit is not None:
        granted += f", limited to {measured_on.cpu_limit:g}"
    memory = f"{measured_on.memory_mb:,} MB"
    if measured_on.memory_limit_mb is not None:
        memory += f", limited to {measured_on.memory_limit_mb:,} MB"
    return {
        "processor": f"{measured_on.cpu} ({', '.join(measured_on.flags) or 'no vector instructions known'})",
        "granted": f"{granted}; threads of a variant: {measured_on.threads}",
        "memory": memory,
        "clock": measured_on.governor or "governor not readable",
        "system": f"{measured_on.system}, Python {measured_on.python}",
        "libraries": ", ".join(f"{name} {number}" for name, number in measured_on.versions.items()),
    }


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
