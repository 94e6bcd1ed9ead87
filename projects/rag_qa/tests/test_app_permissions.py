"""No forbidden text anywhere: random documents, groups, users and requests, over the real index and over a fake.

Each document has a canary, a word that stands in its text, its title and its name and nowhere else. Whatever is done,
the canary of a document that a user may not see, or that was deleted, must not turn up in what that user is sent, in
what any stage of the search ranked for it, in what the generator was given, in the log or in the analytics.
"""

import asyncio
import json
import logging
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rag_qa.app.fastapi_api import app_over
from rag_qa.app.index_backend import IndexBackend
from rag_qa.app.keys import Caller, KeyRing, digest_of
from rag_qa.app.library import Backend
from rag_qa.assistant import Assistant
from rag_qa.config.chunking import ChunkingConfig
from rag_qa.config.generation import GenerationConfig
from rag_qa.config.retrieval import RetrievalConfig
from rag_qa.document_processor import ingestion
from rag_qa.document_processor.index import Index
from rag_qa.protocols import AnswerGenerator, Turn, Where
from rag_qa.retrieval.hybrid import HybridRetriever
from rag_qa.types import Answer, Retrieved, User

from .hash_encoder import HashEncoder
from .serving_fakes import LIMITS, FakeBackend, config_in, text_document

GROUPS = ("public", "a", "b")
WORDS = ("pump", "valve", "oil", "price", "leak")


@dataclass(frozen=True)
class Doc:
    """A document of an example."""

    number: int
    groups: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def canary(self) -> str:
        return f"canary{self.number}zq"

    @property
    def source(self) -> str:
        return f"files/{self.canary}.txt"

    @property
    def text(self) -> str:
        return f"The {' and the '.join(self.words)} are the business of {self.canary} alone.\n"


