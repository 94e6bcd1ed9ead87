"""What a careless or hostile client may send: every mistake is an error object, and the server goes on."""

import asyncio
import json
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from text_generation.config.backend import BackendConfig
from text_generation.config.serving import ServingConfig
from text_generation.serving.guard import Guard, is_key
from text_generation.serving.metrics import ServerMetrics
from text_generation.serving.rate import RateLimit

from .live_server import ASK, SECRET, echo_app, served


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(echo_app()) as place:
        yield place


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with served(echo_app(SECRET)) as place:
        yield place


def post(url: str, body: Any, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(url + path, content=content, headers={"content-type": "application/json", **headers}, timeout=30)


def refusal(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    return response.status_code, error["message"]


NO_JSON = "the body is no JSON: broken UTF-8, nested too deeply, or a number with too many digits"
NO_OBJECT = "the body must be a JSON object, sent as Content-Type: application/json"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", NO_OBJECT),
        (b"[1]", NO_OBJECT),
        (b'"hello"', NO_OBJECT),
        (b"null", NO_OBJECT),
        (b"{", "the body is no JSON: Expecting property name enclosed in double quotes"),
        (b"\xff{}", NO_JSON),
        (b'{"model": "\xff"}', NO_JSON),
        (b"[" * 9000 + b"]" * 9000, NO_JSON),
        (b'{"model": "echo", "messages": ' + b'{"a":' * 3000 + b"1" + b"}" * 3000 + b"}", NO_JSON),
        (b'{"seed": ' + b"9" * 5000 + b"}", NO_JSON),
    ],
    ids=range(10),
)  # fmt: skip
def test_bodies_that_are_no_request(url: str, body: bytes, message: str) -> None:
    assert refusal(post(url, body)) == (400, message)


def form_of(schema: Any, name: str = "answer") -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


def with_field(**fields: Any) -> dict[str, Any]:
    return {**ASK, **fields}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "echo"}, "'messages' is missing"),
        (with_field(messages=[]), "'messages' must have at least 1 item, not 0"),
        (with_field(messages="hi"), "'messages' must be a valid list"),
        (with_field(messages=[{"role": "robot", "content": "x"}]),
         "'messages[0].role' must be 'system', 'developer', 'user' or 'assistant'"),
        (with_field(messages=[{"role": "user"}]), "'messages[0].content' is missing"),
        (with_field(messages=[{"role": "user", "content": ""}]),
         "prompt 1 of 1 is empty. Give the model at least one word to go on with."),
        (with_field(messages=[{"role": "user", "content": [{"type": "image_url", "text": "x"}]}]),
         "'messages[0].content[0].type' must be 'text'"),
        (with_field(messages=[{"role": "user", "content": "\ud83d"}]),
         "'messages[0].content' holds a broken character (half of a surrogate pair)"),
        (with_field(max_tokens=-1), "'max_tokens' must be greater than or equal to 1"),
        (with_field(max_tokens=0), "'max_tokens' must be greater than or equal to 1"),
        (with_field(max_tokens="5"), "'max_tokens' must be a valid integer"),
        (with_field(max_tokens=True), "'max_tokens' must be a valid integer"),
        (with_field(max_tokens=51), "max_tokens is too large: 51. This server gives at most 50."),
        (with_field(max_completion_tokens=10**30),
         "max_tokens is too large: 1000000000000000000000000000000. This server gives at most 50."),
        (with_field(max_tokens=5, max_completion_tokens=5), "give max_tokens or max_completion_tokens, not both"),
        (with_field(temperature=float("nan")), "'temperature' must be a finite number"),
        (with_field(temperature=float("inf")), "'temperature' must be a finite number"),
        (with_field(temperature=2.1), "'temperature' must be less than or equal to 2"),
        (with_field(repetition_penalty=1e-300), "'repetition_penalty' must be greater than or equal to 0.01"),
        (with_field(top_p=-0.1), "'top_p' must be greater than or equal to 0"),
        (with_field(n=3), "3 answers are asked for; at most 2."),
        (with_field(n=0), "'n' must be greater than or equal to 1"),
        (with_field(seed=2**63), "'seed' must be less than 9223372036854775808"),
        (with_field(seed=1.5), "'seed' must be a valid integer"),
        (with_field(stop=["a"] * 5), "'stop' must have at most 4 items, not 5"),
        (with_field(stop=[""]), "'stop[0]' must have at least 1 character"),
        (with_field(stream_options={"include_usage": True}), "'stream_options' needs stream: true"),
        (with_field(stream="yes"), "'stream' must be a valid boolean"),
        (with_field(logprobs=True), "'logprobs' is not supported by this server"),
        (with_field(tools=[{"type": "function"}]), "'tools' is not supported by this server"),
        (with_field(response_format={"type": "json_object"}),
         "the back end 'scripted' says what its script says: it cannot keep to a JSON Schema or a regular expression."),
        (with_field(response_format="json"), "'response_format' must be an object"),
        (with_field(response_format={"type": "xml"}),
         "'response_format.type' must be 'text', 'json_object' or 'json_schema'"),
        (with_field(response_format={"type": "json_schema"}),
         "'response_format' must have 'json_schema' with type json_schema, and only then"),
        (with_field(response_format=form_of({}, name="a b")),
         "'response_format.json_schema.name' must match pattern '^[A-Za-z0-9_-]{1,64}$'"),
        (with_field(response_format=form_of([])), "'response_format.json_schema.schema' must be an object"),
        (with_field(response_format=form_of({"type": "banana"})),
         "invalid JSON Schema at type: 'banana' is not valid under any of the given schemas. "
         "See https://json-schema.org/understanding-json-schema."),
        (with_field(response_format=form_of({"not": {}})),
         'this JSON Schema cannot be enforced: Unimplemented keys: ["not"]. Leave that part out and check it '
         "afterwards."),
        (with_field(logit_bias={"5": 3}), "'logit_bias' is not supported by this server"),
        (with_field(max_token=5), "unknown argument 'max_token'. Did you mean 'max_tokens'?"),
        (with_field(**{"<script>" * 50: 5}), f"unknown argument '{('<script>' * 50)[:80]}'."),
        (with_field(messages=[{"role": "user", "content": "w " * 99}]),
         "this model takes at most 99 tokens of prompt and 100 of prompt and answer; you ask for 100 tokens of prompt "
         "and 1 of answer. Shorten the messages, or lower max_tokens."),
        (with_field(messages=[{"role": "user", "content": "w " * 60}], max_tokens=50),
         "this model takes at most 99 tokens of prompt and 100 of prompt and answer; you ask for 61 tokens of prompt "
         "and 50 of answer. Shorten the messages, or lower max_tokens."),
    ],
    ids=range(43),
)  # fmt: skip
def test_requests_that_ask_for_what_there_is_not(url: str, body: dict[str, Any], message: str) -> None:
    assert refusal(post(url, body)) == (400, message)


