"""The index inside LangChain and LlamaIndex, in real chains, tools and query engines."""

import asyncio
import importlib
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from rag_qa import assistant as assistant_module
from rag_qa.adapters.opening import OpenedByNeed
from rag_qa.assistant import Assistant
from rag_qa.config import GenerationConfig, RetrievalConfig
from rag_qa.document_processor import ingestion
from rag_qa.protocols import Condition
from rag_qa.types import Chunk, Retrieved, User
from roadmap_shared.errors import UserError

from .tiny_index import HashingEncoder, document, empty_index

MILL = "The north tower of the mill is 40 metres high."
SECRET = "The vault code of the tower is 9174."
QUESTION = "How high is the north tower?"
EMPTY = "the question is empty: ask something with at least one letter or digit"
HR = User(name="alice", groups=("hr",))
SOUTH = (Condition(field="source", any_of=("south.txt",)),)


def opened(folder: Path | None) -> Assistant:
    index = empty_index(folder)
    ingestion.add_documents(index, [document("north.txt", MILL), document("south.txt", "The south tower is red.")])
    ingestion.add_documents(index, [document("vault.txt", SECRET)], groups=("hr",))
    return Assistant.over(index, RetrievalConfig(), GenerationConfig())


@pytest.fixture
def assistant() -> Assistant:
    return opened(None)


@pytest.fixture
def by_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenedByNeed:
    """The same index on the disk."""
    opened(tmp_path / "index").index.close()
    monkeypatch.setattr(assistant_module, "build_encoder", lambda config: HashingEncoder())
    monkeypatch.chdir(tmp_path)
    return OpenedByNeed(Path("index"))


def sources(documents: list[Any]) -> list[str]:
    return [one.metadata["source"] for one in documents]


def test_a_langchain_chain_that_serves_several_users(assistant: Assistant) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.language_models.fake_chat_models import FakeListChatModel
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough

    from rag_qa.adapters.langchain import RagQARetriever

    retriever = RagQARetriever(assistant=assistant, k=1).configurable_fields(user=ConfigurableField(id="user"))
    seen: list[str] = []

    def kept(prompt: Any) -> Any:
        seen.append(prompt.to_string())
        return prompt

    chain = (
        {"context": retriever | (lambda found: found[0].page_content), "question": RunnablePassthrough()}
        | ChatPromptTemplate.from_template("{context}\n{question}")
        | RunnableLambda(kept)
        | FakeListChatModel(responses=["40 metres"])
        | StrOutputParser()
    )
    assert chain.invoke(QUESTION) == "40 metres"
    assert asyncio.run(chain.abatch([QUESTION, QUESTION])) == ["40 metres", "40 metres"]
    assert chain.invoke("vault code", config={"configurable": {"user": HR}}) == "40 metres"
    as_json = {"name": "alice", "groups": ["hr"]}
    assert asyncio.run(chain.ainvoke("vault code", config={"configurable": {"user": as_json}})) == "40 metres"
    assert seen == [f"Human: {MILL}\n{QUESTION}"] * 3 + [f"Human: {SECRET}\nvault code"] * 2
    chain.invoke("vault code")
    assert SECRET not in seen[-1]


def test_langchain_documents_and_their_places(assistant: Assistant) -> None:
    pytest.importorskip("langchain_core")
    from rag_qa.adapters.langchain import RagQARetriever

    retriever = RagQARetriever(assistant=assistant)
    found = retriever.invoke(QUESTION)
    first, expected = found[0], assistant.search(QUESTION)[0]
    place = {"source": "north.txt", "page": 1, "start": 0, "end": len(MILL), "headings": [], "chunk_id": 1}
    assert (first.id, first.page_content, first.metadata) == ("1", MILL, place)
    assert asyncio.run(retriever.ainvoke(QUESTION)) == found
    assert retriever.batch([QUESTION, "vault"])[0] == found
    (other,) = [one for one in retriever.invoke("the red mill") if one.id == "1"]
    assert other == first  # what joins the passages of several questions counts it once
    (scored,) = RagQARetriever(assistant=assistant, scores=True, k=1).invoke(QUESTION)
    assert scored.metadata == {**place, "score": expected.score, "ranks": dict(expected.ranks)}


def test_langchain_options_of_one_question(assistant: Assistant) -> None:
    pytest.importorskip("langchain_core")
    from rag_qa.adapters.langchain import RagQARetriever

    retriever = RagQARetriever(assistant=assistant)
    assert "vault.txt" not in sources(retriever.invoke("vault code"))
    assert sources(RagQARetriever(assistant=assistant, user=HR).invoke("vault code"))[0] == "vault.txt"
    assert sources(retriever.invoke("vault code", user=HR, k=1)) == ["vault.txt"]
    assert sources(asyncio.run(retriever.ainvoke("vault code", user=HR, k=1))) == ["vault.txt"]
    assert sources(retriever.invoke(QUESTION, where=SOUTH)) == ["south.txt"]
    only = RagQARetriever(assistant=assistant, where=SOUTH)
    assert sources(only.invoke(QUESTION)) == ["south.txt"]
    assert only.invoke(QUESTION, where=(Condition(field="source", any_of=("north.txt",)),)) == []
    with pytest.raises(TypeError, match="unexpected keyword argument 'filter'"):
        retriever.invoke(QUESTION, filter={"source": "south.txt"})


