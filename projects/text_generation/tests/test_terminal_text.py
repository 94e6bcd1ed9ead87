"""What is shown on a terminal cannot steer it, and a long list of rejects is cut short."""

import sys
from pathlib import Path
from typing import Any

import pytest

from text_generation.coding.commands import run_code
from text_generation.config.backend import BackendConfig
from text_generation.config.coding import CodeConfig
from text_generation.config.prompting import PromptsConfig
from text_generation.corpora.types import Reject
from text_generation.prompting.commands import run_prompts
from text_generation.terminal_text import harmless, shown, told


def test_what_could_steer_a_terminal_is_replaced() -> None:
    assert harmless("a\x1b[2Jb\u202ec\ud800\td\n") == "a\ufffd[2Jb\ufffdc\ufffd\td\n"


def test_ten_rejects_are_told_and_the_others_counted() -> None:
    rejects = [Reject(f"a.jsonl:{n}", "bad") for n in range(1, 1013)]
    first_ten = [f"passed over: a.jsonl:{n}: bad" for n in range(1, 11)]
    assert told([]) == []
    assert told(rejects[:10]) == first_ten
    assert told(rejects) == [*first_ten, "passed over: 1,002 more"]


def test_a_reject_cannot_steer_the_terminal() -> None:
    assert told([Reject("a:1", "no \x1b[2J")]) == ["passed over: a:1: no \ufffd[2J"]


def test_only_a_terminal_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown("a\x1b[2J") == "a\x1b[2J"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert shown("a\x1b[2J") == "a\ufffd[2J"


@pytest.mark.parametrize(
    "settings",
    [
        {"description": "half a number"},
        {"task": "explain"},
        {"task": "review", "prose": True},
    ],
)
def test_what_a_model_says_of_code_cannot_steer_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: dict[str, Any]
) -> None:
    script, file = tmp_path / "script.txt", tmp_path / "double.py"
    script.write_text("no \x1b[2J code\n", encoding="utf-8")
    file.write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    backend = BackendConfig(kind="scripted", model=str(script))
    run_code(CodeConfig(file=None if "description" in settings else file, backend=backend, **settings))
    assert "no \ufffd[2J code" in capsys.readouterr().out


def test_a_template_cannot_steer_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text('name: a\nversion: 1.0.0\ndescription: "d"\nvariables: {}\ntext: "say \\e[2J"\n', encoding="utf-8")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run_prompts(PromptsConfig(action="render", template=str(file)))
    assert capsys.readouterr().out == "say \ufffd[2J\n"