def test_the_server_goes_on_after_all_that(url: str) -> None:
    neutral = {
        "logprobs": False, "logit_bias": {}, "tools": [], "frequency_penalty": 0.0, "user": "me", "store": False,
        "response_format": {"type": "text"}, "n": 1, "stop": None, "seed": -1, "temperature": 0,
    }  # fmt: skip
    answer = post(url, {**ASK, **neutral}).json()["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == ("user=hi", "stop")


def test_several_system_prompts_become_one_at_the_beginning(url: str) -> None:
    roles = ["user", "system", "assistant", "developer", "user"]
    messages = [{"role": role, "content": f"{role}{n}"} for n, role in enumerate(roles)]
    said = post(url, {"model": "echo", "messages": messages, "max_tokens": 50}).json()["choices"][0]["message"][
        "content"
    ]
    assert said == "system=system1\n\ndeveloper3|user=user0|assistant=assistant2|user=user4"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([1, 2, 3], "'prompt[0]' must be a valid string"),
        ([], "'prompt' must have at least 1 item, not 0"),
        ("", "prompt 1 of 1 is empty. Give the model at least one word to go on with."),
        (["a"] * 3, "3 answers are asked for; at most 2."),
    ],
)
def test_prompts_that_are_none(url: str, prompt: Any, message: str) -> None:
    assert refusal(post(url, {"model": "echo", "prompt": prompt}, "/v1/completions")) == (400, message)


