"""/ask, /search, /feedback and conversations over a real socket: answers, events, isolation, bad requests."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag_qa.config.api import ApiConfig
from roadmap_shared.errors import UserError

from .serving_fakes import LIMITS, FakeBackend, bearer, fake_app, served, until

DOCUMENTS = {
    "guides/cats.md": ("Cats sleep all day.\nCats hunt at night.\n", ("public",)),
    "hr/pay.txt": ("Pay rises in May.\n", ("hr",)),
}
NO_OBJECT = "the body must be a JSON object, sent as Content-Type: application/json"
NO_DOCUMENT = "no such document; GET /documents lists yours"


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(DOCUMENTS)


@pytest.fixture
def url(tmp_path: Path, backend: FakeBackend) -> Iterator[str]:
    with served(fake_app(tmp_path, backend)) as place:
        yield place


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for requests that change nothing."""
    with served(fake_app(tmp_path_factory.mktemp("standing"), FakeBackend(DOCUMENTS))) as place:
        yield place


def ask(url: str, question: str, user: str = "alice", **fields: Any) -> httpx.Response:
    return httpx.post(f"{url}/ask", json={"question": question, **fields}, headers=bearer(user), timeout=30)


def begun(url: str, question: str, user: str = "alice") -> str:
    """The id of a conversation that begins with this question."""
    return ask(url, question, user).json()["conversation_id"]


def usage_of(url: str) -> Any:
    return httpx.get(f"{url}/analytics", headers=bearer("root")).json()


def events_of(response: httpx.Response) -> list[tuple[str, Any]]:
    """The events of a stream, parsed by a reader of its own."""
    events = []
    for block in response.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append((fields["event"], json.loads(fields["data"])))
    return events


