import json

import httpx
import pytest

from model_optimization.config.serving import LimitsConfig
from model_optimization.deployment.server_state import ServerState

from .serving_fakes import FakeClassifier, FakeRegistry, KeptRecords, live, serve_config

LIMITS = LimitsConfig(max_texts=4, max_characters=100, stall_seconds=1.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    registry = FakeRegistry(tmp_path_factory.mktemp("registry"), {1: FakeClassifier})
    with live(registry, serve_config(limits=LIMITS), sink=KeptRecords()) as running:
        yield running


def post(server, body: bytes, **headers: str) -> httpx.Response:
    return server.client.post("/v1/predict", content=body, headers={"content-type": "application/json", **headers})


def test_one_text_and_several_have_the_same_form(server):
    one = server.predict("text 200", key="a")
    several = server.client.post("/v1/predict", json={"texts": ["text 0", "a text 200"]})
    assert one.status_code == several.status_code == 200
    assert set(one.json()) == {"request_id", "version", "model", "predictions"}
    assert one.json()["version"] == 1
    assert one.json()["model"] == "fake-1"
    # softmax of (0, 2)
    assert one.json()["predictions"] == [
        {
            "label": "positive",
            "probability": 0.880797,
            "probabilities": {"negative": 0.119203, "positive": 0.880797},
            "n_tokens": 2,
        }
    ]
    assert [found["n_tokens"] for found in several.json()["predictions"]] == [2, 3]
    assert several.json()["predictions"][0]["probability"] == 0.5


BAD = [
    (b"", 400, "missing_text", "give either 'text' or 'texts'"),
    (b"{}", 400, "missing_text", "give either 'text' or 'texts'"),
    (b'{"text": "a", "texts": ["b"]}', 400, "missing_text", "give either 'text' or 'texts'"),
    (b'{"texts": []}', 400, "missing_text", "'texts' is empty: send at least one text"),
    (b'{"text": " \\n"}', 400, "empty_text", "'text' is empty"),
    (b'{"texts": ["a", ""]}', 400, "empty_text", "texts[1] is empty"),
    (b'{"text": 1}', 400, "invalid_field", "'text' must be a string"),
    (b'{"texts": ["a", null]}', 400, "invalid_field", "'texts[1]' must be a string"),
    (b'{"texts": "a"}', 400, "invalid_field", "'texts' must be a list"),
    (b'{"txt": "a"}', 400, "unknown_field", "unknown field 'txt'. Did you mean 'text'?"),
    (b'{"text": "a", "key": "' + b"k" * 300 + b'"}', 400, "invalid_field", "'key' must have at most 200 characters"),
    (b"[1]", 400, "invalid_request", "the body must be a JSON object"),
    (b"null", 400, "invalid_request", "the body must be a JSON object"),
    (b'{"text": "caf\xe9"}', 400, "invalid_utf8", "the body is no UTF-8 (byte 13)"),
    ('{"text": "a"}'.encode("utf-16"), 400, "invalid_utf8", "the body is no UTF-8 (byte 0)"),
    (b"[" * 3000, 400, "too_deep", "the body is nested too deeply"),
    (b'{"text": ' + b"[" * 2000 + b"]" * 2000 + b"}", 400, "too_deep", "the body is nested too deeply"),
    (b'{"text": "abc', 400, "invalid_json", None),
    (b'{"text": "\\ud800"}', 400, "invalid_json", None),
    (b"not json", 400, "invalid_json", None),
    (b'{"texts": ["a","a","a","a","a"]}', 413, "too_many_texts", "'texts' has 5 items; at most 4 are taken at a time"),
    (b'{"text": "' + b"a" * 101 + b'"}', 413, "text_too_long", "'text' has 101 characters; at most 100 are taken"),
    (b'{"text": "' + b"a" * 10_000_000 + b'"}', 413, "body_too_large", None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "code", "message"), BAD, ids=[f"{i}-{row[2]}" for i, row in enumerate(BAD)])
def test_bad_bodies_are_refused_with_a_reason_in_one_form(server, body, status, code, message):
    response = post(server, body)
    assert response.status_code == status
    assert set(response.json()) == {"error"}
    assert set(response.json()["error"]) == {"code", "message"}
    assert response.json()["error"]["code"] == code
    if message is not None:
        assert response.json()["error"]["message"] == message
    assert server.predict("text 1").status_code == 200


def test_body_without_a_declared_length_is_counted_while_it_arrives(server):
    def endless():
        yield b'{"text": "'
        for _ in range(2000):
            yield b"a" * 1000

    response = server.client.post("/v1/predict", content=endless())
    assert response.status_code == 413
    assert response.json() == {
        "error": {
            "code": "body_too_large",
            "message": "the body has more than 5,696 bytes: send fewer or shorter texts",
        }
    }


def test_declared_length_is_refused_before_a_byte_is_read(server):
    head = b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n"
    assert server.raw(head).startswith(b"HTTP/1.1 413 ")


def test_what_is_no_http_is_refused_in_the_same_form(server):
    answer = server.raw(b"GET /healthz HTTP/1.1\r\nhost a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'{"error": {"code": "invalid_http", "message": "the request is no HTTP"}}')


def test_body_that_stalls_is_given_up(server):
    answer = server.raw(b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":{"code":"timeout","message":"the body takes too long to arrive"}}' in answer


def test_headers_that_stall_are_given_up(tmp_path):
    config = serve_config(limits=LimitsConfig(header_seconds=0.3))
    with live(FakeRegistry(tmp_path, {1: FakeClassifier}), config) as running:
        assert running.raw(b"GET /healthz HTTP/1.1\r\nhost:") == b""
        assert running.client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not_found"), ("GET", "/v1/predict", 405, "method_not_allowed")],
)
def test_unknown_urls_and_methods(server, method, path, status, code):
    response = server.client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code


def test_request_ids_are_the_clients_or_new_ones(server):
    assert server.client.get("/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    first, second = (server.client.get("/healthz", headers={"x-request-id": "no good"}) for _ in range(2))
    assert len(first.headers["x-request-id"]) == 16
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_operations_routes(server):
    assert server.client.get("/readyz").json() == {"status": "ready"}
    found = server.client.get("/v1/models").json()
    assert found["state"] == "ready"
    assert found["reload_error"] is None
    assert found["models"][0]["version"] == 1
    assert found["models"][0]["labels"] == ["negative", "positive"]
    metrics = server.client.get("/metrics").text
    assert 'model_server_version_info{name="fake-1",role="champion",version="1"} 1.0' in metrics
    assert "model_server_ready 1.0" in metrics


def test_metrics_have_no_series_of_paths_that_clients_make_up(server):
    for number in range(3):
        server.client.get(f"/made-up-{number}")
    assert "made-up" not in server.client.get("/metrics").text


def test_records_of_each_text_reach_the_log(tmp_path):
    sink = KeptRecords()
    with live(FakeRegistry(tmp_path, {1: FakeClassifier}), sink=sink) as running:
        running.client.post("/v1/predict", json={"texts": ["text 0 1", "text 2"]}, headers={"x-request-id": "r1"})
    assert [(one.version, one.text, one.n_tokens, one.request_id, one.shadow) for one in sink.records] == [
        ("1", "text 0 1", 3, "r1", False),
        ("1", "text 2", 2, "r1", False),
    ]
    assert sink.records[0].label == "positive"
    assert sum(sink.records[0].probabilities) == pytest.approx(1)


def test_openapi_describes_every_route_with_examples_and_keys(tmp_path):
    with live(FakeRegistry(tmp_path, {1: FakeClassifier}), keys={"k" * 16: "a"}) as running:
        schema = running.client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/v1/predict", "/v1/models", "/healthz", "/readyz", "/metrics",
        "/v1/admin/promote", "/v1/admin/rollback", "/v1/admin/traffic", "/v1/admin/comparison",
    }  # fmt: skip
    predict = schema["paths"]["/v1/predict"]["post"]
    body = predict["requestBody"]["content"]["application/json"]
    assert body["examples"]["one"]["value"] == {"text": "A film to see twice."}
    assert {"200", "400", "401", "413", "429", "500", "503"} <= set(predict["responses"])
    assert predict["security"] == [{"key": []}]
    assert schema["paths"]["/v1/admin/promote"]["post"]["security"] == [{"admin": []}]
    assert schema["paths"]["/metrics"]["get"]["security"] == []
    assert json.dumps(schema).count("$ref") == json.dumps(schema).count('"$ref": "#/components/schemas/')


def test_while_the_model_is_loaded_probes_are_answered_and_texts_refused(tmp_path):
    with live(FakeRegistry(tmp_path, {1: FakeClassifier}), load=False) as running:
        assert running.client.get("/healthz").status_code == 200
        assert (running.client.get("/readyz").status_code, running.client.get("/readyz").json()) == (
            503,
            {"status": "warming"},
        )
        refused = running.predict("text 1")
        assert refused.status_code == 503
        assert refused.json() == {"error": {"code": "warming", "message": "the model is being loaded"}}
        assert refused.headers["retry-after"] == "2"
        assert running.client.get("/v1/models").json() == {"state": "warming", "models": [], "reload_error": None}
        running.service.load()
        assert running.predict("text 1").status_code == 200


def test_state_names():
    assert [ServerState().name, ServerState(warm=True).name, ServerState(warm=True, draining=True).name] == [
        "warming",
        "ready",
        "draining",
    ]
