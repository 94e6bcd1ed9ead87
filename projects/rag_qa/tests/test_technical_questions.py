"""The questions that answers and refusal are fitted on: their quotes stand in text that every installation holds."""

import importlib.util
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from rag_qa.corpus.built_in import built_in_documents
from roadmap_shared.errors import UserError

FILE = Path(__file__).parents[1] / "benchmarks" / "_technical_documents.py"


@pytest.fixture(scope="module")
def technical() -> ModuleType:
    if not FILE.exists():
        pytest.skip("the benchmarks are not part of this installation")
    spec = importlib.util.spec_from_file_location("_technical_documents", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    missing = [name for name in module.PACKAGES if not _installed(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    return module


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def test_every_quote_stands_in_its_document(technical: ModuleType) -> None:
    questions = technical.technical_questions(technical.technical_documents())
    assert len(questions.answerable) >= 150
    assert len(questions.unanswerable) >= 30
    assert {question.part for question in questions} == {"calibration"}


def test_nothing_of_the_built_in_corpus_is_among_the_documents(technical: ModuleType) -> None:
    ours = {" ".join(document.text.split())[:300] for document in technical.technical_documents()}
    assert not ours & {" ".join(document.text.split())[:300] for document in built_in_documents()}


def test_another_version_of_a_document_is_named(technical: ModuleType) -> None:
    documents = [document for document in technical.technical_documents() if document.source != "stdlib/heapq.md"]
    with pytest.raises(UserError) as caught:
        technical.technical_questions(documents)
    assert str(caught.value) == (
        f"{technical.QUESTIONS}: question 'heapq-where-heap-its-smallest': "
        "its source 'stdlib/heapq.md' is not among the documents"
    )


def test_a_missing_package_is_named(technical: ModuleType) -> None:
    with pytest.raises(UserError) as caught:
        technical.package_document("no-such-package-here")
    assert str(caught.value) == (
        "the description of no-such-package-here is not there: pip install -c constraints.txt no-such-package-here"
    )
