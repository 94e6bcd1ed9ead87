"""The WebSocket: a conversation, its trimming, its key, and what it refuses without ending."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from .live_server import ASK, SECRET, echo_app, served


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(echo_app()) as place:
        yield place


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with served(echo_app(SECRET)) as place:
        yield place


def ws(url: str) -> str:
    return url.replace("http", "ws", 1) + "/ws/chat"


def chat(socket_: Any, request: Any, number: int | None = None) -> list[dict[str, Any]]:
    """Ask and hear until the end."""
    socket_.send(json.dumps({"type": "chat", "id": number, "request": request}))
    heard: list[dict[str, Any]] = []
    while not heard or heard[-1]["type"] not in ("end", "error"):
        heard.append(json.loads(socket_.recv(20)))
    return heard


def test_a_conversation_over_a_websocket(url: str) -> None:
    with connect(ws(url)) as talk:
        assert json.loads(talk.recv(20)) == {"type": "ready", "model": "echo", "context_window": 100}
        start, *pieces, end = chat(talk, {"messages": ASK["messages"]}, 7)
        assert start == {"type": "start", "id": 7, "dropped": 0}
        assert "".join(piece["text"] for piece in pieces) == "user=hi"
        usage = {"prompt_tokens": 2, "completion_tokens": 1}
        assert end == {"type": "end", "id": 7, "finish_reason": "stop", "usage": usage}


def test_a_long_conversation_loses_its_oldest_turns_and_never_its_system_prompt(url: str) -> None:
    turns = [{"role": "assistant" if n % 2 else "user", "content": f"word {n}"} for n in range(61)]
    messages = [{"role": "system", "content": "be brief"}, *turns]
    with connect(ws(url)) as talk:
        talk.recv(20)
        start, *pieces, _ = chat(talk, {"messages": messages, "max_tokens": 50})
        # 3 tokens a turn: 3 + 3 n <= 100 - 50; of the 15 turns that fit the first is the user's.
        assert start["dropped"] == 46
        said = "".join(piece["text"] for piece in pieces)
        assert said.startswith("system=be brief|user=word 46|assistant=word 47|")
        assert said.endswith("|user=word 60")


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ("{", "the body is no JSON: EOF while parsing an object at line 1 column 1"),
        (b"\xff", "the body is no JSON: expected value at line 1 column 1"),
        ("[" * 5000, "the body is no JSON: recursion limit exceeded at line 1 column 202"),
        ('{"type": "dance"}', "'type' must be 'auth', 'chat' or 'stop'"),
        ('{"type": "chat"}', "'messages' is missing"),
        ('{"type": "chat", "request": {"messages": [{"role": "user", "content": 5}]}}',
         "'messages[0].content' must be a valid string"),
        ('{"type": "chat", "request": {"n": 2, "messages": [{"role": "user", "content": "x"}]}}',
         "'n' must be 1 in a conversation"),
        ('{"type": "chat", "request": {"model": "x", "messages": [{"role": "user", "content": "x"}]}}',
         "the model 'x' does not exist. This server has 'echo'."),
    ],
    ids=range(8),
)  # fmt: skip
def test_what_a_websocket_refuses_does_not_end_it(url: str, sent: str | bytes, message: str) -> None:
    with connect(ws(url)) as talk:
        talk.recv(20)
        talk.send('{"type": "stop"}')  # with nothing to stop
        talk.send(sent)
        answer = json.loads(talk.recv(20))
        assert (answer["type"], answer["error"]["message"]) == ("error", message)
        assert chat(talk, {"messages": ASK["messages"]})[-1]["type"] == "end"


def test_a_websocket_message_that_is_too_large_ends_it(url: str) -> None:
    with connect(ws(url)) as talk:
        talk.recv(20)
        talk.send("x" * 20_001)
        with pytest.raises(ConnectionClosed) as closed:
            talk.recv(20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


@pytest.fixture
def server_log() -> Iterator[list[logging.LogRecord]]:
    """What uvicorn logs."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("uvicorn")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def test_broken_utf8_ends_a_websocket_and_leaves_no_traceback(url: str, server_log: list[logging.LogRecord]) -> None:
    with connect(ws(url)) as talk:
        talk.recv(20)
        talk.send(b"\xff", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            talk.recv(20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007
    assert server_log == []


def test_the_key_of_a_websocket(locked: str) -> None:
    with connect(ws(locked)) as talk:
        assert json.loads(talk.recv(20))["type"] == "key_needed"
        talk.send(json.dumps({"type": "auth", "api_key": SECRET}))
        assert json.loads(talk.recv(20))["type"] == "ready"
    for first in ({"type": "auth", "api_key": "x"}, {"type": "auth"}, {"type": "chat", "request": ASK}):
        with connect(ws(locked)) as talk:
            talk.recv(20)
            talk.send(json.dumps(first))
            assert json.loads(talk.recv(20))["error"]["code"] == "invalid_api_key"
            with pytest.raises(ConnectionClosed) as closed:
                talk.recv(20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008


def test_a_page_of_another_origin_may_not_connect(url: str, server_log: list[logging.LogRecord]) -> None:
    for origin in ("http://evil.example", "null", "http://[", url.replace("127.0.0.1", "localhost")):
        with pytest.raises(InvalidStatus) as refused, connect(ws(url), origin=origin):  # type: ignore[arg-type]
            pass
        assert refused.value.response.status_code == 403
    with connect(ws(url), origin=url) as talk:  # type: ignore[arg-type]
        assert json.loads(talk.recv(20))["type"] == "ready"
    assert server_log == []
