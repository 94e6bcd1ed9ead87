"""Documented functions of the standard library as documents, without repetitions.

Two functions repeat each other when they are the same but for their docstrings, comments, annotations and the names of
their variables: their normalised syntax trees are compared, not their texts. A package is on one side of a split as a
whole, and what is held out has no near copy on the other side (`without_near_copies`): the share of n-grams of the
tree that occur in one training function, its containment (Broder 1997), stays below one half.
"""

import ast
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from roadmap_shared.offline import SourceFunction, standard_library_functions
from text_generation.corpora.types import Document

NEAR_COPY = 0.5
"""Containment from which on a function is a near copy."""

_GRAM = 8  # nodes of the tree in their order


def function_documents(min_characters: int, max_characters: int) -> list[Document]:
    """Functions that have a docstring, something to do and the wanted length; of repetitions the first."""
    seen: set[tuple[str, ...]] = set()
    documents: list[Document] = []
    for function in standard_library_functions():
        source = function.source.strip("\n") + "\n"
        if not min_characters <= len(source) <= max_characters or (shape := tree_shape(source)) is None:
            continue
        if shape and shape not in seen:
            seen.add(shape)
            documents.append(
                Document(source, "function", f"{function.module}:{function.name}", f"package {package_of(function)}")
            )
    return documents


def package_of(function: SourceFunction) -> str:
    """Top-level package, in which a Python twin of a C module counts as the module: `_pydecimal` is `decimal`."""
    return function.module.split(".")[0].removeprefix("_py").lstrip("_")


@cache
def tree_shape(source: str) -> tuple[str, ...] | None:
    """The syntax tree of a function as a sequence of nodes, its docstring, annotations and own names taken out.

    Variables, arguments and the function itself are numbered in the order in which they first occur. Attributes keep
    their names, since they tell what is called; constants keep their types.

    Returns:
        None if the source does not parse as one function, () if nothing but a docstring, `pass`, `...` or `raise
        NotImplementedError` is in it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in old modules
            body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return None
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    function = body[0]
    if ast.get_docstring(function) is not None:
        function.body = function.body[1:]
    if all(_does_nothing(statement) for statement in function.body):
        return ()
    names: dict[str, str] = {}
    return tuple(_shape(function, names))


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        return "NotImplementedError" in ast.unparse(statement.exc)
    is_ellipsis = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or is_ellipsis


def _shape(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """The node and those below it, in the order of the source."""

    def number(name: str) -> str:
        return names.setdefault(name, f"v{len(names)}")

    yield type(node).__name__
    match node:
        case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield number(name)
        case ast.Attribute(attr=name):
            yield name
        case ast.Constant(value=value):
            yield type(value).__name__
        case ast.keyword(arg=name) | ast.ExceptHandler(name=name) if name:
            yield name
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns", "ctx", "type_comment"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _shape(child, names)


def without_near_copies(held_out: Sequence[Document], train: Iterable[Document]) -> list[Document]:
    """The held-out functions of which no training function contains half of the n-grams or more."""
    grams_of = [_grams(document.text) for document in held_out]
    holders: dict[int, list[int]] = defaultdict(list)
    for index, grams in enumerate(grams_of):
        for gram in grams:
            holders[gram].append(index)
    copies: set[int] = set()
    for document in train:
        shared = Counter(index for gram in _grams(document.text) for index in holders.get(gram, ()))
        copies |= {index for index, count in shared.items() if count >= NEAR_COPY * len(grams_of[index])}
    return [document for index, document in enumerate(held_out) if index not in copies]


def _grams(source: str) -> set[int]:
    """Hashes of the n-grams of a function's shape; one of the whole shape when it is shorter."""
    shape = tree_shape(source) or ()
    return {hash(shape[start : start + _GRAM]) for start in range(max(len(shape) - _GRAM + 1, 1))}
