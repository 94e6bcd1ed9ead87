"""`serve`: what it refuses before it loads anything, and a real start and stop."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from roadmap_shared.errors import UserError
from text_generation.backends.scripted import ScriptedBackend
from text_generation.config.backend import BackendConfig
from text_generation.config.serving import ServingConfig
from text_generation.serving import command
from text_generation.serving.engine import ThreadEngine

VARIABLE = "TEXT_GENERATION_API_KEY"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "fox.txt"
    path.write_text("The fox slept.\nThe bird sang.\n", encoding="utf-8")
    return path


def test_a_public_address_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    public = ServingConfig(host="0.0.0.0")
    with pytest.raises(UserError) as refused:
        command.run(public)
    assert str(refused.value) == (
        "--host 0.0.0.0: other machines could use the model without a key. Put one into the environment variable "
        "TEXT_GENERATION_API_KEY or into --api_key_file, or give --allow_public True"
    )
    command.check_exposure(public, "key")
    command.check_exposure(ServingConfig(host="0.0.0.0", allow_public=True), None)
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.5"):
        command.check_exposure(ServingConfig(host=host), None)
    for host in ("::", "192.168.1.4", "my.example"):
        assert not ServingConfig(host=host).is_local


def test_where_the_key_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert command.read_key(ServingConfig()) is None
    monkeypatch.setenv(VARIABLE, " from-variable\n")
    assert command.read_key(ServingConfig()) == "from-variable"
    file = tmp_path / "key"
    file.write_text("from-file\n", encoding="utf-8")
    assert command.read_key(ServingConfig(api_key_file=file)) == "from-file"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "holds no key"),
        (b" \n", "holds no key"),
        (b"two words", "a key is one word of ASCII characters, since it is sent in a header"),
        ("schlüssel".encode(), "a key is one word of ASCII characters, since it is sent in a header"),
        (b"\xff", "cannot be read (no text)"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_files_that_hold_no_key(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError) as refused:
        command.read_key(ServingConfig(api_key_file=file))
    assert str(refused.value) == f"--api_key_file {file}: {problem}"


def test_a_variable_that_holds_no_key_is_no_open_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(UserError) as refused:
        command.read_key(ServingConfig())
    assert str(refused.value) == f"environment variable {VARIABLE}: holds no key"


def test_a_taken_port_is_one_line() -> None:
    with command.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UserError) as refused:
            command.run(ServingConfig(port=port))
        assert str(refused.value) == f"--port {port}: is taken. Choose another one, or 0 for any that is free"
        assert command.address("0.0.0.0", listener) == f"http://127.0.0.1:{port}"
        assert command.address("::1", listener) == f"http://[::1]:{port}"
    with pytest.raises(UserError, match=r"^--host 203\.0\.113\.7: is no address of this machine \("):
        command.listen("203.0.113.7", 0)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "NEEDED", ("json", "no_such_package"))
    with pytest.raises(UserError) as refused:
        command.run(ServingConfig())
    assert str(refused.value) == 'no_such_package: not installed. Run: pip install "roadmap-text-generation[demo]"'


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"host": ""}, "--host is empty: give an address, such as 127.0.0.1"),
        ({"port": 65536}, "--port 65536 is outside 0 … 65535"),
        ({"model_name": ""}, "--model_name is empty: give a name, or leave it out"),
        ({"max_new_tokens": 0}, "--max_new_tokens 0 must be at least 1"),
        ({"max_waiting": -1}, "--max_waiting -1 must be at least 0"),
        ({"max_body_bytes": 10}, "--max_body_bytes 10 must be at least 1024"),
        ({"stall_seconds": float("nan")}, "--stall_seconds nan must be above 0"),
        ({"default_new_tokens": 9, "max_new_tokens": 8}, "--default_new_tokens 9 must be at most --max_new_tokens 8"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        ServingConfig(**settings)
    assert str(refused.value) == message


def test_names_for_clients(tmp_path: Path) -> None:
    (tmp_path / "run-7" / "model").mkdir(parents=True)
    assert command.client_name("hf", str(tmp_path / "run-7" / "model")) == "run-7"
    assert command.client_name("hf", str(tmp_path / "run-7")) == "run-7"
    assert command.client_name("hf", "Qwen/Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B"
    assert command.client_name("openai", "org/model") == "org/model"


def test_other_back_ends_are_served_by_threads(script: Path) -> None:
    config = ServingConfig(backend=BackendConfig(kind="scripted", model=str(script), batch_size=3))
    engine = command.build_engine(config)
    assert isinstance(engine, ThreadEngine)
    assert (engine.name, engine.slots) == ("fox", 3)


def test_closing_an_engine_closes_its_streams() -> None:
    import threading

    closed, begun, go_on = threading.Event(), threading.Event(), threading.Event()

    class Endless(ScriptedBackend):
        def stream(self, *_: Any, **__: Any) -> Any:
            try:
                while True:
                    yield "word "
                    assert go_on.wait(20)
            finally:
                closed.set()

    engine = ThreadEngine(Endless(["x"]), 1)
    endings: list[Any] = []
    from text_generation.config.decoding import DecodingConfig

    engine.submit(engine.encode("hi"), DecodingConfig(), 0, lambda _: begun.set(), endings.append)
    assert begun.wait(20)
    go_on.set()
    engine.close()
    assert closed.is_set()
    assert endings == [None]


def test_the_command_serves_until_ctrl_c_and_never_shows_the_key(script: Path) -> None:
    main = (
        "import sys; from text_generation.config.serving import ServingConfig as C; "
        "from text_generation.config.backend import BackendConfig as B; "
        "from text_generation.serving.command import run; "
        f"run(C(port=0, backend=B(kind='scripted', model={str(script)!r})))"
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-W", "error", "-c", main], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, VARIABLE: "s3cret-key"},
        # Where the tests run in a shell's background, Ctrl-C is ignored, and what they start would ignore it too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        place = r"http://127\.0\.0\.1:\d+"
        found = re.fullmatch(rf"fox at ({place}) \(API: {place}/v1, an API key is needed; Ctrl-C stops it\)\n", line)
        assert found is not None, line + process.communicate()[1]
        body = {"model": "fox", "prompt": "hi"}
        headers = {"authorization": "Bearer s3cret-key"}
        answer = httpx.post(f"{found[1]}/v1/completions", json=body, headers=headers, timeout=60)
        assert answer.json()["choices"][0]["text"] == "The fox slept."
        assert httpx.post(f"{found[1]}/v1/completions", json=body).status_code == 401
        assert "server" not in answer.headers
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, output, errors) == (0, "stopped\n", "")
    with socket.socket() as free:  # the port is free again
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", int(found[1].rsplit(":", 1)[1])))
