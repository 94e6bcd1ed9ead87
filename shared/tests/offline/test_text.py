import ast
import sys
import textwrap
from pathlib import Path

import pytest

from roadmap_shared.errors import UserError
from roadmap_shared.offline import python_reference, standard_library_functions
from roadmap_shared.offline import text as offline_text

MODULE = '''\
# -*- coding: latin-1 -*-
def documented(a):
    """Caf\xe9 \f au lait."""
    return a
\f
def undocumented(): pass

class Shape:
    class Edge:
        @property
        @staticmethod
        def length(
            self,
        ):
            """How long.

            In metres.
            """
            text = """
at column zero"""
            def inner():
                """Part of length, not a function of its own."""
            return text

async def fetch():
    "One line."
'''


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small standard library with everything that must be skipped."""
    files = {
        "b.py": MODULE.encode("latin-1"),
        "a/__init__.py": b'def first():\n    """Doc."""\n',
        "a/bad_syntax.py": b'def f():\n    """Doc."""\n    return (\n',
        "a/bad_bytes.py": b'def f():\n    """\xff"""\n',
        "a/null.py": b'def f():\n    """Doc."""\n\x00',
        "a/escapes.py": b'def g():\n    """Doc."""\n    return "\\d"\n',
        "test/test_a.py": b'def f():\n    """Doc."""\n',
        "a/tests/data.py": b'def f():\n    """Doc."""\n',
        "site-packages/other.py": b'def f():\n    """Doc."""\n',
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def _forget_what_was_read():
    yield
    offline_text.python_reference.cache_clear()
    offline_text.standard_library_functions.cache_clear()


def test_functions_of_a_small_library(library: Path) -> None:
    standard_library_functions.cache_clear()
    functions = standard_library_functions()
    assert [(f.module, f.name) for f in functions] == [
        ("a", "first"),
        ("a.escapes", "g"),
        ("b", "documented"),
        ("b", "Shape.Edge.length"),
        ("b", "fetch"),
    ]
    length = functions[3]
    assert length.docstring == "How long.\n\nIn metres."
    assert length.source.startswith("@property\n@staticmethod\ndef length(\n    self,\n):\n")
    assert '"""\nat column zero"""' in length.source
    assert length.source.endswith("    return text\n")
    assert functions[2].docstring == "Café \f au lait."


def test_functions_of_this_pythons_library_are_whole_definitions() -> None:
    functions = standard_library_functions()
    assert len(functions) > 3000
    by_name = {(f.module, f.name): f for f in functions}
    dedent = by_name["textwrap", "dedent"]
    assert dedent.docstring.startswith("Remove any common leading whitespace")
    namespace: dict = dict(vars(textwrap))
    exec(dedent.source, namespace)
    assert namespace["dedent"]("  a\n    b") == "a\n  b"
    assert not any("test" in f.module.split(".") for f in functions)
    for function in functions[::50]:
        (definition,) = ast.parse(function.source).body
        assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
        assert definition.name == function.name.split(".")[-1]
        assert (ast.get_docstring(definition) or "").strip() == function.docstring


def test_python_reference_holds_every_topic_in_order_and_names_its_origin() -> None:
    from pydoc_data.topics import topics

    reference = python_reference()
    assert reference.text.endswith("\n")
    assert reference.text[:-1].split("\n\n\n\n") == [topics[key].strip("\n") for key in sorted(topics)]
    assert len(reference.text) > 400_000
    assert f"CPython {sys.version.split()[0]}" in reference.origin
    assert "PSF licence" in reference.origin


def test_python_without_its_reference_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    python_reference.cache_clear()
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(UserError, match=r"comes without pydoc_data\.topics: .* --data\.path") as error:
        python_reference()
    assert "\n" not in str(error.value)
