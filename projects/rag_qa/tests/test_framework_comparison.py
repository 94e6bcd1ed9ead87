"""The comparison with other frameworks: its measuring without them, their searches where they are installed."""

import importlib
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rag_qa.evaluation.evaluation_set import EvaluationQuestion
from rag_qa.types import Chunk
from roadmap_shared.errors import UserError

from .tiny_index import HashingEncoder

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TEXTS = [
    "The north tower is 40 metres high.",
    "The vault code is 9174.",
    "The mill burns down in winter.",
    "Red bread.",
]
QUESTION = "How high is the north tower?"


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the script sets it where it is unset
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("framework_comparison")


def test_each_system_is_asked_each_question_in_each_round(comparison: ModuleType) -> None:
    asked: list[tuple[str, str]] = []

    def right(question: str) -> list[str]:
        asked.append(("right", question))
        return [question.upper()]

    def second(question: str) -> list[str]:
        asked.append(("second", question))
        return ["other", question.upper()]

    questions = [EvaluationQuestion(id=text, text=text, relevant={text.upper(): 1}) for text in ("a", "b")]
    scores, rates = comparison.measure({"right": right, "second": second}, questions, rounds=2)
    assert scores == {"right": {"a": 1.0, "b": 1.0}, "second": {text: pytest.approx(1 / np.log2(3)) for text in "ab"}}
    once = [("right", "a"), ("second", "a"), ("second", "b"), ("right", "b")]  # who begins, changes
    assert asked == [("right", "a"), ("second", "a"), *once, *once]
    assert all(rate > 0 for rate in rates.values())


@pytest.mark.parametrize(
    ("peer", "missing", "install"),
    [
        ("langchain", "langchain-community", 'pip install -c constraints.txt -e "projects/rag_qa[peers]"'),
        ("llama_index", "llama-index-retrievers-bm25", "pip install --no-deps llama-index-retrievers-bm25==0.8.0"),
    ],
)
def test_a_peer_that_is_not_installed(
    peer: str, missing: str, install: str, comparison: ModuleType, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def version(package: str) -> str:
        if package == missing:
            raise PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(sys.modules["_framework_peers"], "version", version)
    file = tmp_path / "squad.json"
    file.write_text('{"version": "1.1", "data": []}', encoding="utf-8")
    monkeypatch.setattr(
        comparison, "load_squad", lambda path: comparison.EvaluationSet(name="", documents=(), questions=())
    )
    assert comparison.main([str(file), "--peers", peer]) == 2
    assert capsys.readouterr().err == f"--peers {peer}: {missing} is not installed. Run: {install}\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("peer", ["langchain", "llama_index"])
def test_a_peer_finds_the_source(peer: str, comparison: ModuleType) -> None:
    try:
        comparison.versions(peer)
    except UserError as error:
        pytest.skip(str(error))
    chunks = [Chunk(source=f"{n}.txt", start=0, end=len(t), text=t, page=1, id=n) for n, t in enumerate(TEXTS)]
    texts = [*TEXTS, QUESTION]
    vectors = dict(zip(texts, HashingEncoder().encode(texts).tolist(), strict=True))
    found = comparison.PEERS[peer](chunks, 3, vectors)(QUESTION)
    assert found[0] == "0.txt"
    assert len(set(found)) == len(found) >= 3
