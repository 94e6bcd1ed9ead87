"""Who leaves, who waits and what fails: generations stop, places are freed, errors are told."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI

from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import BackendError, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.config.serving import ServingConfig
from text_generation.serving.app import create_app
from text_generation.serving.engine import ThreadEngine

from .live_server import HELLO, served, until


class Paced(ScriptedBackend):
    """Says a word whenever it is let, without end, and counts the streams that were opened and closed."""

    def __init__(self) -> None:
        super().__init__(lambda prompt: "word " * 500)
        self.let = threading.Semaphore(0)
        self.opened = self.closed = 0

    def stream(self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0) -> Iterator[str]:
        self.opened += 1
        try:
            for piece in super().stream(prompt, decoding, seed):
                assert self.let.acquire(timeout=60)
                yield piece
        finally:
            self.closed += 1


@pytest.fixture
def paced() -> Paced:
    return Paced()


@pytest.fixture
def paced_app(paced: Paced) -> FastAPI:
    return create_app(ThreadEngine(paced, 2, "paced"), ServingConfig(max_waiting=1, max_choices=2))


@pytest.fixture
def paced_url(paced_app: FastAPI, paced: Paced) -> Iterator[str]:
    with served(paced_app) as place:
        yield place
        paced.let.release(10_000)


BODY = {"model": "paced", "messages": HELLO, "max_tokens": 400}


def test_a_client_that_leaves_a_stream_stops_its_generation(paced_url: str, paced: Paced, paced_app: FastAPI) -> None:
    with httpx.stream(
        "POST", f"{paced_url}/v1/chat/completions", json={**BODY, "stream": True}, timeout=30
    ) as response:
        paced.let.release(2)
        lines = response.iter_lines()
        while "word" not in next(lines):
            pass
    admission = paced_app.state.service.admission
    # Closing reached the server when it has marked the answer; the generator then closes at its next piece. That piece
    # may have come already.
    jobs = paced_app.state.service.engine._jobs
    until(lambda: paced.closed == 1 or [cancelled.is_set() for cancelled in jobs.values()] == [True])
    paced.let.release(1)
    until(lambda: paced.closed == 1 and admission.active == 0)
    assert 'textgen_answers_total{ending="cancelled"} 1.0' in httpx.get(f"{paced_url}/metrics").text


def test_a_client_that_leaves_while_it_waits_for_a_whole_answer_stops_it(paced_url: str, paced: Paced) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{paced_url}/v1/chat/completions", json=BODY, timeout=httpx.Timeout(10, read=0.3))
    until(lambda: paced.opened == 1)
    for _ in range(200):
        paced.let.release(1)
        if paced.closed:
            break
        time.sleep(0.01)
    assert paced.closed == 1


def test_a_full_queue_is_429_and_a_place_that_is_left_is_free(paced_url: str, paced: Paced, paced_app: FastAPI) -> None:
    admission = paced_app.state.service.admission
    place = f"{paced_url}/v1/chat/completions"

    def ask(n: int = 1) -> Any:
        return httpx.stream("POST", place, json={**BODY, "stream": True, "n": n}, timeout=30)

    with ask(2):
        until(lambda: admission.active == 2)
        waiting = ask()
        with waiting:  # headers come at once, the first word when it is its turn
            until(lambda: admission.waiting == 1)
            metrics = httpx.get(f"{paced_url}/metrics").text
            assert "textgen_queue_length 1.0" in metrics
            assert "textgen_active 2.0" in metrics
            refused = httpx.post(place, json=BODY)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
            assert refused.json()["error"] == {
                "message": "3 answers are in the making or wait: try again",
                "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded",
            }  # fmt: skip
            assert httpx.post(place, json={**BODY, "stream": True}).status_code == 429
        until(lambda: admission.waiting == 0)
    jobs = paced_app.state.service.engine._jobs
    until(lambda: [cancelled.is_set() for cancelled in jobs.values()] == [True, True])
    paced.let.release(2)
    until(lambda: admission.active == 0)
    assert paced.opened == paced.closed == 2


@pytest.mark.parametrize(
    ("failure", "kind", "code", "message"),
    [
        (BackendError("the server at x:1 answered 503"), openai.APIStatusError, 502, "the server at x:1 answered 503"),
        (ZeroDivisionError("secret"), openai.InternalServerError, 500, "internal error; the server's log says more"),
    ],
)
def test_a_model_that_fails(
    failure: Exception, kind: type[openai.APIStatusError], code: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(ScriptedBackend):
        def stream(self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0) -> Iterator[str]:
            yield "half "
            raise failure

    app = create_app(ThreadEngine(Failing(["x"]), 2), ServingConfig())
    with served(app) as place, openai.OpenAI(base_url=f"{place}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(kind) as caught:
            client.chat.completions.create(model="scripted", messages=HELLO)
        assert caught.value.status_code == code
        assert caught.value.body == {
            "message": message,
            "type": "server_error",
            "param": None,
            "code": caught.value.code,
        }
        heard: list[str] = []
        with pytest.raises(openai.APIError, match=message):
            for chunk in client.chat.completions.create(model="scripted", messages=HELLO, stream=True):
                heard.append(chunk.choices[0].delta.content or "")
        assert "".join(heard) == "half "
    assert str(failure) in caplog.text  # the log has what the client is not told
