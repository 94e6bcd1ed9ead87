"""The API for programs: its answers, its limits, and what it says to bad input."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bert_sentiment.app.api import create_app
from bert_sentiment.app.schemas import PredictRequest, PredictResponse
from bert_sentiment.app.shared import Limits, SharedPredictor
from bert_sentiment.inference.attributions import integrated_gradients
from bert_sentiment.inference.predictor import Predictor
from bert_sentiment.models.bert_classifier import SentimentModel
from roadmap_shared.errors import UserError

TEXTS = ["a good film", "Never again!!! 😤", "这部电影很好", "<b>bold</b> &amp; bad", "naïve\u0301 ‮txet"]
NO_OBJECT = 'the body must be a JSON object such as {"texts": ["I liked it"]}, sent as Content-Type: application/json'
LIMITS = Limits(max_texts=8, max_characters=200, max_explained=5)
JSON = {"content-type": "application/json"}


@pytest.fixture
def predictor(tiny_model: Callable[..., SentimentModel]) -> SharedPredictor:
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.dim() > 1:
                parameter *= 8  # fresh weights give every text nearly the same probabilities
    return SharedPredictor(model, folder=Path("/secret/runs/20260101-000000-tiny/model"))


@pytest.fixture
def client(predictor: SharedPredictor) -> TestClient:
    return TestClient(create_app(predictor, LIMITS), raise_server_exceptions=False)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address of the app behind a real uvicorn on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def detail(client: TestClient, body: str | bytes, status: int = 422, headers: dict[str, str] = JSON) -> str:
    answer = client.post("/predict", content=body, headers=headers)
    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]
    return answer.json()["detail"]


def test_answers_are_those_of_the_predictor(client: TestClient, predictor: SharedPredictor) -> None:
    answer = client.post("/predict", json={"texts": TEXTS})
    assert answer.status_code == 200
    expected = Predictor(predictor.model).predict(TEXTS)
    for found, prediction in zip(answer.json()["predictions"], expected, strict=True):
        assert found == {
            "label": prediction.label,
            "unsure": False,
            "probability": round(prediction.probability, 6),
            "probabilities": {label: round(value, 6) for label, value in prediction.probabilities.items()},
            "words": None,
        }
    assert len({found["probability"] for found in answer.json()["predictions"]}) > 1


def test_explained_words_have_places_and_scores(client: TestClient, predictor: SharedPredictor) -> None:
    answer = client.post("/predict", json={"texts": TEXTS, "explain": True}).json()
    for text, found in zip(TEXTS, answer["predictions"], strict=True):
        assert [text[word["start"] : word["end"]] for word in found["words"]] == [w["text"] for w in found["words"]]
        attribution = integrated_gradients(predictor.model, text, found["label"])
        assert [word["score"] for word in found["words"]] == [
            None if word.score is None else pytest.approx(word.score, abs=1e-5) for word in attribution.words
        ]


def test_words_that_the_model_does_not_see_have_no_score(predictor: SharedPredictor) -> None:
    client = TestClient(create_app(predictor, Limits(max_characters=2000)))
    (found,) = client.post("/predict", json={"texts": ["a good film " * 60], "explain": True}).json()["predictions"]
    seen = [word["score"] is not None for word in found["words"]]
    assert len(seen) == 180
    assert seen == [True] * 62 + [False] * 118  # 64 tokens, two of them special


def test_unsure_keeps_the_best_label(predictor: SharedPredictor) -> None:
    strict = SharedPredictor(predictor.model, unsure_below=1.0)
    (found,) = TestClient(create_app(strict, LIMITS)).post("/predict", json={"texts": ["good"]}).json()["predictions"]
    assert found["unsure"] is True
    assert found["label"] == predictor.predict(["good"])[0].label


def test_health_and_labels_name_no_path(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok", "model": "20260101-000000-tiny"}
    assert client.get("/labels").json() == {"labels": ["negative", "neutral", "positive"], "unsure_below": 0.0}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", NO_OBJECT),
        ("null", NO_OBJECT),
        ("NaN", NO_OBJECT),
        ('["a"]', NO_OBJECT),
        ('"a"', NO_OBJECT),
        ("{", "the body is no JSON: Expecting property name enclosed in double quotes (character 1)"),
        ('{"texts": ["a"]} x', "the body is no JSON: Extra data (character 17)"),
        ("{}", "texts is missing"),
        ('{"text": "a"}', "texts is missing; unknown field 'text'. Did you mean 'texts'?"),
        ('{"texts": "a"}', "texts must be a list of strings"),
        ('{"texts": null}', "texts must be a list of strings"),
        ('{"texts": {"0": "a"}}', "texts must be a list of strings"),
        ('{"texts": []}', "texts is empty: send at least one text"),
        ('{"texts": [NaN]}', "texts[0] must be a string"),
        ('{"texts": ["a", null, 3, Infinity]}', "texts[1] must be a string; texts[2] must be a string; texts[3] must "
         "be a string"),
        ('{"texts": [1, 2, 3, 4, 5]}', "texts[0] must be a string; texts[1] must be a string; texts[2] must be a "
         "string; and 2 more"),
        ('{"texts": ["a", ""]}', "texts[1] is empty"),
        ('{"texts": [" \\n\\t"]}', "texts[0] is empty"),
        ('{"texts": ["<br>"]}', "texts[0] is empty once markup is taken away"),
        ('{"texts": ["\\ud83d"]}', "texts[0] holds a broken character (half of a surrogate pair, "
         "or bytes that are not UTF-8)"),
        ('{"texts": ["a"], "explain": "yes"}', "explain must be true or false"),
        ('{"texts": ["a"], "explain": 1}', "explain must be true or false"),
        ('{"texts": ["a"], "explain": NaN}', "explain must be true or false"),
        ('{"texts": ["a"], "explian": true}', "unknown field 'explian'. Did you mean 'explain'?"),
        ('{"texts": ["a"], "\\ud83d": 1}', "a name in the body holds a broken character (half of a surrogate pair)"),
        ('{"texts": ["a"], "' + "x" * 900 + '": 1}', f"unknown field '{'x' * 60}'."),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_one_line(client: TestClient, body: str, message: str) -> None:
    assert detail(client, body) == message


def test_limits(client: TestClient) -> None:
    assert detail(client, json.dumps({"texts": ["a"] * 9})) == "texts has 9 items; at most 8 are taken at a time"
    assert (
        detail(client, json.dumps({"texts": ["a"] * 6, "explain": True}))
        == "texts has 6 items; with explain at most 5 are taken at a time"
    )
    assert (
        detail(client, json.dumps({"texts": ["a", "b" * 201]})) == "texts[1] has 201 characters; at most 200 are read"
    )
    # The largest request that keeps the limits, each character escaped as two halves of a surrogate pair.
    largest = json.dumps({"texts": ["😀" * 200] * 8})
    assert len(largest) > 8 * 200 * 12
    assert client.post("/predict", content=largest, headers=JSON).status_code == 200


def test_a_body_that_is_not_sent_as_json_is_told_how(client: TestClient) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert detail(client, '{"texts": ["a"]}', headers=form) == NO_OBJECT


def test_undecodable_and_deeply_nested_bodies_are_refused(client: TestClient) -> None:
    assert detail(client, b'{"texts": ["\xff\xfe"]}', 400) == "There was an error parsing the body"
    nested = '{"texts": ' + "[" * 9000 + "]" * 9000 + "}"
    assert client.post("/predict", content=nested, headers=JSON).status_code in (400, 422)


def test_a_declared_length_is_refused_before_the_body_is_read(client: TestClient) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        raise AssertionError("the body is read")

    async def send(message: Any) -> None:
        sent.append(message)

    length = LIMITS.max_body_bytes + 1
    scope = {
        "type": "http", "method": "POST", "path": "/predict", "query_string": b"", "http_version": "1.1",
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(length).encode())],
    }  # fmt: skip
    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    expected = f"the body has more than {LIMITS.max_body_bytes:,} bytes: send fewer or shorter texts at a time"
    assert json.loads(sent[1]["body"]) == {"detail": expected}
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_body_without_a_length_is_given_up_at_the_limit(predictor: SharedPredictor) -> None:
    """An endless body over a real connection: the answer comes although the body never ends."""
    with serving(create_app(predictor, LIMITS)) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            chunk = b" " * 10_000
            for _ in range(LIMITS.max_body_bytes // len(chunk) + 2):
                connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            answer = b""
            while block := connection.recv(65_536):
                answer += block
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'{"detail":"the body has more than' in answer


def test_twenty_requests_at_once_get_the_serial_answers(predictor: SharedPredictor) -> None:
    requests = [{"texts": [f"{text} {n}" for text in TEXTS], "explain": n % 2 == 0} for n in range(20)]
    with serving(create_app(predictor, LIMITS)) as address, httpx.Client(base_url=address, timeout=60) as client:

        def ask(request: dict[str, Any]) -> dict[str, Any]:
            return client.post("/predict", json=request).raise_for_status().json()

        serial = [ask(request) for request in requests]
        with ThreadPoolExecutor(20) as pool:
            assert list(pool.map(ask, requests)) == serial


def test_health_answers_while_the_model_is_at_work(predictor: SharedPredictor) -> None:
    with (
        serving(create_app(predictor, LIMITS)) as address,
        httpx.Client(base_url=address, timeout=60) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        with predictor.lock:
            waiting = [pool.submit(client.post, "/predict", json={"texts": ["a"]}) for _ in range(4)]
            assert client.get("/health").status_code == 200
            assert not any(future.done() for future in waiting)
        assert [future.result().status_code for future in waiting] == [200] * 4


def test_a_bug_shows_neither_traceback_nor_path(
    client: TestClient, predictor: SharedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("in /secret/runs")

    monkeypatch.setattr(SentimentModel, "probabilities", broken)
    assert detail(client, '{"texts": ["a"]}', 500) == "internal error; the server's log says more"


def test_a_model_that_cannot_answer_says_why(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise UserError("the GPU's memory does not hold 32 texts")

    monkeypatch.setattr(SharedPredictor, "predict", refuse)
    assert detail(client, '{"texts": ["a"]}', 503) == "the GPU's memory does not hold 32 texts"


def test_other_paths_and_methods(client: TestClient) -> None:
    assert client.get("/predict").status_code == 405
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404  # they load foreign scripts


def test_the_description_fits_what_is_taken_and_given(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    assert set(description["paths"]) == {"/predict", "/health", "/labels"}
    schemas = description["components"]["schemas"]
    (example,) = schemas["PredictRequest"]["examples"]
    PredictRequest.model_validate(example)
    PredictResponse.model_validate(client.post("/predict", json=example).json())
    for schema in schemas.values():
        if schema["title"] not in ("HTTPValidationError", "ValidationError"):
            assert schema["description"]
    responses = description["paths"]["/predict"]["post"]["responses"]
    assert {"200", "413", "422", "503"} <= set(responses)
    assert responses["422"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Problem"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON_VALUES | st.fixed_dictionaries({"texts": JSON_VALUES}, optional={"explain": JSON_VALUES}))
def test_no_json_breaks_it(client: TestClient, body: Any) -> None:
    answer = client.post("/predict", content=json.dumps(body), headers=JSON)
    assert answer.status_code in (200, 422)
    if answer.status_code == 422:
        assert "\n" not in answer.json()["detail"]