class Watched:
    """A retriever and generator that remember what was ranked and read, and for whom."""

    name = "watched"

    def __init__(self, retriever: HybridRetriever, generator: AnswerGenerator, index: Index) -> None:
        self._retriever, self._generator, self._index = retriever, generator, index
        self.seen: list[tuple[User | None, str]] = []
        self._user: User | None = None

    def search(self, query: str, k: int | None = None, user: User | None = None, where: Where = ()) -> list[Retrieved]:
        self._user = user
        stages = self._retriever.stages(query, 50, user, where)
        ids = [passage for ranking in (*stages.searches.values(), stages.fused) for passage, _ in ranking]
        self.seen += [(user, chunk.text) for chunk in self._index.chunks(ids)]
        return self._retriever.search(query, k, user, where)

    def with_config(self, config: RetrievalConfig) -> "Watched":
        return self

    def answer(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> Answer:
        self.seen += [(self._user, item.chunk.text) for item in retrieved]
        self.seen += [(self._user, turn.answer) for turn in history]
        return self._generator.answer(question, retrieved, history)

    def stream(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> Iterator[str]:
        self.seen += [(self._user, item.chunk.text) for item in retrieved]
        return self._generator.stream(question, retrieved, history)


class WatchedFake(FakeBackend):
    """The fake, which remembers itself what it scored; this says for whom."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[User | None, str]] = []

    def search(self, *args: Any, **kwargs: Any) -> list[Retrieved]:
        self.scored.clear()
        found = super().search(*args, **kwargs)
        user = kwargs.get("user", args[2] if len(args) > 2 else None)
        self.seen += [(user, chunk.text) for chunk in self.scored]
        return found


def backend_with(docs: Sequence[Doc], folder: Path, kind: str) -> tuple[Backend, list[tuple[User | None, str]]]:
    """An index with these documents, and the list in which it notes what was looked at for whom."""
    if kind == "fake":
        fake = WatchedFake()
        for doc in docs:
            fake.put(text_document(doc.source, doc.text), doc.groups)
        return fake, fake.seen
    config = config_in(folder)
    index = Index.create(None, HashEncoder(), ChunkingConfig(size=24, overlap=0, minimum=4))
    for doc in docs:
        ingestion.add_documents(index, [text_document(doc.source, doc.text)], doc.groups)
    assistant = Assistant.over(index, RetrievalConfig(k=3), GenerationConfig(refuse_below=0.0))
    assert isinstance(assistant.retriever, HybridRetriever)
    watched = Watched(assistant.retriever, assistant.generator, index)
    return IndexBackend(replace(assistant, retriever=watched, generator=watched), config), watched.seen


DOCS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(GROUPS), min_size=1, max_size=2, unique=True),
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=5,
).map(lambda found: [Doc(n, tuple(groups), tuple(words)) for n, (groups, words) in enumerate(found)])
USERS = {
    "nobody": Caller(User(name="nobody")),
    "ann": Caller(User(name="ann", groups=("a",))),
    "ben": Caller(User(name="ben", groups=("b",)), admin=True),
    "root": Caller(User(name="root", groups=("a", "b")), admin=True),
}
RING = KeyRing({digest_of(name): caller for name, caller in USERS.items()})
STEP = st.tuples(
    st.sampled_from(["ask", "stream", "search", "list", "read", "delete", "upload", "usage", "probe", "ask", "stream"]),
    st.sampled_from(sorted(USERS)),
    st.integers(0, 4),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=2),
)


@pytest.mark.parametrize("kind", ["fake", "real"])
def test_no_forbidden_text_anywhere(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    @settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)  # type: ignore[arg-type]
    @given(DOCS, st.lists(STEP, min_size=1, max_size=10))
    @example(
        [Doc(0, ("a",), ("pump",)), Doc(1, ("public",), ("pump",))],
        [("ask", "ann", 0, ["pump"]), ("delete", "root", 0, ["oil"]), ("ask", "ann", 0, ["pump"])],
    )
    @example(
        [Doc(0, ("b",), ("pump",))],
        [(step, "nobody", 0, ["pump"]) for step in ("probe", "stream", "search", "list", "read", "delete", "usage")],
    )
    @example(
        [Doc(0, ("a",), ("pump", "oil")), Doc(1, ("b",), ("pump", "oil"))],
        [("upload", "ben", 0, ["oil"]), ("delete", "ben", 1, ["oil"]), ("ask", "ben", 0, ["oil"])],
    )
    def check(docs: list[Doc], steps: list[Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_play(docs, steps, Path(folder), kind, caplog))

    check()


async def _play(docs: list[Doc], steps: list[Any], folder: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    backend, seen = backend_with(docs, folder, kind)
    app = app_over(backend, config_in(folder, replace(LIMITS, stall_seconds=60)), RING)
    gone: set[int] = set()
    conversations: dict[str, str] = {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        for step, name, number, words in steps:
            user = USERS[name].user
            doc = docs[number % len(docs)]
            del seen[:]
            visible = [one for one in docs if set(one.groups) & set(user.visible_groups) and one.number not in gone]
            response = await _request(client, step, name, doc, words, conversations)
            texts = [_without_the_question(response)]
            texts += [text for _, text in seen]
            assert all(asker == user for asker, _ in seen)
            for other in docs:
                if other not in visible:
                    assert not any(other.canary in text for text in texts), (step, name, other)
            if step == "delete" and response.status_code == 200:
                assert doc in visible
                assert USERS[name].admin
                gone.add(doc.number)
            if step in ("read", "delete") and doc not in visible:
                assert response.status_code == 404
            if step == "list":
                listed = [one["source"] for one in response.json()["documents"] if one["source"].startswith("files/")]
                assert sorted(listed) == sorted(one.source for one in visible)
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name != "httpx")
    with sqlite3.connect(folder / "analytics.sqlite") as connection:
        connection.row_factory = sqlite3.Row
        rows = [{**row, "question": ""} for row in map(dict, connection.execute("SELECT * FROM questions"))]
    connection.close()
    assert "canary" not in logged
    assert "canary" not in json.dumps(rows)


async def _request(
    client: httpx.AsyncClient, step: str, name: str, doc: Doc, words: list[str], conversations: dict[str, str]
) -> httpx.Response:
    headers = {"authorization": f"Bearer {name}"}
    question = f"What about the {' '.join(words)}?"
    if step in ("ask", "stream", "probe"):
        if step == "probe":
            question = f"Who is {doc.canary}?"
        body: dict[str, Any] = {"question": question, "stream": step == "stream"}
        if name in conversations:
            body["conversation_id"] = conversations[name]
        response = await client.post("/ask", json=body, headers=headers)
        assert response.status_code == 200
        if step == "ask":
            conversations[name] = response.json()["conversation_id"]
        return response
    if step == "search":
        return await client.post("/search", json={"question": question, "dense_weight": 0.5}, headers=headers)
    if step == "upload":  # a guess at what a forbidden document says
        files = {"files": ("guess.txt", doc.text.replace(doc.canary, "somebody").encode())}
        return await client.post("/documents", files=files, headers=headers)
    if step == "delete":
        return await client.delete(f"/documents/{doc.source}", headers=headers)
    path = {"list": "/documents", "read": f"/documents/{doc.source}", "usage": "/analytics"}[step]
    return await client.get(path, headers=headers)


def _without_the_question(response: httpx.Response) -> str:
    """All that was sent, less the caller's own words, which may hold any canary."""
    text = f"{response.text} {dict(response.headers)}"
    return re.sub(r"Who is canary\d+zq\?", "", text)
