"""Who gets in: keys, hosts, origins, rates, sizes, slow clients; and what is refused before a server starts."""

import hashlib
import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.app.keys import Caller, digest_of, load_keys, main
from rag_qa.app.rate_limit import RateLimit
from rag_qa.app.serve import check_exposure
from rag_qa.config.api import ApiConfig
from rag_qa.config.serving import ServeConfig
from rag_qa.types import User
from roadmap_shared.errors import UserError

from .serving_fakes import LIMITS, RING, FakeBackend, bearer, fake_app, served, until
from .test_app_asking import DOCUMENTS, refusal

DIGEST = hashlib.sha256(b"key-alice").hexdigest()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(fake_app(tmp_path_factory.mktemp("locked"), FakeBackend(DOCUMENTS))) as place:
        yield place


@pytest.fixture(scope="module")
def open_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    app = fake_app(tmp_path_factory.mktemp("open"), FakeBackend(DOCUMENTS), keys=False, groups=("hr",))
    with served(app) as place:
        yield place


@pytest.mark.parametrize(
    "header",
    [None, "", "key-alice", "Bearer", "Bearer key-alic", "Bearer key-alicee", "Basic key-alice", "Bearer schlüssel"],
)
def test_wrong_keys(url: str, header: str | None) -> None:
    headers = [] if header is None else [(b"authorization", header.encode())]
    response = httpx.get(f"{url}/documents", headers=headers)
    assert refusal(response) == (401, "wrong or missing API key: send it as Authorization: Bearer KEY")
    assert response.headers["www-authenticate"] == "Bearer"


def test_what_needs_no_key(url: str) -> None:
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    assert "default-src 'none'" in httpx.get(url).headers["content-security-policy"]
    assert httpx.get(f"{url}/docs").status_code == 401


def test_admins_alone_see_figures(url: str) -> None:
    for path in ("metrics", "analytics"):
        assert refusal(httpx.get(f"{url}/{path}", headers=bearer("alice"))) == (403, "admins only")
        assert httpx.get(f"{url}/{path}", headers=bearer("root")).status_code == 200


def test_without_keys_everybody_here_is_an_anonymous_admin(open_url: str) -> None:
    listed = httpx.get(f"{open_url}/documents").json()
    assert (listed["user"], listed["groups"], listed["admin"]) == ("anonymous", ["hr"], True)
    assert len(listed["documents"]) == 2
    for header in ("x-forwarded-for", "forwarded"):  # somebody else, behind a proxy on this machine
        assert httpx.get(f"{open_url}/documents", headers={header: "for=1.2.3.4"}).json()["admin"] is False


def test_pages_of_others_are_kept_out(open_url: str) -> None:
    other = (403, "this server answers to the names of this machine alone")
    assert refusal(httpx.get(f"{open_url}/documents", headers={"host": "evil.example"})) == other
    assert refusal(httpx.get(f"{open_url}/documents", headers={"host": "127.0.0.1.evil.example:80"})) == other
    foreign = (403, "a page of another origin may not use this server")
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "http://[x"):
        assert refusal(httpx.post(f"{open_url}/ask", headers={"origin": origin})) == foreign
    assert httpx.get(f"{open_url}/documents", headers={"origin": open_url}).status_code == 200
    assert httpx.get(f"{open_url}/health").headers["cross-origin-resource-policy"] == "same-origin"


