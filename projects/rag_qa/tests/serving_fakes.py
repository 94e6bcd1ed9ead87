"""What the tests of the app share: an index in memory that ranks by shared words, and an app at a real socket."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from rag_qa.app.fastapi_api import app_over
from rag_qa.app.keys import Caller, KeyRing, digest_of
from rag_qa.app.library import Entry
from rag_qa.app.serve import address, server_of
from rag_qa.config.api import ApiConfig
from rag_qa.config.serving import ServeConfig
from rag_qa.document_processor.unreadable import UnreadableDocument
from rag_qa.protocols import Condition, Turn, Where
from rag_qa.types import Answer, Chunk, Citation, Document, Page, Retrieved, Statement, User
from roadmap_shared.sockets import listen

LIMITS = ApiConfig(
    max_upload_bytes=20_000, max_upload_files=3, max_body_bytes=60_000, stall_seconds=1.5, grace_seconds=1,
    requests_per_minute=0, max_question_characters=300, max_results=8,
)  # fmt: skip

KEYS = {
    "key-alice": Caller(User(name="alice", groups=("hr",))),
    "key-bob": Caller(User(name="bob", groups=("lab",))),
    "key-root": Caller(User(name="root", groups=("hr", "lab")), admin=True),
}
RING = KeyRing({digest_of(key): caller for key, caller in KEYS.items()})


def bearer(user: str) -> dict[str, str]:
    """The header of one of these users."""
    return {"authorization": f"Bearer key-{user}"}


def text_document(source: str, text: str) -> Document:
    """A document of one page."""
    page = Page(number=1, start=0, end=len(text))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Document(source=source, title=source.rpartition("/")[2], text=text, pages=(page,), content_hash=digest)


@dataclass
class Held:
    """A document in the fake index: one chunk for each line."""

    document: Document
    groups: tuple[str, ...]
    chunks: list[Chunk] = field(default_factory=list)


class FakeBackend:
    """An index in memory. It is its own generator."""

    name = "fake"

    def __init__(self, documents: Mapping[str, tuple[str, tuple[str, ...]]] | None = None) -> None:
        self._held: dict[str, Held] = {}
        self._next = 0
        self.scored: list[Chunk] = []
        """All chunks that ever took part in a search."""

        self.heard: list[tuple[str, tuple[Turn, ...]]] = []
        self.let: threading.Semaphore | None = None
        """Taken for each part of a streamed answer, where there is one."""

        self.streamed = 0
        self.failure: Exception | None = None
        for source, (text, groups) in (documents or {}).items():
            self.put(text_document(source, text), groups)

    @property
    def assistant(self) -> "FakeAssistant":
        return FakeAssistant(self)

    def retriever(self, dense_weight: float) -> "Ranker":
        return Ranker(self, dense_weight)

    def entries(self) -> list[Entry]:
        return [
            Entry(
                source=source, title=held.document.title, groups=held.groups, content_hash=held.document.content_hash,
                n_chunks=len(held.chunks), n_pages=1, n_characters=len(held.document.text),
            )
            for source, held in list(self._held.items())
        ]  # fmt: skip

    def document(self, source: str) -> Document:
        return self._held[source].document

    def read(self, path: Path, source: str) -> Document:
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            raise UnreadableDocument(f"{source}: no text, in {path}") from None
        return text_document(source, text)

    def refresh(self) -> bool:
        return False

    def put(self, document: Document, groups: Sequence[str]) -> None:
        held = Held(document, tuple(groups))
        at = 0
        for line in document.text.splitlines(keepends=True):
            self._next += 1
            held.chunks.append(
                Chunk(
                    source=document.source, start=at, end=at + len(line), text=line, page=1, id=self._next,
                    groups=tuple(groups),
                )
            )  # fmt: skip
            at += len(line)
        self._held[document.source] = held

    def delete(self, source: str) -> dict[str, Any]:
        held = self._held.pop(source)
        return {"sources": [source], "chunks": len(held.chunks), "clean": True}

    def page_image(self, path: Path, document: Document, page: int, start: int, end: int) -> bytes:
        return f"image of {document.title}, page {page}, {start} to {end}".encode()

    def search(
        self,
        question: str,
        k: int | None = None,
        user: User | None = None,
        where: Where = (),
        weight: float = 0.5,
    ) -> list[Retrieved]:
        if self.failure is not None:
            raise self.failure
        words = set(question.lower().split())
        conditions = [*where, Condition(field="groups", any_of=(user or User()).visible_groups)]
        allowed = [chunk for held in list(self._held.values()) for chunk in held.chunks if _holds(chunk, conditions)]
        self.scored += allowed
        scores = [(len(words & set(chunk.text.lower().split())), chunk) for chunk in allowed]
        best = sorted(scores, key=lambda item: (-item[0], item[1].id))[: k or 3]
        return [
            Retrieved(
                chunk=chunk, score=score * weight, ranks={"dense": n, "sparse": n, "fused": n},
                scores={"sparse": float(score), "fused": score * weight},
            )
            for n, (score, chunk) in enumerate(best, 1)
            if score
        ]  # fmt: skip

    def answer(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> Answer:
        self.heard.append((question, tuple(history)))
        if not retrieved:
            return Answer(
                question=question, text="The documents do not say.", statements=(), span=None, confidence=0.1,
                refused=True, retrieved=(), generator=self.name,
            )  # fmt: skip
        chunk = retrieved[0].chunk
        quote = chunk.text.strip()
        citation = Citation(
            source=chunk.source, page=chunk.page, start=chunk.start, end=chunk.start + len(quote), quote=quote,
            chunk_id=chunk.id,
        )  # fmt: skip
        statement = Statement(text=quote, citations=(citation,), supported=True)
        return Answer(
            question=question, text=quote, statements=(statement,), span=quote.split()[0], confidence=0.9,
            refused=False, retrieved=tuple(retrieved), generator=self.name,
        )  # fmt: skip

    def stream(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> Iterator[str]:
        for word in self.answer(question, retrieved, history).text.split(" "):
            if self.let is not None:
                assert self.let.acquire(timeout=60)
            self.streamed += 1
            yield f"{word} "


@dataclass(frozen=True)
class Ranker:
    """The fake's retriever with another weight."""

    backend: FakeBackend
    weight: float = 0.5

    def search(self, query: str, k: int | None = None, user: User | None = None, where: Where = ()) -> list[Retrieved]:
        return self.backend.search(query, k, user, where, weight=self.weight)


