"""Held-out functions as cases: what stands before a body is the prompt, the body is the reference."""

import ast
import warnings

from text_generation.corpora.types import Corpus, Document, texts_of
from text_generation.prompting.cases import Case


def function_cases(corpus: Corpus, train: bool = False) -> list[Case]:
    """Functions whose first line holds the whole signature, in the order of the corpus.

    The variables are `signature` (that line) and `description` (the first line of the docstring); the reference is the
    body behind the docstring.
    """
    documents = corpus.train if train else corpus.validation
    return [case for document in documents if document.kind == "function" if (case := function_case(document))]


def function_case(document: Document) -> Case | None:
    """None where the signature has several lines or decorators, or the docstring's first line is empty."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old modules
        function = ast.parse(document.text).body[0]
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    described = function.body[0]
    description = (ast.get_docstring(function) or "").split("\n")[0].strip()
    lines = document.text.splitlines()
    body = "\n".join(lines[described.end_lineno or 0 :]).rstrip()
    if function.lineno != 1 or described.lineno != 2 or not description or not body.strip():
        return None
    return Case({"signature": lines[0], "description": description}, body, document.source)


def function_beginnings(corpus: Corpus, count: int) -> list[str]:
    """The text of held-out functions up to the end of their one-line docstrings, without a line break behind it.

    A prompt that ended in the line break would cut the token that holds it together with the indentation, and the model
    would go on as after an empty line.
    """
    beginnings: list[str] = []
    for text in texts_of(corpus.validation, "function"):
        head, mark, body = text.partition('"""\n')
        lines = head.split("\n")
        if mark and body.strip() and len(lines) == 2 and lines[1].count('"""') == 1 and lines[1].strip() != '"""':
            beginnings.append(f'{head}"""')
    return beginnings[:count]
