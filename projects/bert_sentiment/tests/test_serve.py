"""The `serve` command: its settings, its address, and how it starts and stops."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from bert_sentiment.app import serve
from bert_sentiment.cli import main
from bert_sentiment.config import ServeConfig
from roadmap_shared.errors import UserError

from .helpers import FIRST


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"host": ""}, "--host is empty: give an address, such as 127.0.0.1"),
        ({"port": 70_000}, "--port 70000 is outside 0 … 65535"),
        ({"unsure_below": 1.5}, "--unsure_below 1.5 must lie between 0 and 1"),
        ({"batch_size": 0}, "--batch_size 0 must be at least 1"),
        ({"max_texts": 0}, "--max_texts 0 must be at least 1"),
        ({"max_characters": 2_000_000}, "--max_characters 2000000 must be at most 1,000,000"),
    ],
)
def test_settings_are_checked(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        ServeConfig(**setting)
    assert str(caught.value) == message


def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with serve.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    expected = f"bert-sentiment serve: --port {port}: is taken. Choose another one, or 0 for any that is free\n"
    assert capsys.readouterr().err == expected


def test_a_wrong_host_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^--host 192\.0\.2\.1: is no address of this machine \(.+\)$"):
        serve.listen("192.0.2.1", 0)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "gradio" else object())
    assert main(["serve"]) == 2
    expected = 'bert-sentiment serve: gradio: not installed. Run: pip install "roadmap-bert-sentiment[demo]"\n'
    assert capsys.readouterr().err == expected


def test_no_model_yet_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")  # the command sets them; they are restored after the test
    assert main(["serve", "--port", "0", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"bert-sentiment serve: there is no trained model in {tmp_path}. Train one with `bert-sentiment run` or "
        "`make project-2`, or name one with --model or --root\n"
    )


def test_the_address_fits_a_browser() -> None:
    with serve.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert serve.address("0.0.0.0", listener) == f"http://127.0.0.1:{port}"
        assert serve.address("::1", listener) == f"http://[::1]:{port}"


def test_the_command_serves_until_ctrl_c(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-W", "error", "-m", "bert_sentiment", "serve", "--port", "0", "--root", str(root)]
    process = subprocess.Popen(
        [*command, "--device", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(rf"Sentiment of {FIRST}: (http://127\.0\.0\.1:\d+)  \(Ctrl-C stops it\)\n", line)
        assert found is not None, line + process.communicate()[1]
        assert httpx.get(f"{found[1]}/health", timeout=60).json() == {"status": "ok", "model": FIRST}
        page = httpx.get(f"{found[1]}/", timeout=60).text
        assert "gradio_config" in page
        assert str(root) not in page
        assert httpx.get(f"{found[1]}/gradio_api/file={root}/bert_sentiment/{FIRST}/summary.json").status_code == 403
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, output, errors) == (0, "stopped\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]  # neither uploads nor caches stay behind
