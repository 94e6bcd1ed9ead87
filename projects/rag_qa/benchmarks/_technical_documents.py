"""Technical text that every installation holds, and questions about it, for the fit of answers and refusal.

The documents are docstrings of standard modules (PSF licence) and the long descriptions of packages that this project
depends on, all of permissive licences. Nothing of them is part of the built-in corpus, so that its questions stay
unseen. `technical_questions.yaml` quotes them; the quotes are looked up when it is loaded.
"""

import importlib
import inspect
from importlib import metadata
from pathlib import Path

from rag_qa.corpus.questions import QuestionSet, load_questions_file
from rag_qa.document_processor.readers import read_document_bytes
from rag_qa.evaluation.evaluation_set import plain_document
from rag_qa.types import Document
from roadmap_shared.errors import UserError

QUESTIONS = Path(__file__).with_name("technical_questions.yaml")

MODULES = (
    "argparse cmd concurrent.futures.process configparser contextlib copy dataclasses doctest fileinput fnmatch heapq "
    "http.client http.cookiejar json logging logging.handlers queue random sched secrets shelve socketserver "
    "subprocess tempfile textwrap threading timeit unittest.mock urllib.request weakref"
).split()

PACKAGES = {
    "annotated-types": "MIT",
    "bm25s": "MIT",
    "charset-normalizer": "MIT",
    "faiss-cpu": "MIT",
    "h11": "MIT",
    "pypdfium2": "BSD-3-Clause, Apache-2.0",
    "threadpoolctl": "BSD-3-Clause",
}
"""Licence of each package whose description is read."""

SHORTEST = 150
"""Characters of a docstring that becomes a section; shorter ones repeat the name."""


def technical_documents() -> list[Document]:
    """One document a module, `stdlib/<module>.md`, and one a package, `packages/<name>.md`.

    Raises:
        UserError: a package is not installed.
    """
    return [*map(module_document, MODULES), *map(package_document, PACKAGES)]


def technical_questions(documents: list[Document]) -> QuestionSet:
    """The questions about these documents.

    Raises:
        UserError: a quote does not stand in its document: another version of it is installed. Names the question.
    """
    return load_questions_file(QUESTIONS, documents)


def module_document(name: str) -> Document:
    """Docstrings of a module, its classes, their methods and its functions, each under a heading of its name."""
    module = importlib.import_module(name)
    parts = [f"# {name}", inspect.getdoc(module) or ""]
    for key, value in sorted(vars(module).items()):
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if inspect.isclass(value):
            parts += _section(key, value)
            for method, function in sorted(vars(value).items()):
                if not method.startswith("_") and inspect.isroutine(function):
                    parts += _section(f"{key}.{method}", function)
        elif inspect.isroutine(value):
            parts += _section(key, value)
    return _markdown(f"stdlib/{name}.md", "\n\n".join(parts))


def _section(title: str, value: object) -> list[str]:
    text = inspect.cleandoc(value.__doc__) if isinstance(value.__doc__, str) else ""
    return [f"## {title}", text] if len(text) >= SHORTEST else []


def package_document(name: str) -> Document:
    """The long description of an installed package, in Markdown or reStructuredText.

    Raises:
        UserError: it is not installed.
    """
    try:
        fields = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        raise UserError(f"the description of {name} is not there: pip install -c constraints.txt {name}") from None
    body = fields.get_payload() or fields.get("Description") or ""  # type: ignore[attr-defined]
    return _markdown(f"packages/{name}.md", f"# {name}\n\n{body}")


def _markdown(source: str, text: str) -> Document:
    document = read_document_bytes(text.encode(), source)
    return document if document.headings else plain_document(source, text)
