"""What one client may take: requests in a minute, connections, time to read, threads of the encoder and of answers."""

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.config.serving import ServingConfig
from text_generation.serving import engine as engines
from text_generation.serving.app import create_app
from text_generation.serving.engine import Cancel, Encoded, ThreadEngine
from text_generation.serving.errors import ApiError
from text_generation.serving.rate import RateLimit
from text_generation.serving.service import Service

from .live_server import ASK, SECRET, echo_app, served, until

TOO_MANY = "more than 2 requests in a minute"
CHAT = {"type": "chat", "request": {"messages": ASK["messages"]}}


def ws(url: str) -> str:
    return url.replace("http", "ws", 1) + "/ws/chat"


# Requests in a minute


def test_each_address_has_its_own_count_and_a_minute_clears_it() -> None:
    now = [100.0]
    rate = RateLimit(2, clock=lambda: now[0])
    for client in ("a", "a", "b"):
        rate.count(client)
    now[0] = 130.5
    with pytest.raises(ApiError) as refused:
        rate.count("a")
    assert (refused.value.status_code, refused.value.message) == (429, TOO_MANY)
    assert refused.value.headers == {"retry-after": "30"}
    rate.count("b")
    now[0] = 160.0
    rate.count("a")


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/openapi.json", "/nowhere"])
def test_keys_cannot_be_guessed_without_limit(path: str) -> None:
    with served(echo_app(SECRET, ServingConfig(requests_per_minute=2))) as url:
        keys = ["wrong", "other", SECRET]
        answers = [httpx.get(url + path, headers={"authorization": f"Bearer {key}"}) for key in keys]
        # Even the right key is refused then: an answer to it would tell it from the wrong ones.
        assert [answer.status_code for answer in answers] == [401, 401, 429]
        assert answers[2].json()["error"]["message"] == TOO_MANY
        with pytest.raises(InvalidStatus) as refused, connect(ws(url)):
            pass
        assert refused.value.response.status_code == 429


def test_keys_cannot_be_guessed_in_websockets_either() -> None:
    with served(echo_app(SECRET, ServingConfig(requests_per_minute=2))) as url:
        for _ in range(2):
            with connect(ws(url)) as talk:
                talk.recv(20)
                talk.send('{"type": "auth", "api_key": "wrong"}')
                assert json.loads(talk.recv(20))["error"]["code"] == "invalid_api_key"
        with pytest.raises(InvalidStatus) as refused, connect(ws(url)):
            pass
        assert refused.value.response.status_code == 429


def test_chats_in_a_websocket_count() -> None:
    with served(echo_app(config=ServingConfig(requests_per_minute=2))) as url, connect(ws(url)) as talk:
        talk.recv(20)
        talk.send(json.dumps(CHAT))
        while json.loads(talk.recv(20))["type"] != "end":
            pass
        for _ in range(2):
            talk.send(json.dumps({**CHAT, "id": 5}))
            error = json.loads(talk.recv(20))
            assert (error["type"], error["id"], error["error"]["message"]) == ("error", 5, TOO_MANY)
        assert httpx.get(f"{url}/v1/models").status_code == 429


def test_websockets_are_connections_too() -> None:
    with served(echo_app(config=ServingConfig(max_connections=1))) as url:
        with connect(ws(url)) as talk:
            talk.recv(20)
            with pytest.raises(InvalidStatus) as refused, connect(ws(url)):
                pass
            response = refused.value.response
            assert response.status_code == 503
            message = "too many connections: try again later"
            assert json.loads(response.body or b"")["error"] == {
                "message": message, "type": "server_error", "param": None, "code": "too_many_connections",
            }  # fmt: skip

        def is_free() -> bool:
            try:
                with connect(ws(url)):
                    return True
            except InvalidStatus:
                return False

        until(is_free)


# A WebSocket by hand: what arrives when, and what is never taken


class Wire:
    """The two ends of a connection as the app sees them. What `stuck` names is never taken by the client."""

    def __init__(self, *messages: dict[str, Any], stuck: str = "", stays: bool = False) -> None:
        texts = [{"type": "websocket.receive", "text": json.dumps(message)} for message in messages]
        self.incoming = [{"type": "websocket.connect"}, *texts]
        self.stuck, self.stays = stuck, stays
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if self.incoming:
            return self.incoming.pop(0)
        while self.stays or not self.sent or self.sent[-1]["type"] not in ("end", "error"):
            await asyncio.sleep(0.001)
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] != "websocket.send":
            return
        content = json.loads(message["text"])
        if content["type"] == self.stuck:
            await asyncio.Event().wait()
        self.sent.append(content)

    def run(self, app: FastAPI) -> list[str]:
        """What the client got, by type."""
        scope = {
            "type": "websocket", "path": "/ws/chat", "headers": [(b"host", b"localhost")], "subprotocols": [],
            "client": ("127.0.0.1", 5), "scheme": "ws", "query_string": b"", "state": {},
        }  # fmt: skip

        async def converse() -> None:
            async with asyncio.timeout(20):
                await app(scope, self.receive, self.send)  # type: ignore[arg-type]

        asyncio.run(converse())
        return [message["type"] for message in self.sent]


