"""Python source as a syntax tree. The source is never executed."""

import ast
import warnings


def parse(source: str) -> ast.Module:
    r"""Parse without the compiler's remarks on style, such as that on "\d" in a plain string.

    Raises:
        SyntaxError: it is no Python, holds a null character, or is nested too deeply.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "nested too deeply") from None


def is_valid(source: str) -> bool:
    """Whether the source parses."""
    try:
        parse(source)
    except SyntaxError:
        return False
    return True


def defined_names(tree: ast.Module) -> set[str]:
    """Names of the functions and classes at top level."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def top_level_imports(tree: ast.Module) -> list[str]:
    """The import statements at top level, as source."""
    return [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
