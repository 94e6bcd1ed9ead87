"""English and Python code that ship with CPython, under the PSF licence.

Both differ a little from one Python version to the next, so a figure measured on them names the version: it
stands in `Text.origin`.
"""

import ast
import io
import platform
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from roadmap_shared.errors import UserError

_TOPIC_SEPARATOR = "\n\n\n\n"  # three blank lines: occurs nowhere inside a topic

# Tests, vendored packages and generated tables are not the code that a person would write.
_SKIPPED_FOLDERS = {
    "__pycache__",
    "dist-packages",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
    "turtledemo",
}


@dataclass(frozen=True)
class Text:
    """A text and where it comes from; `origin` is one sentence for a report."""

    name: str
    text: str
    origin: str


@dataclass(frozen=True)
class SourceFunction:
    """A documented function or method of the standard library.

    `name` is qualified within the module (`Class.method`); `docstring` is cleaned of its indentation;
    `source` is the whole definition with decorators and docstring, indented as a top-level function.
    """

    module: str
    name: str
    docstring: str
    source: str


@cache
def python_reference() -> Text:
    """The Python language reference as `help("topics")` shows it: half a million characters of real English.

    The topics stand in alphabetical order of their keys, three blank lines between them.

    Raises:
        UserError: this Python was built without `pydoc_data`.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UserError(
            "this Python comes without pydoc_data.topics: use a full CPython, or give a text with --data.path"
        ) from None
    return Text(
        name="python-reference",
        text=_TOPIC_SEPARATOR.join(topics[key].strip("\n") for key in sorted(topics)) + "\n",
        origin=(
            f"The Python language reference, {len(topics)} topics as shipped in pydoc_data.topics of CPython "
            f"{platform.python_version()} (documentation of the Python Software Foundation, PSF licence)."
        ),
    )


@cache
def standard_library_functions() -> tuple[SourceFunction, ...]:
    """Documented functions and methods of the standard library's Python source, by module and line.

    Tests, IDLE, vendored and generated modules are left out, and so are files that do not parse. Takes some
    seconds on the first call and is remembered afterwards. Real code, so its style varies.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    return tuple(function for path in _source_files(folder) for function in _functions_of_file(path, folder))


def _source_files(folder: Path) -> list[Path]:
    """Python files below the folder, in the order of their dotted module names."""
    paths = (path for path in folder.rglob("*.py") if not _SKIPPED_FOLDERS & set(path.relative_to(folder).parts))
    return sorted(paths, key=lambda path: path.relative_to(folder).with_suffix("").parts)


def _functions_of_file(path: Path, folder: Path) -> Iterator[SourceFunction]:
    """The documented functions of one file; none if it cannot be read or parsed."""
    try:
        with tokenize.open(path) as file:  # honours the file's coding line
            source = file.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # invalid escapes in old modules are not ours to mend
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError):
        return
    parts = path.relative_to(folder).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    # Not str.splitlines: to the parser, a form feed ends no line.
    lines = io.StringIO(source).readlines()
    for name, node in _definitions(tree.body):
        docstring = (ast.get_docstring(node) or "").strip()
        if docstring:
            yield SourceFunction(module, name, docstring, _definition_source(node, lines))


def _definitions(
    body: list[ast.stmt], prefix: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions directly in a module or class body, with their qualified names."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _definitions(node.body, f"{prefix}{node.name}.")


def _definition_source(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    """Lines of the definition, moved left by its indentation (a line that has less keeps its text)."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    indent = " " * node.col_offset
    return "".join(line.removeprefix(indent) for line in lines[first - 1 : node.end_lineno])
