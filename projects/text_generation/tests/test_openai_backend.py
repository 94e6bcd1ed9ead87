"""The client back end against a small real HTTP server."""

import re
import threading
from typing import Any

import pytest

from roadmap_shared.errors import UserError
from text_generation.backends.openai_errors import shown_address
from text_generation.backends.retrying import GaveUpError
from text_generation.backends.types import BackendError, Message
from text_generation.config.decoding import BEAM_SEARCH, GREEDY, DecodingConfig

from .fake_openai_server import KEY, Handler, backend_of, completion, events, failure, raw, serving


def test_a_conversation_goes_to_chat_completions() -> None:
    turns = [Message("system", "Be brief."), Message("user", "Hello!")]
    decoding = DecodingConfig(temperature=0.7, top_p=0.9, top_k=50, max_new_tokens=9, stop=("END",))
    with serving(completion("Hi.", "length")) as server, backend_of(server.address) as (backend, _):
        (answer,) = backend.generate([turns], decoding, seed=7)
    assert (answer.text, answer.finish_reason, answer.prompt_tokens, answer.new_tokens) == ("Hi.", "length", 11, 3)
    assert server.asked == [
        (
            "/v1/chat/completions",
            {
                "model": "tiny",
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Hello!"},
                ],
                "max_tokens": 9,
                "temperature": 0.7,
                "top_p": 0.9,
                "top_k": 50,
                "stop": ["END"],
                "seed": 7,
                "stream": False,
            },
        )
    ]


@pytest.mark.parametrize(("n_bytes", "limit"), [(3, 20), (60, 16), (3000, 20)])
def test_an_answer_of_what_fits_is_limited_by_the_estimate(n_bytes: int, limit: int) -> None:
    # 4 tokens for the turn and one for every three bytes, of 40; where none seem left, the server decides.
    fits = DecodingConfig(max_new_tokens=None, default_new_tokens=20)
    with serving(completion("Hi.")) as server, backend_of(server.address, context_window=40) as (backend, _):
        backend.generate(["x" * n_bytes], fits)
    assert server.asked[0][1]["max_tokens"] == limit


def test_a_text_goes_where_it_is_told() -> None:
    with serving(completion("…")) as server:
        with backend_of(server.address) as (backend, _):
            assert backend.generate(["Once"], GREEDY)[0].text == "…"
        with backend_of(server.address, texts_as="completions") as (backend, _):
            assert backend.generate(["Once"], GREEDY)[0].text == "…"
    (chat_path, chat), (path, plain) = server.asked
    assert (chat_path, chat["messages"]) == ("/v1/chat/completions", [{"role": "user", "content": "Once"}])
    assert (path, plain["prompt"], plain["temperature"]) == ("/v1/completions", "Once", 0.0)


def test_prompts_are_answered_in_their_order() -> None:
    def echo(handler: Handler, body: dict[str, Any]) -> None:
        completion(f"{body['messages'][0]['content']} {body['seed']}")(handler, body)

    with serving(echo) as server, backend_of(server.address, parallel=4) as (backend, _):
        answers = backend.generate([f"p{i}" for i in range(8)], GREEDY, seed=100)
    assert [answer.text for answer in answers] == [f"p{i} {100 + i}" for i in range(8)]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_temporary_failure_is_tried_again(status: int) -> None:
    with (
        serving(failure(status), failure(status), completion("done")) as server,
        backend_of(server.address) as (backend, waits),
    ):
        assert backend.generate(["x"], GREEDY)[0].text == "done"
    assert len(server.asked) == 3
    assert waits == [0.375, 0.75]


def test_retry_after_is_honoured() -> None:
    with (
        serving(failure(429, Retry_After="13"), completion("done")) as server,
        backend_of(server.address) as (backend, waits),
    ):
        backend.generate(["x"], GREEDY)
    assert waits == [13.0]


def test_a_server_that_keeps_failing_is_named_with_the_number_of_attempts() -> None:
    with (
        serving(failure(500, f"bad \x1b[2Jkey {KEY}\nin two lines")) as server,
        backend_of(server.address) as (backend, _),
        pytest.raises(GaveUpError) as caught,
    ):
        backend.generate(["x", "y"], GREEDY)
    assert str(caught.value) == f"{server.address} answered 500: bad  [2Jkey [key] in two lines (tried 3 times)"


def test_an_unreachable_server() -> None:
    with serving(completion("")) as server:
        address = server.address
    with backend_of(address) as (backend, _), pytest.raises(GaveUpError) as caught:
        list(backend.stream("x", GREEDY))
    refused = r"\[Errno \d+\] Connection refused"  # the number differs between systems
    assert re.fullmatch(rf"{re.escape(address)} cannot be reached: {refused} \(tried 3 times\)", str(caught.value))