def refusal(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert set(error) == {"status", "code", "message"}
    assert error["status"] == response.status_code
    return response.status_code, error["message"]


def test_an_answer_with_its_citations(url: str) -> None:
    answer = ask(url, "when do cats sleep all day").json()
    assert answer["text"] == "Cats sleep all day."
    assert answer["statements"] == [{"text": "Cats sleep all day.", "supported": True, "citations": [1]}]
    (citation,) = answer["citations"]
    assert citation == {
        "number": 1, "source": "guides/cats.md", "page": 1, "start": 0, "end": 19, "quote": "Cats sleep all day.",
        "before": "", "after": "\n",
    }  # fmt: skip
    assert (answer["confidence"], answer["refused"], answer["span"]) == (0.9, False, "Cats")
    assert [item["ranks"]["fused"] for item in answer["retrieved"]] == [1, 2]
    assert "id" not in answer["retrieved"][0]  # they would tell how much there is that one may not see
    assert "chunk_id" not in answer["retrieved"][0]
    assert set(answer["seconds"]) == {"waiting", "retrieval", "generation", "total"}
    text = httpx.get(f"{url}/documents/guides/cats.md", headers=bearer("alice")).json()["text"]
    assert text[citation["start"] : citation["end"]] == citation["quote"]


def test_the_same_answer_as_events(url: str) -> None:
    response = ask(url, "cats hunt", stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response)
    assert [name for name, _ in events] == ["start", "token", "token", "token", "token", "answer"]
    assert "".join(content["text"] for name, content in events if name == "token").strip() == "Cats hunt at night."
    answer, whole = events[-1][1], ask(url, "cats hunt").json()
    assert events[0][1] == {"answer_id": answer["answer_id"], "conversation_id": answer["conversation_id"]}
    for changing in ("answer_id", "conversation_id", "seconds"):
        assert answer.pop(changing) != whole.pop(changing)
    assert answer == whole


def test_a_stream_that_returns_its_answer_is_not_made_twice(url: str, backend: FakeBackend) -> None:
    whole = backend.stream

    def stream(*given: Any) -> Any:
        yield from whole(*given)
        return backend.answer(*given)

    backend.stream = stream  # type: ignore[method-assign]
    assert events_of(ask(url, "cats hunt", stream=True))[-1][1]["text"] == "Cats hunt at night."
    assert len(backend.heard) == 2  # once by the fake's own stream, once at its end, and not again


def test_a_client_that_leaves_ends_the_answer(url: str, backend: FakeBackend, tmp_path: Path) -> None:
    backend.let = threading.Semaphore(1)
    body = {"question": "cats sleep", "stream": True}
    with httpx.stream("POST", f"{url}/ask", json=body, headers=bearer("alice"), timeout=30) as response:
        for line in response.iter_lines():
            if line == "event: token":
                break

    def ending() -> list[tuple[str]]:
        with sqlite3.connect(tmp_path / "analytics.sqlite") as connection:
            rows = connection.execute("SELECT ending FROM questions").fetchall()
        connection.close()
        return rows

    def gone() -> bool:
        assert backend.let is not None
        backend.let.release()
        return ending() == [("abandoned",)]

    # The server notices after a moment; one more word may be made until then, and never all of them.
    time.sleep(0.3)
    until(gone)
    assert backend.streamed < 4
    backend.let = None
    assert ask(url, "cats sleep").status_code == 200


def test_passages_with_all_ranks_and_another_weight(url: str) -> None:
    def search(**fields: Any) -> Any:
        return httpx.post(f"{url}/search", json={"question": "cats hunt", **fields}, headers=bearer("bob")).json()

    first, second = search()["results"]
    assert (first["text"], first["scores"]["sparse"], first["ranks"]) == (
        "Cats hunt at night.\n", 2.0, {"dense": 1, "sparse": 1, "fused": 1},
    )  # fmt: skip
    assert second["scores"] == {"sparse": 1.0, "fused": 0.5}
    assert [item["scores"]["fused"] for item in search(dense_weight=0.25)["results"]] == [0.5, 0.25]
    assert len(search(k=1)["results"]) == 1
    assert search(source="guides/cats.md")["results"] == search()["results"]


def test_a_conversation_goes_on_and_belongs_to_its_user(url: str, backend: FakeBackend) -> None:
    identity = begun(url, "cats sleep")
    assert ask(url, "and pay", conversation_id=identity).json()["conversation_id"] == identity
    assert [turn.question for turn in backend.heard[-1][1]] == ["cats sleep"]
    unknown = (404, "no such conversation; leave conversation_id out to begin one")
    assert refusal(ask(url, "and then", user="bob", conversation_id=identity)) == unknown
    assert refusal(ask(url, "and then", conversation_id="made-up")) == unknown
    path = f"{url}/conversations/{identity}"
    assert refusal(httpx.delete(path, headers=bearer("bob"))) == unknown
    assert httpx.delete(path, headers=bearer("alice")).status_code == 204
    assert refusal(ask(url, "and then", conversation_id=identity)) == unknown


def test_what_was_removed_leaves_the_conversation(url: str, backend: FakeBackend) -> None:
    identity = begun(url, "pay rises", "root")
    ask(url, "cats sleep", user="root", conversation_id=identity)
    assert httpx.delete(f"{url}/documents/hr/pay.txt", headers=bearer("root")).status_code == 200
    assert ask(url, "pay rises", user="root").json()["refused"]
    ask(url, "cats hunt", user="root", conversation_id=identity)
    assert [turn.question for turn in backend.heard[-1][1]] == ["cats sleep"]


def test_feedback_on_one_s_own_answers(url: str) -> None:
    identity = ask(url, "cats sleep").json()["answer_id"]

    def say(user: str, answer_id: str = identity, **fields: Any) -> httpx.Response:
        body = {"answer_id": answer_id, "useful": False, **fields}
        return httpx.post(f"{url}/feedback", json=body, headers=bearer(user))

    assert say("alice", comment=" no ").json() == {"status": "kept"}
    assert say("alice", comment="wrong").json() == {"status": "kept"}
    unknown = (404, "no such answer of yours is known")
    assert refusal(say("bob")) == unknown
    assert refusal(say("alice", "x")) == unknown
    assert refusal(say("alice", comment="x" * 301)) == (
        400, "the comment has more than 300 characters: write a shorter one",
    )  # fmt: skip
    usage = usage_of(url)
    assert (usage["n_questions"], usage["n_not_useful"], usage["endings"]["answered"]) == (1, 1, 1)
    assert usage["comments"] == [{"question": "cats sleep", "useful": False, "comment": "wrong"}]
    assert usage["unanswered"][0]["examples"] == ["cats sleep"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("ask", b"", 400, NO_OBJECT),
        ("ask", b"[1]", 400, NO_OBJECT),
        ("ask", b"{", 400, "the body is no JSON"),
        ("ask", b"\xff{}", 400, "the request cannot be read"),
        ("ask", b"{}", 400, "'question' is missing"),
        ("ask", b'{"question": " ?! "}', 400, "'question' is empty: it needs a letter or a digit"),
        ("ask", b'{"question": 7}', 400, "'question' must be a valid string"),
        ("ask", b'{"question": "a", "k": 7}', 400, "unknown field 'k'"),
        ("ask", b'{"question": "\\ud800 a"}', 400, "'question' holds a broken character (half of a surrogate pair)"),
        ("ask", json.dumps({"question": "a" * 301}).encode(), 400,
         "the question has more than 300 characters: ask a shorter one"),
        ("ask", b'{"question": "a", "source": "none"}', 404, NO_DOCUMENT),
        ("search", b'{"question": "a", "k": 0}', 400, "'k' must be greater than or equal to 1"),
        ("search", b'{"question": "a", "k": 9}', 400, "'k' must be at most 8"),
        ("search", b'{"question": "a", "dense_weight": 1.5}', 400, "'dense_weight' must be less than or equal to 1"),
        ("search", b'{"question": "a", "dense_weight": NaN}', 400, "'dense_weight' must be less than or equal to 1"),
        ("search", b'{"question": "a", "source": "hr/pay.txt"}', 404, NO_DOCUMENT),
        ("feedback", b'{"answer_id": "x"}', 400, "'useful' is missing"),
        ("nothing", b"{}", 404, "unknown URL"),
        ("health", b"{}", 405, "POST is not allowed here"),
    ],
)  # fmt: skip
def test_bad_requests(standing: str, path: str, body: bytes, status: int, message: str) -> None:
    headers = {"content-type": "application/json", **bearer("bob")}
    assert refusal(httpx.post(f"{standing}/{path}", content=body, headers=headers)) == (status, message)


