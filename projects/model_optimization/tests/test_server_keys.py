import re

import pytest

from model_optimization.config.serving import LimitsConfig
from model_optimization.deployment.server_keys import KeyRing, RateLimit, load_admin_key, load_keys
from roadmap_shared.errors import UserError

from .serving_fakes import FakeClassifier, FakeRegistry, live, serve_config

A, B, ADMIN = "a" * 20, "b" * 20, "s" * 20


def test_keys_of_file_and_environment(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# keys\n\nalice: {A}\n{B}\n", encoding="utf-8-sig")
    ring = load_keys(path, {"MODEL_OPTIMIZATION_API_KEYS": f"{'c' * 16}, {'d' * 16} "})
    assert len(ring) == 4
    assert [ring.owner(key) for key in (A, B, "c" * 16, "d" * 16, A[:-1], "", None)] == [
        "alice", "key-4", "key-1", "key-2", None, None, None,
    ]  # fmt: skip
    assert len(load_keys(None, {})) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("short\n", "--serve.keys {path}, line 1: is no key of at least 16 ASCII characters without blanks. Make one"),
        (f"{A}\nbob: {A}\n", "--serve.keys {path}, line 2: is the key of key-1, too: each key is there once"),
        ("# none\n", "--serve.keys {path}: holds no key: write one a line, as KEY or NAME: KEY"),
        ("k" * 15 + "é\n", "--serve.keys {path}, line 1: is no key of"),
    ],
)
def test_files_that_are_no_keys_are_refused_without_showing_them(tmp_path, content, message):
    path = tmp_path / "keys"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"^{re.escape(message.format(path=path))}") as refused:
        load_keys(path, {})
    assert "short" not in str(refused.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"^--serve.keys .*: cannot be read \(No such file or directory\)$"):
        load_keys(tmp_path / "none", {})
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"^--serve.admin_key .*: cannot be read \(no UTF-8\)$"):
        load_admin_key(tmp_path / "bytes", {})


def test_admin_key(tmp_path):
    assert len(load_admin_key(None, {})) == 0
    assert load_admin_key(None, {"MODEL_OPTIMIZATION_ADMIN_KEY": ADMIN}).owner(ADMIN) == "admin"
    (tmp_path / "key").write_text(f"{ADMIN}\n")
    assert load_admin_key(tmp_path / "key", {}).owner(ADMIN) == "admin"


def test_rate_limit_is_a_token_bucket():
    now = [0.0]
    limit = RateLimit(60, 2, clock=lambda: now[0])
    assert [limit.take("a"), limit.take("a"), limit.take("b")] == [0, 0, 0]
    assert limit.take("a") == pytest.approx(1)
    now[0] = 0.75
    assert limit.take("a") == pytest.approx(0.25)
    now[0] = 1.0
    assert limit.take("a") == 0
    assert RateLimit(0, 1).take("a") == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    registry = FakeRegistry(tmp_path_factory.mktemp("registry"), {1: FakeClassifier})
    config = serve_config(limits=LimitsConfig(requests_per_minute=1, burst=3))
    with live(registry, config, keys={A: "alice", B: "bob"}, admin={ADMIN: "admin"}) as running:
        yield running


def ask(server, key: str | None, path: str = "/v1/predict"):
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return server.client.post(path, json={"text": "text 1"} if path == "/v1/predict" else {}, headers=headers)


def test_each_key_has_its_own_rate_and_wrong_keys_count_for_their_address(server):
    assert [ask(server, A).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = ask(server, A)
    assert refused.json() == {"error": {"code": "rate_limited", "message": "more than 1 requests in a minute"}}
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert ask(server, B).status_code == 200
    wrong = [ask(server, key) for key in (None, "wrong", A[:-1], "wrong")]
    assert [response.status_code for response in wrong] == [401, 401, 401, 429]
    assert wrong[0].headers["www-authenticate"] == "Bearer"
    assert wrong[0].json()["error"]["code"] == "invalid_key"
    assert server.client.get("/healthz").status_code == 200


def test_admin_routes_have_a_key_of_their_own(server):
    denied = ask(server, B, "/v1/admin/rollback")
    assert (denied.status_code, denied.json()["error"]["code"]) in {(403, "forbidden"), (429, "rate_limited")}
    allowed = ask(server, ADMIN, "/v1/admin/rollback")
    assert allowed.status_code == 409
    assert allowed.json() == {"error": {"code": "refused", "message": "there is no earlier champion to go back to"}}


def test_without_an_admin_key_the_admin_routes_are_shut(tmp_path):
    with live(FakeRegistry(tmp_path, {1: FakeClassifier})) as running:
        assert running.client.post("/v1/admin/rollback", headers={"authorization": "Bearer x"}).status_code == 403
        assert running.client.get("/v1/admin/comparison").status_code == 403


def test_an_empty_ring_knows_nobody():
    assert KeyRing({}).owner("") is None