@dataclass(frozen=True)
class FakeAssistant:
    """The fake as an assistant."""

    generator: FakeBackend

    @property
    def retriever(self) -> Ranker:
        return Ranker(self.generator)

    def generator_for(self, user: User) -> FakeBackend:
        return self.generator

    def search(
        self, question: str, *, user: User | None = None, where: Where = (), history: Sequence[Turn] = ()
    ) -> list[Retrieved]:
        return self.generator.search(question, None, user, where)


def _holds(chunk: Chunk, conditions: Sequence[Condition]) -> bool:
    values = {"groups": chunk.groups, "source": (chunk.source,)}
    return all(set(values[condition.field]) & set(condition.any_of) for condition in conditions)


def config_in(folder: Path, limits: ApiConfig = LIMITS, **settings: Any) -> ServeConfig:
    """A server's config with an index, uploads and analytics in a folder."""
    return ServeConfig(index=folder / "index", analytics=folder / "analytics.sqlite", api=limits, **settings)


def fake_app(
    folder: Path, backend: FakeBackend, limits: ApiConfig = LIMITS, *, keys: bool = True, **settings: Any
) -> FastAPI:
    """The app over the fake index."""
    return app_over(backend, config_in(folder, limits, **settings), RING if keys else None)


@contextmanager
def served(app: FastAPI, limits: ApiConfig = LIMITS) -> Iterator[str]:
    """The app at a free port, in a thread."""
    with listen("127.0.0.1", 0) as listener:
        server = server_of(app, ServeConfig(api=limits), listener)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield address("127.0.0.1", listener)
        finally:
            server.should_exit = True
            thread.join()


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
