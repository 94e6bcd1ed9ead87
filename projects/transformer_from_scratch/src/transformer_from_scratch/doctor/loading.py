"""Find the learner's class or function by its address, `my_module:MyAttention` or `path/to/file.py:MyAttention`.

The learner's file is imported and its code runs in this process, with all rights of the user: examine code that you
would also run.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from roadmap_shared.errors import UserError, did_you_mean, one_line

_PACKAGE = str(Path(__file__).parent)


class UnreadableOutput(Exception):
    """The learner's code ran, and gave something that the doctor cannot read."""


def load_target(address: str) -> Callable[..., Any]:
    """The class or function at `module:Name` or `file.py:Name`.

    Raises:
        UserError: the address has no colon, the module or the name does not exist, or importing it fails.
    """
    place, colon, name = address.rpartition(":")
    if not colon or not place or not name:
        raise UserError(f"{address}: name the class too, as in my_module:MyAttention or path/to/file.py:MyAttention")
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    target: Any = module
    for part in name.split("."):
        if not hasattr(target, part):
            raise UserError(f"{place} has no '{name}'. {_known(part, module)}")
        target = getattr(target, part)
    if not callable(target):
        raise UserError(f"{address} is a {type(target).__name__}: name a class or a function")
    return target


def _known(name: str, module: ModuleType) -> str:
    own = [
        key
        for key, value in vars(module).items()
        if callable(value) and not key.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return did_you_mean(name, own) or (f"It defines: {', '.join(own)}." if own else "It defines no class or function.")


def _import_module(name: str) -> ModuleType:
    # An installed command has its own folder first in the path, not the user's.
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(
                f"no module '{error.name}' in {folder} or among the installed packages: "
                "run the doctor in the folder of your file, or name the file itself, path/to/file.py:MyAttention"
            ) from error
        raise UserError(f"importing {name} failed: {where(error)}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"importing {name} failed: {where(error)}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # its sibling files
    # Dataclasses and get_type_hints look a class's module up there. A module of that name that is already loaded
    # belongs to somebody else, and gets its place back.
    earlier = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"importing {path} failed: {where(error)}") from error
    finally:
        if earlier is not None:
            sys.modules[path.stem] = earlier
    return module


def where(error: BaseException) -> str:
    """The error with the place in the learner's code that raised it: "attention.py:12: NameError: …"."""
    kind, message = type(error).__name__, one_line(error)
    if isinstance(error, UnreadableOutput):
        return message
    text = f"{kind}: {message}" if message else kind
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '?').name}:{error.lineno}: {kind}: {error.msg}"
    frame = _learners_frame(error.__traceback__)
    return text if frame is None else f"{Path(frame.filename).name}:{frame.lineno}: {text}"


def is_ours(error: BaseException) -> bool:
    """Whether the doctor itself raised it, which is a bug of the doctor."""
    frames = traceback.extract_tb(error.__traceback__)
    return not isinstance(error, UnreadableOutput) and bool(frames) and frames[-1].filename.startswith(_PACKAGE)


def _learners_frame(trace: TracebackType | None) -> traceback.FrameSummary | None:
    """The innermost frame that belongs neither to the doctor nor to an installed library."""
    foreign = (_PACKAGE, "<frozen", "site-packages", str(Path(importlib.__file__ or "").parent))
    frames = [frame for frame in traceback.extract_tb(trace) if not any(mark in frame.filename for mark in foreign)]
    return frames[-1] if frames else None