def test_a_chat_that_is_stopped_at_once_has_an_end() -> None:
    wire = Wire({**CHAT, "id": 3}, {"type": "stop"})
    assert wire.run(echo_app()) == ["ready", "end"]
    assert wire.sent[-1] == {"type": "end", "id": 3, "finish_reason": "cancelled", "usage": None}
    wire = Wire({**CHAT, "id": 3}, {"type": "stop"}, {**CHAT, "id": 4}, {"type": "stop"}, {"type": "stop"})
    wire.run(echo_app())
    assert [(message["type"], message.get("id")) for message in wire.sent[1:]] == [("end", 3), ("end", 4)]


@pytest.mark.parametrize("stuck", ["ready", "start", "text"])
def test_a_client_that_stops_reading_is_let_go_and_its_answer_stopped(stuck: str) -> None:
    stopped = threading.Event()

    class Endless(ThreadEngine):
        def submit(self, encoded: Encoded, decoding: DecodingConfig, seed: int, on_text: Any, on_end: Any) -> Cancel:
            on_text("word ")
            return stopped.set

    app = create_app(Endless(ScriptedBackend(["x"]), 2, "echo"), ServingConfig(stall_seconds=0.05))
    assert stuck not in Wire(CHAT, stuck=stuck, stays=True).run(app)
    assert stopped.is_set() == (stuck != "ready")


def test_a_model_that_fails_with_a_runtime_error_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(ScriptedBackend):
        def count_tokens(self, prompt: Prompt) -> int:
            raise RuntimeError("Already borrowed")

    wire = Wire(CHAT)
    assert wire.run(create_app(ThreadEngine(Failing(["x"]), 2, "echo"), ServingConfig())) == ["ready", "error"]
    assert wire.sent[-1]["error"]["message"] == "internal error; the server's log says more"
    assert "Already borrowed" in caplog.text


def test_a_long_conversation_is_counted_from_its_end() -> None:
    lengths: list[int] = []

    class Counting(ScriptedBackend):
        def count_tokens(self, prompt: Prompt) -> int:
            lengths.append(len(prompt))
            return super().count_tokens(prompt)

    app = create_app(ThreadEngine(Counting(lambda prompt: "yes", context_window=100), 2, "echo"), ServingConfig())
    turns = [{"role": "assistant" if n % 2 else "user", "content": "word"} for n in range(1000)]
    Wire({"type": "chat", "request": {"messages": turns, "max_tokens": 50}}).run(app)
    # Two tokens a turn: 25 fit into 50; of these the first must be the user's. The model counts the prompt once more.
    assert lengths[:10] == [2, 4, 8, 16, 32, 24, 28, 26, 25, 24]


# Threads


def test_one_prompt_is_encoded_at_a_time_even_when_its_client_has_left() -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()
    under_way, most = 0, 0

    class Slow(ThreadEngine):
        def encode(self, prompt: Prompt) -> Encoded:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            begun.release()
            assert go_on.wait(20)
            under_way -= 1
            return Encoded(prompt, 1)

    async def run() -> None:
        service = Service(Slow(ScriptedBackend(["x"]), 2), ServingConfig())
        first = asyncio.create_task(service.encode("first"))
        await asyncio.to_thread(begun.acquire)
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.create_task(service.encode("second"))
        await asyncio.sleep(0.05)
        go_on.set()
        assert (await second).prompt == "second"
        service.close()

    asyncio.run(run())
    assert most == 1


def test_stuck_threads_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    class Stuck(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            nonlocal now
            assert timeout is not None
            now += timeout

    monkeypatch.setattr(engines, "time", SimpleNamespace(monotonic=lambda: now))
    engine = ThreadEngine(ScriptedBackend(["x"]), 64)
    engine._jobs = {Stuck(): threading.Event() for _ in range(64)}
    marks = list(engine._jobs.values())
    engine.close()
    assert now == 2.0
    assert all(mark.is_set() for mark in marks)


def test_a_thread_that_cannot_start_is_told_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = echo_app()
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "answer":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch, served(app) as url:
        patch.setattr(threading.Thread, "start", refuse)
        assert httpx.post(f"{url}/v1/chat/completions", json=ASK).status_code == 500
        assert (app.state.service.admission.active, app.state.service.engine._jobs) == (0, {})
        patch.undo()
        assert httpx.post(f"{url}/v1/chat/completions", json=ASK).status_code == 200
    assert "can't start new thread" in caplog.text