def test_rates_by_key_and_for_wrong_keys(tmp_path: Path) -> None:
    limits = ApiConfig(requests_per_minute=1, burst=3)
    with served(fake_app(tmp_path, FakeBackend(DOCUMENTS), limits), limits) as url:
        codes = [httpx.get(f"{url}/documents", headers=bearer("alice")).status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        limited = httpx.get(f"{url}/documents", headers=bearer("alice"))
        assert refusal(limited) == (429, "more than 1 requests in a minute")
        assert 50 < int(limited.headers["retry-after"]) <= 60
        assert httpx.get(f"{url}/documents", headers=bearer("bob")).status_code == 200
        assert [httpx.get(f"{url}/documents").status_code for _ in range(4)] == [401, 401, 401, 429]
        assert httpx.get(f"{url}/health").status_code == 200


@given(st.integers(1, 600), st.integers(1, 20), st.lists(st.floats(0, 30), max_size=60))
def test_a_token_bucket_never_lets_more_through(per_minute: int, burst: int, waits: list[float]) -> None:
    now = 0.0
    limit = RateLimit(per_minute, burst, clock=lambda: now)
    passed: list[float] = []
    for wait in waits:
        now += wait
        seconds = limit.take("a")
        if not seconds:
            passed.append(now)
            for index, first in enumerate(passed):
                assert len(passed) - index <= burst + (now - first) * per_minute / 60 + 1e-6
        else:
            # It is true that there is a token after so long, and not before.
            now += seconds + 1e-9
            assert not limit.take("a")
            passed.append(now)


def test_buckets_are_forgotten() -> None:
    limit = RateLimit(60, 1, clock=lambda: 0.0)
    assert limit.take("first") == 0
    assert limit.take("first") == 1.0
    for n in range(10_000):
        limit.take(str(n))
    assert limit.take("first") == 0


def test_small_requests_stay_small(url: str) -> None:
    body = json.dumps({"question": "x" * 61_000}).encode()
    assert refusal(httpx.post(f"{url}/ask", content=body, headers=bearer("alice"))) == (
        413, "the request has more than 60,000 bytes: send less at a time",
    )  # fmt: skip


def test_a_client_that_stalls_is_cut_off(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /ask HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer key-alice\r\ncontent-length: 50\r\n\r\n"
        connection.sendall(head.encode() + b'{"question": ')
        assert select.select([connection], [], [], 20)[0]
        answer = b"".join(iter(lambda: connection.recv(10_000), b"")).decode()
    assert answer.startswith("HTTP/1.1 408 ")
    assert "connection: close" in answer
    assert "the body takes too long to arrive" in answer


def test_keys_are_read_from_yaml_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["alice", "hr", "lab", "--admin"])
    printed = capsys.readouterr().out.splitlines()
    key = printed[0].rpartition(" ")[2]
    path = tmp_path / "keys.yaml"
    path.write_text(printed[2])
    expected = Caller(User(name="alice", groups=("hr", "lab")), admin=True)
    assert load_keys(path).caller(key) == expected
    path.write_text(json.dumps(yaml.safe_load(printed[2])))
    ring = load_keys(path)
    assert (ring.caller(key), ring.caller(key[:-1]), ring.caller(""), ring.caller(None)) == (expected, None, None, None)
    # The file's own digest opens nothing.
    assert ring.caller(digest_of(key)) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"\xff", "cannot be read (no UTF-8)"),
        (b"", "must map sha256 digests of keys to users, as python -m rag_qa.app.keys writes"),
        (b"- a", "must map sha256 digests of keys to users, as python -m rag_qa.app.keys writes"),
        (b"my-secret: {user: a}", "an entry is no sha256 digest of 64 small hexadecimal digits, in quotes"),
        (f"{DIGEST}: alice".encode(), f"{DIGEST}: needs a user, as in {{user: alice, groups: [hr]}}"),
        (f"{DIGEST}: {{user: a, group: b}}".encode(),
         f"{DIGEST}: unknown field 'group'; there are user, groups and admin"),
        (f"{DIGEST}: {{user: a, groups: hr}}".encode(), f"{DIGEST}: groups must be a list of names"),
        (f"{DIGEST}: {{user: a, admin: 1}}".encode(), f"{DIGEST}: admin must be true or false"),
        (f"{DIGEST}: {{user: a/../b}}".encode(),
         f"{DIGEST}: 'a/../b' is no name: letters, digits, and . _ @ - inside, 64 at most"),
        (f"{DIGEST}: {{user: anonymous}}".encode(),
         f"{DIGEST}: the user cannot be called anonymous: that is who asks without keys"),
    ],
)  # fmt: skip
def test_files_that_are_no_keys(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "keys.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        load_keys(path)
    assert str(refused.value) == f"--keys {path}: {problem}"


def test_a_digest_that_is_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(f"{DIGEST}: {{user: a}}\n{DIGEST}: {{user: b}}\n")
    with pytest.raises(UserError, match=f"^--keys .*: no YAML or JSON \\({DIGEST} is there twice"):
        load_keys(path)


def test_a_public_address_needs_keys() -> None:
    public = ServeConfig(host="0.0.0.0")
    with pytest.raises(UserError) as refused:
        check_exposure(public, None)
    assert str(refused.value) == (
        "--host 0.0.0.0: other machines could read the documents without a key. Give a file of --keys "
        "(python -m rag_qa.app.keys NAME makes one), or --allow_public True"
    )
    check_exposure(public, RING)
    check_exposure(ServeConfig(host="0.0.0.0", allow_public=True), None)
    for host in ("127.0.0.1", "::1", "localhost"):
        check_exposure(ServeConfig(host=host), None)


def test_nobody_is_an_admin_of_a_public_server_without_keys(tmp_path: Path) -> None:
    app = fake_app(tmp_path, FakeBackend(DOCUMENTS), keys=False, host="0.0.0.0", allow_public=True)
    with served(app) as url:
        assert httpx.get(f"{url}/documents").json()["admin"] is False
        assert refusal(httpx.get(f"{url}/analytics")) == (403, "admins only")
        assert httpx.delete(f"{url}/documents/guides/cats.md").status_code == 403


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"host": ""}, "--host is empty: give an address, such as 127.0.0.1"),
        ({"port": 70_000}, "--port 70000 is outside 0 … 65535"),
        ({"ui": True, "ui_port": 0}, "--ui_port 0: the page needs a port that is known beforehand"),
        ({"ui": True, "ui_port": 8004}, "--ui_port 8004 is the API's --port: choose another one"),
        ({"keys": Path("k"), "groups": ("hr",)},
         "--groups counts without --keys alone: the file of keys says the groups of each user"),
        ({"keys": Path("k"), "ui": True},
         "--ui True: the Streamlit page knows no users, so it cannot be opened beside --keys"),
        ({"groups": ("",)}, "--groups has an empty name"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError) as refused:
        ServeConfig(**settings)  # type: ignore[arg-type]
    assert str(refused.value) == problem
    for name in ("workers", "max_upload_bytes", "burst"):
        with pytest.raises(ValueError, match=f"^--api.{name} 0 must be at least 1$"):
            ApiConfig(**{name: 0})  # type: ignore[arg-type]
    assert LIMITS.max_body_bytes >= LIMITS.max_upload_bytes


def test_a_client_that_leaves_in_the_middle_of_an_upload_fills_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = fake_app(tmp_path, FakeBackend())
    head = (
        "POST /documents HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer key-alice\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 500\r\n\r\n--x\r\n"
    )
    with served(app) as url:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.sendall(head.encode())
        until(lambda: 'route="/documents",status="400"' in httpx.get(f"{url}/metrics", headers=bearer("root")).text)
    assert [record for record in caplog.records if record.name == "rag_qa.app"] == []
