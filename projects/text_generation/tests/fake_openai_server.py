"""A small real HTTP server that answers as a test says, and the client back end that talks to it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from text_generation.backends.openai_client import OpenAIBackend
from text_generation.backends.retrying import RetryPolicy

KEY = "sk-secret-42"
Respond = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """Keeps what was asked, and answers as the test says."""

    server: "Server"  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append((self.path, body))
            turn = len(self.server.asked) - 1
        self.server.responses[min(turn, len(self.server.responses) - 1)](self, body)

    def send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


class Server(ThreadingHTTPServer):
    """Gives its responses in order, the last one again and again."""

    daemon_threads = True

    def __init__(self, responses: list[Respond]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.responses, self.lock = responses, threading.Lock()
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def serving(*responses: Respond) -> Iterator[Server]:
    with Server(list(responses)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def backend_of(address: str, *, retries: int = 2, **settings: Any) -> Iterator[tuple[OpenAIBackend, list[float]]]:
    """A back end that notes its waits instead of waiting."""
    waits: list[float] = []
    policy = RetryPolicy(retries=retries, sleep=waits.append, draw=lambda: 0.5)
    backend = OpenAIBackend("tiny", base_url=address, api_key=KEY, retry=policy, **settings)
    try:
        yield backend, waits
    finally:
        backend.close()


def completion(text: str, reason: str = "stop") -> Respond:
    def respond(handler: Handler, body: dict[str, Any]) -> None:
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
        choice |= {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
        handler.send(200, json.dumps({"id": "1", "choices": [choice], "usage": usage}).encode())

    return respond


def failure(status: int, message: str = "no luck", **headers: str) -> Respond:
    return lambda handler, body: handler.send(
        status, json.dumps({"error": {"message": message, "code": None}}).encode(), **headers
    )


def raw(content: bytes, kind: str = "application/json") -> Respond:
    return lambda handler, body: handler.send(200, content, Content_Type=kind)


def events(*pieces: str, broken: bool = False) -> Respond:
    def respond(handler: Handler, body: dict[str, Any]) -> None:
        field = "delta" if "messages" in body else "text"
        lines = [
            json.dumps({"choices": [{"index": 0, field: {"content": piece} if field == "delta" else piece}]})
            for piece in pieces
        ]
        lines.append("{broken" if broken else "[DONE]")
        handler.send(200, "".join(f"data: {line}\n\n" for line in lines).encode(), Content_Type="text/event-stream")

    return respond