def test_another_model_path_or_method(url: str) -> None:
    status, message = refusal(post(url, {**ASK, "model": "gpt-4\n" + "x" * 200}))
    assert (status, message) == (404, f"the model 'gpt-4 {'x' * 74}' does not exist. This server has 'echo'.")
    assert refusal(post(url, ASK, "/v1/embeddings")) == (404, "unknown URL: POST /v1/embeddings")
    assert refusal(httpx.get(f"{url}/v1/chat/completions")) == (405, "GET is not allowed for /v1/chat/completions")
    assert httpx.get(f"{url}/docs").status_code == 404


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/chat.html", "/v1/models/../../x"])
def test_no_path_leads_to_a_file(url: str, path: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"root:" not in answer


def test_a_body_that_is_no_json_by_its_type_is_not_read_as_json(url: str) -> None:
    """A page of another origin may post text/plain without asking: it must not get an answer."""
    response = post(url, ASK, **{"content-type": "text/plain"})
    assert refusal(response) == (400, NO_OBJECT)
    assert "access-control-allow-origin" not in response.headers


def test_huge_bodies_are_refused_by_their_length_and_as_they_arrive(url: str) -> None:
    said = (413, "the body has more than 20,000 bytes: send less at a time")
    assert refusal(post(url, {**ASK, "user": "x" * 20_000})) == said

    def endless() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 1000

    response = httpx.post(f"{url}/v1/chat/completions", content=endless(), headers={"content-type": "application/json"})
    assert refusal(response) == said


def test_a_client_that_sends_its_body_too_slowly_is_sent_away(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    lines = ["POST /v1/completions HTTP/1.1", f"Host: {host}", "Content-Type: application/json", "Content-Length: 500"]
    head = "\r\n".join([*lines, "", ""])
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(head.encode() + b'{"model"')
        answer = b"".join(iter(lambda: raw.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"the body takes too long to arrive" in answer


@pytest.mark.parametrize("start", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_connection_that_brings_no_request_is_closed(url: str, start: bytes) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(start)
        assert raw.recv(4096) == b""


def test_bytes_that_trickle_in_give_headers_no_more_time(url: str) -> None:
    """Also those of a later request: a first one that was answered earns nothing."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\nGET /healthz HTTP/1.1\r\nX: ".encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")
        sent = 0
        while not select.select([raw], [], [], 0.05)[0] and sent < 400:
            raw.sendall(b"x")
            sent += 1
    assert sent < 400


@pytest.mark.parametrize(("request_line", "status"), [("POST /v1/completions", 408), ("GET /healthz", 200)])
def test_a_body_without_end_does_not_hold_its_connection(url: str, request_line: str, status: int) -> None:
    """Each part is in time, and yet no body has more time than another. What nobody reads has none at all."""
    host, port = url.removeprefix("http://").split(":")
    lines = [
        f"{request_line} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Transfer-Encoding: chunked",
    ]
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        for _ in range(400):
            raw.sendall(b"1\r\n \r\n")
            if select.select([raw], [], [], 0.05)[0]:
                break
        answer = b""
        with suppress(ConnectionResetError):  # what is still under way when the server closes
            while part := raw.recv(4096):
                answer += part
    assert answer.startswith(f"HTTP/1.1 {status}".encode())
    assert b"\r\nconnection: close\r\n" in answer.lower()


def test_a_client_that_takes_nothing_of_its_answer_is_let_go() -> None:
    sent: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        sent.append("unreachable")

    async def stuck(message: Any) -> None:
        await asyncio.Event().wait()

    metrics = ServerMetrics(lambda: 0, lambda: 0)
    guard = Guard(app, config=ServingConfig(stall_seconds=0.01), key=None, metrics=metrics, rate=RateLimit(0))
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
    asyncio.run(guard(scope, None, stuck))  # type: ignore[arg-type]
    assert sent == []


def test_the_key(locked: str) -> None:
    wrong = (401, "wrong or missing API key: send it as Authorization: Bearer KEY")
    assert refusal(post(locked, ASK)) == wrong
    for given in (f"Bearer {SECRET}x", SECRET, "Bearer", f"Basic {SECRET}"):
        response = post(locked, ASK, authorization=given)
        assert refusal(response) == wrong
        assert SECRET not in response.text
    assert post(locked, ASK, authorization=f"Bearer {SECRET}").status_code == 200
    assert post(locked, ASK, authorization=f"bearer  {SECRET}").status_code == 200
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
        assert httpx.get(locked + path).status_code == 401
    for path in ("/", "/healthz"):
        response = httpx.get(locked + path)
        assert response.status_code == 200
        assert SECRET not in response.text


def test_a_key_is_compared_as_bytes() -> None:
    assert is_key("k", "k")
    assert is_key(None, None)
    assert not is_key(None, "k")
    assert not is_key("ключ", "k")


def test_requests_of_one_address_in_a_minute() -> None:
    with served(echo_app(config=ServingConfig(requests_per_minute=2))) as url:
        assert [httpx.get(f"{url}/v1/models").status_code for _ in range(3)] == [200, 200, 429]
        refused = httpx.get(f"{url}/v1/models")
        assert refused.json()["error"]["message"] == "more than 2 requests in a minute"
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        assert httpx.get(f"{url}/healthz").status_code == 200


def test_another_name_for_this_machine_is_refused(url: str) -> None:
    wrong = (403, "this server answers to the names of this machine alone")
    assert refusal(httpx.get(f"{url}/v1/models", headers={"host": "evil.example:8000"})) == wrong
    for name in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert httpx.get(f"{url}/v1/models", headers={"host": name}).status_code == 200
    config = ServingConfig(host="0.0.0.0", allow_public=True)
    with served(echo_app(config=config)) as public:
        assert httpx.get(f"{public}/v1/models", headers={"host": "my.example"}).status_code == 200


def test_settings_that_cannot_be() -> None:
    backend = BackendConfig(batch_size=2)
    with pytest.raises(ValueError) as refused:
        ServingConfig(backend=backend, max_waiting=1, max_choices=4)
    assert str(refused.value) == (
        "--max_choices 4 must be at most --backend.batch_size 2 + --max_waiting 1: such a request could never be taken"
    )