@pytest.mark.parametrize("stream", [False, True])
def test_failures_behind_the_routes(
    url: str, backend: FakeBackend, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    backend.failure = UserError("--store.url http://vectors:6333: no answer; see /var/lib/secret/place.log")
    assert refusal(ask(url, "cats", stream=stream)) == (
        503, "a part of the server cannot answer: --store.url http://vectors:6333: no answer; see place.log",
    )  # fmt: skip
    backend.failure = ValueError("/var/lib/secret")
    assert refusal(ask(url, "cats", stream=stream)) == (500, "internal error; the server's log says more")
    ours = [record.getMessage().partition(":")[0] for record in caplog.records if record.name == "rag_qa.app"]
    assert ours == ["a request failed"] * 2
    caplog.clear()
    backend.failure = None
    usage = usage_of(url)
    assert usage["endings"] == {"answered": 0, "refused": 0, "abandoned": 0, "failed": 2}


def test_too_many_questions_at_a_time(tmp_path: Path) -> None:
    backend = FakeBackend(DOCUMENTS)
    backend.let = threading.Semaphore(0)
    limits = ApiConfig(workers=1, max_waiting=1, requests_per_minute=0, stall_seconds=LIMITS.stall_seconds)
    with served(fake_app(tmp_path, backend, limits), limits) as url, ThreadPoolExecutor(2) as pool:
        asked = []
        for n in (1, 2):
            asked.append(pool.submit(ask, url, "cats sleep", stream=True))

            def taken(n: int = n) -> bool:
                figures = httpx.get(f"{url}/metrics", headers=bearer("root")).text
                return "ragqa_active 1.0\n" in figures and f"ragqa_waiting {n - 1}.0\n" in figures

            until(taken)
        refused = ask(url, "cats")
        assert refusal(refused) == (503, "too many questions at a time: try again")
        assert refused.headers["retry-after"] == "5"
        backend.let.release(1000)
        assert [events_of(future.result())[-1][0] for future in asked] == ["answer", "answer"]
