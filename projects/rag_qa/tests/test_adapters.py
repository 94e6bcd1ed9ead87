"""The index inside LangChain and LlamaIndex, in real chains; bulk embedding by either engine."""

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rag_qa.adapters import ray_embedding
from rag_qa.assistant import Assistant
from rag_qa.config import GenerationConfig, RetrievalConfig
from rag_qa.document_processor import ingestion
from rag_qa.protocols import Condition
from rag_qa.retrieval.embedding_cache import CachedEncoder
from rag_qa.types import User
from roadmap_shared.errors import UserError

from .tiny_index import HashingEncoder, document, empty_index

MILL = "The north tower of the mill is 40 metres high."
SECRET = "The vault code of the tower is 9174."
QUESTION = "How high is the north tower?"
HR = User(name="alice", groups=("hr",))


@pytest.fixture
def assistant() -> Assistant:
    index = empty_index(None)
    ingestion.add_documents(index, [document("north.txt", MILL), document("south.txt", "The south tower is red.")])
    ingestion.add_documents(index, [document("vault.txt", SECRET)], groups=("hr",))
    return Assistant.over(index, RetrievalConfig(), GenerationConfig())


def test_a_langchain_chain(assistant: Assistant) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.language_models.fake import FakeListLLM
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import PromptTemplate
    from langchain_core.runnables import RunnableLambda, RunnablePassthrough

    from rag_qa.adapters.langchain import RagQARetriever

    retriever = RagQARetriever(assistant=assistant, k=2)
    seen: list[str] = []

    def kept(prompt: Any) -> Any:
        seen.append(prompt.to_string())
        return prompt

    chain = (
        {"context": retriever | (lambda found: found[0].page_content), "question": RunnablePassthrough()}
        | PromptTemplate.from_template("{context}\n{question}")
        | RunnableLambda(kept)
        | FakeListLLM(responses=["40 metres"])
        | StrOutputParser()
    )
    assert chain.invoke(QUESTION) == "40 metres"
    assert seen == [f"{MILL}\n{QUESTION}"]


