"""`rag-qa agent` against a server that speaks OpenAI's protocol over a real socket."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rag_qa.assistant import Assistant
from rag_qa.commands import agent as command
from rag_qa.config import GenerationConfig, RetrievalConfig
from rag_qa.config.agent import AgentCommandConfig
from rag_qa.document_processor import ingestion
from rag_qa.generation.tool_model import OpenAIToolModel, ToolReply
from roadmap_shared.errors import UserError

from .tiny_index import document, empty_index

MILL = "The north tower of the mill is 40 metres high."


class Server(ThreadingHTTPServer):
    """Gives prepared bodies, one for each request, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[tuple[int, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        self.server.keys.append(self.headers.get("authorization"))
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        status, body = self.server.replies.pop(0)
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status if self.path == "/v1/chat/completions" else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def completion(text: str | None = None, *calls: tuple[str, dict[str, Any]], tokens: int = 50) -> tuple[int, Any]:
    tool_calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for n, (name, given) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": text, **({"tool_calls": tool_calls} if calls else {})}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    usage = {"prompt_tokens": tokens - 1, "completion_tokens": 1, "total_tokens": tokens}
    return 200, {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    index = empty_index(None)
    ingestion.add_documents(index, [document("north.txt", MILL)])
    assistant = Assistant.over(index, RetrievalConfig(), GenerationConfig())
    monkeypatch.setattr(Assistant, "open", classmethod(lambda cls, folder, **settings: assistant))
    monkeypatch.setenv("MILL_KEY", "sk-very-secret")


def config(server: Server, **settings: Any) -> AgentCommandConfig:
    given = {"question": "How high is the tower?", "model": "m", "base_url": server.url, "api_key_env": "MILL_KEY"}
    return AgentCommandConfig(**{**given, "retries": 0, **settings})


@pytest.mark.usefixtures("opened")
def test_every_step_and_the_answer_are_printed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.replies = [
        completion("I look for it.", ("search", {"query": "north tower"})),
        completion("", ("calculator", {"expression": "40 * 100"})),
        completion("The north tower of the mill is 40 metres high [1]."),
    ]
    command.run(config(server))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '1. search {"query": "north tower"}'
    assert MILL in lines[1]
    assert lines[2:4] == ['2. calculator {"expression": "40 * 100"}', "   4000"]
    assert lines[5:] == [
        f"{MILL} [1]",
        f"[1] north.txt, characters 0-{len(MILL)}",
        f"    {MILL}",
        "(2 steps, 150 tokens)",
    ]
    assert server.keys == ["Bearer sk-very-secret"] * 3
    assert [tool["function"]["name"] for tool in server.requests[0]["tools"]] == ["search", "read_page", "calculator"]
    assert [message["role"] for message in server.requests[-1]["messages"]] == [
        "system", "user", "assistant", "tool", "assistant", "tool",
    ]  # fmt: skip
    assert server.requests[-1]["messages"][2]["content"] == "I look for it."


@pytest.mark.usefixtures("opened")
def test_json_and_a_refusal(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.replies = [completion(None, ("search", {"query": "moon"})), completion("NO ANSWER")]
    command.run(config(server, json=True))
    told = json.loads(capsys.readouterr().out)
    assert told["answer"]["refused"] is True
    assert [step["tool"] for step in told["steps"]] == ["search"]
    assert (told["stopped"], told["tokens"]) == ("answered", 100)


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            (401, {"error": {"message": "bad key sk-very-secret"}}),
            "URL refused the key (401): bad key [key]. Put a valid one into the environment variable MILL_KEY.",
        ),
        ((404, {"error": {"message": "no such model"}}), "URL knows no model 'm' at this address (404): no such model"),
        ((400, {"error": {"message": "no tools\nhere"}}), "URL refused the request (400): no tools here"),
        ((500, {"error": {"message": "full"}}), "URL refused the request (500): full"),
        ((200, {"hello": 1}), "URL answered, but not with a completion. Does --base_url end in /v1?"),
        ((200, "no json"), "URL sent what is no completion: "),
    ],
)
def test_a_server_that_fails(server: Server, reply: tuple[int, Any], message: str) -> None:
    server.replies = [reply]
    with pytest.raises(UserError) as raised:
        command.run(config(server))
    said = str(raised.value).replace(server.url, "URL")
    assert said.startswith(message) if message.endswith(": ") else said == message


def test_a_server_that_cannot_be_reached(server: Server) -> None:
    model = OpenAIToolModel("m", "http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(UserError, match=r"^http://127.0.0.1:9/v1 cannot be reached: "):
        model.reply([{"role": "user", "content": "hello"}], (), 10)


def test_a_temporary_failure_is_tried_again(server: Server) -> None:
    server.replies = [(503, {"error": {"message": "busy"}}), completion("Hello.")]
    model = OpenAIToolModel("m", server.url, retries=1)
    assert model.reply([{"role": "user", "content": "hello"}], (), 10) == ToolReply("Hello.", (), 50)
    assert "tools" not in server.requests[-1]
