"""Functions of the standard library: what is left out, what repeats another, and that no package is on two sides."""

import ast

import pytest

from roadmap_shared.offline import SourceFunction
from text_generation.corpora.functions import function_documents, package_of, tree_shape, without_near_copies
from text_generation.corpora.splitting import split_documents
from text_generation.corpora.types import Document

ADD = 'def add(first: int, second: int) -> int:\n    """Add."""\n    total = first + second\n    return total\n'


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return function_documents(120, 1500)


def test_functions_are_real_documented_code_of_the_wanted_length(documents: list[Document]) -> None:
    assert len(documents) > 2000
    for document in documents[::20]:
        assert 120 <= len(document.text) <= 1500
        (function,) = ast.parse(document.text).body
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        assert ast.get_docstring(function)
        assert document.text == document.text.strip("\n") + "\n"
        assert document.group.startswith("package ")
    assert "shlex:split" in {document.source for document in documents}


def test_no_two_functions_have_the_same_tree(documents: list[Document]) -> None:
    # ast.unparse is the independent normal form here: it takes out comments and layout.
    normal = [ast.unparse(ast.parse(document.text)) for document in documents]
    assert len(set(normal)) == len(normal)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_package_is_on_both_sides(documents: list[Document], seed: int) -> None:
    train, validation = split_documents(documents, 0.1, seed)
    assert not {document.group for document in train} & {document.group for document in validation}
    assert len(train) + len(validation) == len(documents)
    assert 0.02 < len(validation) / len(documents) < 0.25


def test_a_package_keeps_its_side_when_others_come(documents: list[Document]) -> None:
    _, validation = split_documents(documents, 0.1, 1)
    _, fewer = split_documents(documents[::2], 0.1, 1)
    assert {document.source for document in fewer} <= {document.source for document in validation}


@pytest.mark.parametrize(
    "same",
    [
        ADD.replace("add", "plus").replace("total", "x").replace("first", "a").replace("second", "b"),
        ADD.replace(": int", "").replace(" -> int", "").replace('"""Add."""', '"""Sum of both."""'),
        ADD.replace("    return", "\n    # done\n    return"),
    ],
)
def test_names_annotations_docstring_and_comments_make_no_difference(same: str) -> None:
    assert same != ADD
    assert tree_shape(same) == tree_shape(ADD)


@pytest.mark.parametrize(
    "other",
    [
        ADD.replace("+", "-"),
        ADD.replace("return total", "return first"),
        ADD.replace("first + second", "first.x + second"),
        ADD.replace("first + second", "first + 1"),
        ADD.replace("def", "async def"),
    ],
)
def test_another_computation_is_another_function(other: str) -> None:
    assert tree_shape(other) != tree_shape(ADD)


def test_attributes_and_keywords_tell_functions_apart() -> None:
    assert tree_shape("def f(x):\n    return x.upper()\n") != tree_shape("def f(x):\n    return x.lower()\n")
    assert tree_shape("def f(x):\n    return g(a=x)\n") != tree_shape("def f(x):\n    return g(b=x)\n")


@pytest.mark.parametrize("body", ["pass", "...", "raise NotImplementedError", "raise NotImplementedError('later')"])
def test_a_function_that_does_nothing(body: str) -> None:
    assert tree_shape(f'def f(x):\n    """Doc."""\n    {body}\n') == ()


@pytest.mark.parametrize("source", ["def f(:\n", "x = 1\n", "def f(): return 1\ndef g(): return 2\n"])
def test_what_is_no_function(source: str) -> None:
    assert tree_shape(source) is None


@pytest.mark.parametrize(
    ("module", "package"),
    [("json.decoder", "json"), ("_pydecimal", "decimal"), ("_pyio", "io"), ("_strptime", "strptime"), ("abc", "abc")],
)
def test_package(module: str, package: str) -> None:
    assert package_of(SourceFunction(module, "f", "doc", "")) == package


def _document(source: str) -> Document:
    return Document(source, "function", "m:f", "package m")


def test_near_copies_leave_the_held_out_part() -> None:
    long = "def f(a, b):\n" + "".join(f"    a.call{n}(b, {n})\n" for n in range(10))
    one_line_more = long.replace("(a, b)", "(left, right)").replace("a.", "left.").replace("b,", "right,")
    one_line_more += "    return left\n"
    other = "def f(a, b):\n" + "".join(f"    while a.other{n} < b:\n        a -= {n}\n" for n in range(10))
    held_out = [_document(long), _document(other)]
    assert without_near_copies(held_out, [_document(one_line_more)]) == [held_out[1]]
    assert without_near_copies(held_out, []) == held_out


def test_near_copies_against_brute_force(documents: list[Document]) -> None:
    train, validation = documents[:150], [*documents[150:220], documents[3]]

    def grams(document: Document) -> set[tuple[str, ...]]:
        shape = tree_shape(document.text) or ()
        return {shape[start : start + 8] for start in range(max(len(shape) - 7, 1))}

    def is_copy(document: Document) -> bool:
        own = grams(document)
        return any(len(own & grams(other)) >= 0.5 * len(own) for other in train)

    expected = [document for document in validation if not is_copy(document)]
    assert without_near_copies(validation, train) == expected
    assert documents[3] not in expected