def test_a_langchain_tool_tells_its_model_what_cannot_be_searched(assistant: Assistant) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.prompts import PromptTemplate
    from langchain_core.tools import create_retriever_tool

    from rag_qa.adapters.langchain import RagQARetriever, SearchRefused

    tool = create_retriever_tool(
        RagQARetriever(assistant=assistant, k=1), "search", "Finds passages.",
        document_prompt=PromptTemplate.from_template("{source}, page {page}: {page_content}"),
    )  # fmt: skip
    assert tool.invoke({"query": QUESTION}) == f"north.txt, page 1: {MILL}"
    with pytest.raises(SearchRefused) as raised:
        tool.invoke({"query": "?!"})
    assert str(raised.value) == EMPTY
    tool.handle_tool_error = True
    assert asyncio.run(tool.ainvoke({"query": "?!"})) == EMPTY


def test_langchain_callbacks(assistant: Assistant) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.callbacks import BaseCallbackHandler

    from rag_qa.adapters.langchain import RagQARetriever

    seen: list[Any] = []

    class Handler(BaseCallbackHandler):
        def on_retriever_start(self, serialized: Any, query: str, **options: Any) -> None:
            seen.append(query)

        def on_retriever_end(self, documents: Any, **options: Any) -> None:
            seen.append(sources(documents))

        def on_retriever_error(self, error: BaseException, **options: Any) -> None:
            seen.append(str(error))

    retriever = RagQARetriever(assistant=assistant, k=1)
    retriever.invoke(QUESTION, config={"callbacks": [Handler()]})
    with pytest.raises(UserError):
        asyncio.run(retriever.ainvoke("?!", config={"callbacks": [Handler()]}))
    assert seen == [QUESTION, ["north.txt"], "?!", EMPTY]


def test_a_langchain_retriever_is_sent_to_another_process(by_need: OpenedByNeed) -> None:
    pytest.importorskip("langchain_core")
    from rag_qa.adapters.langchain import RagQARetriever

    retriever = RagQARetriever(assistant=by_need, user=HR, k=1)
    assert sources(retriever.invoke("vault code")) == ["vault.txt"]
    sent = pickle.loads(pickle.dumps(retriever))
    assert sources(sent.invoke("vault code")) == ["vault.txt"]
    for one in (by_need, sent.assistant):
        one.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pydantic.warnings.PydanticDeprecatedSince20")
def test_a_llama_index_query_engine(assistant: Assistant) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.llms import MockLLM
    from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine

    from rag_qa.adapters.llama_index import RagQARetriever

    retriever = RagQARetriever(assistant, k=1)
    (node,) = retriever.retrieve(QUESTION)
    assert (node.node_id, node.text, node.node.ref_doc_id) == ("1", MILL, "north.txt")
    assert node.score == assistant.search(QUESTION, k=1)[0].score
    assert node.metadata == {"source": "north.txt", "page": 1, "start": 0, "end": len(MILL), "chunk_id": 1}
    assert [one.node for one in asyncio.run(retriever.aretrieve(QUESTION))] == [node.node]
    assert "vault.txt" not in sources(RagQARetriever(assistant).retrieve("vault code"))
    assert sources(RagQARetriever(assistant, user=HR, k=1).retrieve("vault code")) == ["vault.txt"]
    assert sources(RagQARetriever(assistant, where=SOUTH).retrieve(QUESTION)) == ["south.txt"]
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    for response in (engine.query(QUESTION), asyncio.run(engine.aquery(QUESTION))):
        assert f"source: north.txt\npage: 1\n\n{MILL}" in str(response)  # the fake model repeats its prompt
        assert [one.node_id for one in response.source_nodes] == [node.node_id]
    cited = CitationQueryEngine.from_args(None, retriever=retriever, llm=MockLLM()).query(QUESTION)  # type: ignore[arg-type]
    assert sources(cited.source_nodes) == ["north.txt"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pydantic.warnings.PydanticDeprecatedSince20")
def test_llama_index_counts_a_passage_of_two_questions_once(assistant: Assistant) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.llms import MockLLM
    from llama_index.core.retrievers import QueryFusionRetriever

    from rag_qa.adapters.llama_index import RagQARetriever

    class Variants(MockLLM):
        def complete(self, *args: Any, **options: Any) -> Any:
            response = super().complete("")
            response.text = "red south tower\nthe red mill"
            return response

    fusion = QueryFusionRetriever(
        [RagQARetriever(assistant)], llm=Variants(), mode="reciprocal_rerank", num_queries=3, use_async=False  # type: ignore[arg-type]
    )  # fmt: skip
    assert sorted(sources(fusion.retrieve(QUESTION))) == ["north.txt", "south.txt"]


def test_a_llama_index_node_holds_its_headings_as_one_text() -> None:
    pytest.importorskip("llama_index.core")
    from rag_qa.adapters.llama_index import to_node

    chunk = Chunk(source="a.md", start=0, end=4, text="Text", page=1, headings=("Mills", "Towers"))
    node = to_node(Retrieved(chunk=chunk, score=0.5)).node
    assert node.get_metadata_str("llm") == "source: a.md\npage: 1\nheadings: Mills > Towers"  # type: ignore[arg-type]


def test_a_llama_index_retriever_is_sent_to_another_process(by_need: OpenedByNeed) -> None:
    pytest.importorskip("llama_index.core")
    from rag_qa.adapters.llama_index import RagQARetriever

    sent = pickle.loads(pickle.dumps(RagQARetriever(by_need, user=HR, k=1)))
    assert sources(sent.retrieve("vault code")) == ["vault.txt"]
    sent._assistant.close()


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