def test_langchain_documents_and_their_places(assistant: Assistant) -> None:
    pytest.importorskip("langchain_core")
    from rag_qa.adapters.langchain import RagQARetriever

    retriever = RagQARetriever(assistant=assistant)
    found = retriever.invoke(QUESTION)
    first, expected = found[0], assistant.search(QUESTION)[0]
    assert first.page_content == MILL
    place = {name: first.metadata[name] for name in ("source", "page", "start", "end", "score")}
    assert place == {"source": "north.txt", "page": 1, "start": 0, "end": len(MILL), "score": expected.score}
    assert first.metadata["ranks"] == dict(expected.ranks)
    assert asyncio.run(retriever.ainvoke(QUESTION)) == found
    assert retriever.batch([QUESTION, "vault"])[0] == found
    assert "vault.txt" not in {one.metadata["source"] for one in retriever.invoke("vault code")}
    assert RagQARetriever(assistant=assistant, user=HR).invoke("vault code")[0].page_content == SECRET
    only = RagQARetriever(assistant=assistant, where=(Condition(field="source", any_of=("south.txt",)),))
    assert {one.metadata["source"] for one in only.invoke(QUESTION)} == {"south.txt"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pydantic.warnings.PydanticDeprecatedSince20")
def test_a_llama_index_query_engine(assistant: Assistant) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.llms import MockLLM
    from llama_index.core.query_engine import RetrieverQueryEngine

    from rag_qa.adapters.llama_index import RagQARetriever

    retriever = RagQARetriever(assistant, k=1)
    (node,) = retriever.retrieve(QUESTION)
    assert node.text == MILL
    assert node.score == assistant.search(QUESTION, k=1)[0].score
    assert {name: node.metadata[name] for name in ("source", "page", "start", "end")} == {
        "source": "north.txt", "page": 1, "start": 0, "end": len(MILL),
    }  # fmt: skip
    assert [one.node for one in asyncio.run(retriever.aretrieve(QUESTION))] == [node.node]
    assert "vault.txt" not in {one.metadata["source"] for one in RagQARetriever(assistant).retrieve("vault code")}
    assert RagQARetriever(assistant, user=HR).retrieve("vault code")[0].text == SECRET
    response = RetrieverQueryEngine.from_args(retriever, llm=MockLLM()).query(QUESTION)
    assert MILL in str(response)  # the fake model repeats its prompt
    assert "score" not in str(response)
    assert [one.node_id for one in response.source_nodes] == [node.node_id]


@pytest.mark.parametrize(
    ("module", "missing", "message"),
    [
        (
            "rag_qa.adapters.langchain", "langchain_core.callbacks",
            'langchain-core is not installed. Run: pip install "roadmap-rag-qa[langchain]"',
        ),
        (
            "rag_qa.adapters.llama_index", "llama_index.core.retrievers",
            'llama-index-core is not installed. Run: pip install "roadmap-rag-qa[llama-index]"',
        ),
    ],
)  # fmt: skip
def test_without_the_framework(module: str, missing: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError) as raised:
        importlib.import_module(module)
    assert str(raised.value) == message


TEXTS = [f"word{n} and word{n * 7 % 13}" for n in range(23)]


def rotated(batch: list[Any]) -> list[Any]:
    return batch[1:] + batch[:1]


def fake_ray(seen: dict[str, Any]) -> ModuleType:
    """Of Ray Data, what is used of it; results come in another order, as from a cluster."""

    class Dataset:
        def __init__(self, rows: list[Any]) -> None:
            self._rows = rows

        def map(self, kind: type, *, fn_constructor_args: tuple[Any, ...], concurrency: int) -> "Dataset":
            seen["concurrency"] = concurrency
            worker = kind(*fn_constructor_args)
            return Dataset(rotated([worker(row) for row in self._rows]))

        def iter_rows(self) -> Iterator[Any]:
            return iter(self._rows)

    data = ModuleType("ray.data")
    data.from_items = Dataset  # type: ignore[attr-defined]
    return data


def test_engines_give_the_same_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = HashingEncoder().encode(TEXTS)
    local = ray_embedding.embed_texts(TEXTS, HashingEncoder, batch=5)
    np.testing.assert_array_equal(local, expected)
    seen: dict[str, Any] = {}
    data = fake_ray(seen)
    ray = ModuleType("ray")
    ray.data = data  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    monkeypatch.setattr(ray_embedding, "find_spec", lambda name: object())
    by_ray = ray_embedding.embed_texts(TEXTS, HashingEncoder, batch=5, workers=3, engine="ray")
    np.testing.assert_array_equal(by_ray, expected)
    assert seen == {"concurrency": 3}


WORKER = """
import numpy as np

class LengthEncoder:
    name = fingerprint = "length"
    dimension, max_tokens = 2, 8

    def encode(self, texts):
        angles = [len(text) + ord(text[-1]) for text in texts]
        return np.array([[np.cos(angle), np.sin(angle)] for angle in angles], dtype=np.float32)
"""


def test_processes_give_the_same_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a process is sent must be found by its name there, so it cannot be of this file.
    (tmp_path / "length_encoder_of_a_test.py").write_text(WORKER, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    make = importlib.import_module("length_encoder_of_a_test").LengthEncoder
    vectors = ray_embedding.embed_texts(TEXTS, make, workers=2, batch=3)
    np.testing.assert_array_equal(vectors, make().encode(TEXTS))


def test_no_texts_and_wrong_numbers() -> None:
    assert ray_embedding.embed_texts([], HashingEncoder).shape == (0, 32)
    with pytest.raises(UserError, match=r"^--workers 0 and --batch 256 must be at least 1$"):
        ray_embedding.embed_texts(TEXTS, HashingEncoder, workers=0)


def test_without_ray() -> None:
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("ray is installed")
    with pytest.raises(UserError) as raised:
        ray_embedding.embed_texts(TEXTS, HashingEncoder, engine="ray")
    assert str(raised.value) == '--engine ray: ray is not installed. Run: pip install "roadmap-rag-qa[ray]"'


def test_an_index_embeds_nothing_after_the_cache_was_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rag_qa.retrieval import encoders

    monkeypatch.setattr(encoders, "build_encoder", lambda config=None: HashingEncoder())
    folder, cache = tmp_path / "documents", tmp_path / "vectors.sqlite"
    folder.mkdir()
    (folder / "mill.txt").write_text(MILL, encoding="utf-8")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    assert ray_embedding.main([str(folder), "--cache", str(cache)]) == 0

    encoder = HashingEncoder()
    kept = CachedEncoder(encoder, cache)
    np.testing.assert_array_equal(kept.encode([MILL]), HashingEncoder().encode([MILL]))
    assert encoder.encoded == []
    kept.close()


def test_a_wrong_path_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ray_embedding.main([str(tmp_path / "none"), "--cache", str(tmp_path / "cache"), "--workers", "1"])
    assert "cannot be read: No such file or directory" in capsys.readouterr().err