def test_a_server_that_says_nothing() -> None:
    released = threading.Event()
    with serving(lambda handler, body: (released.wait(5), None)[1]) as server:
        with backend_of(server.address, retries=1, timeout=0.1) as (backend, _), pytest.raises(GaveUpError) as caught:
            backend.generate(["x"], GREEDY)
        released.set()
    assert str(caught.value) == f"{server.address} did not answer within 0.1 seconds (tried 2 times)"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "{} refused the request (400): no luck"),
        (404, "{} knows no model 'tiny' at this address (404): no luck"),
        (
            401,
            "{} refused the key (401): no luck. Put a valid one into the variable that --backend.api_key_env names.",
        ),
    ],
)
def test_what_no_further_attempt_mends_is_the_users(status: int, message: str) -> None:
    with (
        serving(failure(status)) as server,
        backend_of(server.address) as (backend, waits),
        pytest.raises(UserError) as caught,
    ):
        backend.generate(["x"], GREEDY)
    assert str(caught.value) == message.format(server.address)
    assert len(server.asked) == 1
    assert waits == []


@pytest.mark.parametrize(
    ("content", "kind", "what"),
    [
        (b'{"choices": [', "application/json", "what it sent is no JSON"),
        (b"{}", "application/json", "not with a completion"),
        (b"<html>hello</html>", "text/html", "not with a completion"),
    ],
)
def test_an_answer_that_is_no_completion(content: bytes, kind: str, what: str) -> None:
    with (
        serving(raw(content, kind)) as server,
        backend_of(server.address, retries=0) as (backend, _),
        pytest.raises(BackendError) as caught,
    ):
        backend.generate(["x"], GREEDY)
    assert str(caught.value) == (
        f"{server.address} answered, but {what}. Does --backend.base_url end in /v1? (tried once)"
    )


def test_where_some_prompts_fail_the_others_are_not_lost() -> None:
    def respond(handler: Handler, body: dict[str, Any]) -> None:
        bad = body["messages"][0]["content"] == "bad"
        (failure(500) if bad else completion("fine"))(handler, body)

    with serving(respond) as server, backend_of(server.address, retries=1) as (backend, _):
        first, second, third = backend.generate(["good", "bad", "good"], GREEDY)
    assert (first.text, third.text) == ("fine", "fine")
    assert second.finish_reason == "error"
    assert second.text == f"{server.address} answered 500: no luck (tried 2 times)"


@pytest.mark.parametrize("texts_as", ["chat", "completions"])
def test_streaming(texts_as: str) -> None:
    with (
        serving(failure(503), events("One", " ", "two", "")) as server,
        backend_of(server.address, texts_as=texts_as) as (backend, waits),
    ):
        assert list(backend.stream("x", GREEDY)) == ["One", " ", "two"]
    assert len(waits) == 1
    assert server.asked[1][1]["stream"] is True


def test_a_stream_that_breaks_off_is_not_repeated() -> None:
    with serving(events("One", broken=True)) as server, backend_of(server.address) as (backend, waits):
        stream = backend.stream("x", GREEDY)
        assert next(stream) == "One"
        with pytest.raises(BackendError, match="what it sent is no JSON"):
            next(stream)
    assert waits == []
    assert len(server.asked) == 1


def test_a_stream_that_falls_silent() -> None:
    def respond(handler: Handler, body: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write(b'data: {"choices": [{"index": 0, "delta": {"content": "One"}}]}\n\n')
        handler.wfile.flush()
        released.wait(10)

    released = threading.Event()
    with serving(respond) as server, backend_of(server.address, timeout=1.0) as (backend, _):
        stream = backend.stream("x", GREEDY)
        assert next(stream) == "One"
        with pytest.raises(BackendError) as caught:
            next(stream)
        released.set()
    assert str(caught.value) == f"{server.address} did not answer within 1 seconds"


def test_what_a_server_does_not_offer() -> None:
    with backend_of("http://127.0.0.1:9/v1") as (backend, _):
        for decoding, message in (
            (BEAM_SEARCH, "http://127.0.0.1:9/v1 offers no beam search. Use --decoding.strategy greedy or sampling."),
            (
                DecodingConfig(no_repeat_ngram_size=3),
                "http://127.0.0.1:9/v1 offers no --decoding.no_repeat_ngram_size. Use repetition_penalty instead.",
            ),
        ):
            with pytest.raises(UserError) as caught:
                backend.generate(["x"], decoding)
            assert str(caught.value) == message
        with pytest.raises(UserError, match="cannot tell how probable a given text is"):
            backend.likelihood([("a", "b")])


def test_an_address_is_shown_without_its_password() -> None:
    assert shown_address("https://me:hidden@host:8000/v1") == "https://host:8000/v1"


def test_tokens_are_estimated_from_bytes() -> None:
    with backend_of("http://127.0.0.1:9/v1") as (backend, _):
        assert backend.count_tokens("你好!") == 4 + 3
        assert KEY not in repr(backend)


def test_a_connection_that_is_lost() -> None:
    def respond(handler: Handler, body: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'data: {"choices": [{"index": 0, "delta": {"content": "One"}}]}\n\n')

    with serving(respond) as server, backend_of(server.address) as (backend, _):
        stream = backend.stream("x", GREEDY)
        assert next(stream) == "One"
        with pytest.raises(BackendError, match=f"^{re.escape(server.address)} broke off: peer closed connection"):
            next(stream)


def test_an_error_inside_a_stream() -> None:
    content = b'data: {"error": {"message": "out of memory"}}\n\n'
    with (
        serving(raw(content, "text/event-stream")) as server,
        backend_of(server.address) as (backend, _),
        pytest.raises(BackendError) as caught,
    ):
        list(backend.stream("x", GREEDY))
    assert str(caught.value) == f"{server.address} broke off: out of memory"
