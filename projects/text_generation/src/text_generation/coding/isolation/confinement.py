"""The child's side: take away rights, layer after layer, then run the program. Nothing it could leak is in memory."""

import os
import resource
import sys
import sysconfig
import types
from collections.abc import Callable
from typing import Any

from . import landlock, namespaces, privileges, seccomp

_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store")
_ZONES = ("/usr/share/zoneinfo", "/etc/localtime", "/etc/ld.so.cache")
_NOT_THE_LIBRARY = {"site-packages", "dist-packages", "ensurepip", "idlelib", "test"}


class Layers:
    """Which layers hold, and why the others do not."""

    def __init__(self, wanted: list[str]) -> None:
        self._wanted = wanted
        self.report: dict[str, dict[str, Any]] = {}

    def attempt(self, name: str, apply: Callable[[], str | None]) -> bool:
        """Apply a layer and note what came of it."""
        if name not in self._wanted:
            self.report[name] = {"holds": False, "detail": "switched off"}
            return False
        try:
            detail = apply() or ""
        except (OSError, ValueError, AttributeError) as error:
            self.report[name] = {"holds": False, "detail": str(error)}
            return False
        self.report[name] = {"holds": True, "detail": detail}
        return True

    def holds(self, name: str) -> bool:
        return self.report.get(name, {}).get("holds", False)

    def protections(self) -> dict[str, bool]:
        """What cannot be reached, whichever layer sees to it."""
        separate, files, calls = self.holds("namespaces"), self.holds("landlock"), self.holds("seccomp")
        return {
            "network": calls or separate,
            "files": files or (self.holds("mounts") and calls),
            "processes": calls or separate,
        }


def enter_namespaces(layers: Layers, folder: str, disk_mb: int) -> None:
    """The layers that the launcher takes on with its child. A process table exists for children only."""
    if layers.attempt("namespaces", namespaces.enter):
        layers.attempt("mounts", lambda: namespaces.mount_read_only(folder, disk_mb))


def confine(job: dict[str, Any], layers: Layers) -> None:
    """Take this process's rights away. Order matters: each step needs what a later one forbids."""
    folder, limits = job["folder"], job["limits"]
    os.chdir(folder)
    if sys.platform == "linux":
        layers.attempt("privileges", privileges.drop_all)
        places = _python_places()
        layers.attempt("landlock", lambda: f"version {landlock.restrict(*places, [folder], _DEVICES)}")
    layers.attempt("limits", lambda: privileges.limit_resources(**limits))
    if sys.platform == "linux":
        layers.attempt("seccomp", lambda: seccomp.install(threads=limits["threads"] > 0))


def rearrange_descriptors(descriptors: list[int]) -> int:
    """Make /dev/null descriptor 0, these 1, 2, 3 …, and close all others. Returns the last one's new number."""
    wanted = [os.open(os.devnull, os.O_RDONLY), *descriptors]
    # Copies above all places that they go to, lest one is overwritten before it is moved.
    above = max(*wanted, len(wanted)) + 1
    for index, descriptor in enumerate(wanted):
        os.dup2(descriptor, above + index)
    for index in range(len(wanted)):
        os.dup2(above + index, index)
    os.closerange(len(wanted), _highest_descriptor())
    return len(wanted) - 1


def execute(job: dict[str, Any]) -> None:
    """Run the program as `__main__`, with the modules that it may import by name.

    Raises:
        SystemExit: always: 0, the program's own code, or 1 after an exception, whose traceback is printed.
    """
    sys.path[:] = [path for path in sys.path if path != job["package"]]
    for name in [name for name in sys.modules if name.partition(".")[0] == __name__.partition(".")[0]]:
        del sys.modules[name]
    for name, source in job["modules"].items():
        _define_module(name, source)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    try:
        exec(compile(job["program"], "<program>", "exec"), main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        import traceback

        within = error.__traceback__.tb_next if error.__traceback__ is not None else None
        traceback.print_exception(error.with_traceback(within))
        raise SystemExit(1) from None
    raise SystemExit(0)


def _define_module(name: str, source: str) -> None:
    """Make `import a.b.name` work without a file: its parents are empty packages."""
    parents = name.split(".")[:-1]
    for depth in range(1, len(parents) + 1):
        parent = types.ModuleType(".".join(parents[:depth]))
        parent.__path__ = []
        sys.modules.setdefault(parent.__name__, parent)
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)


def _python_places() -> tuple[list[str], list[str]]:
    """What the standard library needs: files to read, and folders to list. Installed packages are left out."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    readable = [
        os.path.join(folder, name) for folder in folders for name in os.listdir(folder) if name not in _NOT_THE_LIBRARY
    ]
    beside = os.path.join(sys.base_prefix, "lib")
    if os.path.isdir(beside):
        readable += [os.path.join(beside, name) for name in os.listdir(beside) if ".so" in name]
    return [*readable, *_LIBRARIES, *_ZONES], list(folders)


def _highest_descriptor() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 65_536 if soft == resource.RLIM_INFINITY else min(soft, 1_048_576)
