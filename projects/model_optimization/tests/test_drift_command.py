"""`drift` on logs: what it prints and writes, and its one-line errors."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from model_optimization.commands.drift import run
from model_optimization.config.monitoring import DriftCommandConfig, MonitorConfig
from model_optimization.monitoring.reference import read_reference
from roadmap_shared.errors import UserError

from .monitoring_world import NOON, record, stream, write_log

QUICK = MonitorConfig(window=40, horizon=200, calibration=100, max_reference=300)


def config(log: Path, **settings: object) -> DriftCommandConfig:
    return replace(DriftCommandConfig(log=log, reference_size=200, monitor=QUICK), **settings)  # type: ignore[arg-type]


def odd(count: int) -> list:
    """Short Chinese texts, all of one label."""
    return [record(n, time=NOON + n, text="很好看的电影" * (1 + n % 3)) for n in range(count)]


def test_a_log_without_drift(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(config(write_log(tmp_path / "log.sqlite", stream(500))))
    out = capsys.readouterr().out
    assert out.startswith("290 answers against a reference of 200\nlatency p50 ")
    assert "errors 2.0%" in out
    assert "none of 7 windows of 40 is off" in out
    assert "budget: a false alarm in 5% of 200 requests without drift" in out
    assert "DRIFT" not in out


def test_a_log_with_drift_and_everything_that_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_log(tmp_path / "log.sqlite", [*stream(400), *odd(100)])
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{name: odd inputs, metric: drift, above: 0.5, for_seconds: 60, text: Look.}]")
    pages = {"json": tmp_path / "out" / "drift.json", "html": tmp_path / "out" / "drift.html"}
    run(config(log, rules=rules, **pages))
    out = capsys.readouterr().out
    assert "windows of 40 are off, the first at request 200: " in out or "the first at request 240: " in out
    assert "scripts JS" in out or "vocabulary JS" in out or "length" in out
    assert "DRIFT  median" in out
    assert "ALERT warning: odd inputs: drift is 1. Look." in out
    report = json.loads(pages["json"].read_text())
    assert report["first_alarm"]["drift"] is True
    by_test = {(row["feature"], row["test"]): row for row in report["findings"]}
    assert by_test["length", "KS"]["drift"]
    assert by_test["labels", "chi-square"]["corrected"] >= by_test["labels", "chi-square"]["p_value"]
    page = pages["html"].read_text()
    assert "Drift of the requests" in page
    assert "The first window that is off ends at request" in page


def test_another_log_is_the_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = write_log(tmp_path / "before.sqlite", stream(300, seed=1))
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{name: odd, metric: drift, above: 0.5}]")
    run(config(write_log(tmp_path / "log.sqlite", stream(100)), reference=before, rules=rules, model=None))
    out = capsys.readouterr().out
    assert "98 answers against a reference of 294" in out
    assert "no rule fires" in out


def test_one_version_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [*stream(300), *(replace(item, version="2") for item in stream(90, end=NOON + 9, seed=2))]
    path = write_log(tmp_path / "log.sqlite", records)
    before = write_log(tmp_path / "before.sqlite", stream(300, seed=1))
    run(config(path, reference=before, version="2"))
    assert capsys.readouterr().out.startswith("89 answers")
    with pytest.raises(UserError, match=r"holds no answers of version 3: serve for a while first$"):
        run(config(path, reference=before, version="3"))


def test_errors_in_one_line(tmp_path: Path) -> None:
    empty = write_log(tmp_path / "empty.sqlite", [])
    short = write_log(tmp_path / "short.sqlite", stream(220))
    tokens = write_log(tmp_path / "tokens.sqlite", stream(300), keep_text=False)
    texts = tmp_path / "texts.txt"
    texts.write_text("a film\n" * 200)
    messages = {
        config(tmp_path / "no.sqlite"): f"{tmp_path / 'no.sqlite'}: there is no such file: serve with --log.path "
        f"{tmp_path / 'no.sqlite'} first, or name another log",
        config(empty): f"{empty}: holds no answers: serve for a while first",
        config(short): f"{short}: has 16 answers behind the 200 that are the reference, fewer than a window of 40: "
        "collect more, or give a smaller --monitor.window",
        config(short, reference=empty): f"{empty}: holds no predictions: the reference needs some",
        config(tokens, reference=texts): f"--reference {texts} has nothing that {tokens} has too: give texts or a log",
        config(short, model=Path("bert")): "encoder 'bert' is neither hashed nor minilm nor a folder",
    }
    for wrong, message in messages.items():
        with pytest.raises(UserError) as caught:
            run(wrong)
        assert str(caught.value) == message
    with pytest.raises(ValueError, match=r"^--reference_size 100 must be at least three windows"):
        config(short, reference_size=100)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"txt": "b"}', ", line 2: needs a text under `text`"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text"', ", line 3: is no JSON ("),
        ("a.jsonl", b'{"text": "a", "confidence": "high"}', ", line 1: confidence must be a number"),
        ("a.txt", b"\n\n", ": holds no texts: the reference needs some"),
        ("a.txt", b"caf\xe9", ": is not UTF-8: convert it first"),
        ("a.txt", None, ": there is no such file"),
    ],
)
def test_wrong_references(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_reference(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_a_reference_of_texts_with_answers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": "x", "confidence": 0.5}\n{"text": "b", "label": "y", "confidence": 1}\n')
    seen = read_reference(path)
    assert seen.names == {"lengths", "words", "scripts", "labels", "confidence"}
    path.write_text('{"text": "a", "label": "x", "confidence": 0.5}\n{"text": "b"}\n')
    assert read_reference(path).names == {"lengths", "words", "scripts"}


def test_evidently(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.sqlite", [*stream(400), *odd(100)])
    wanted = config(log, evidently=tmp_path / "new" / "evidently.html")
    if importlib.util.find_spec("evidently") is None:
        with pytest.raises(UserError) as caught:
            run(wanted)
        assert str(caught.value) == (
            "--evidently needs the package: pip install 'roadmap-model-optimization[evidently]'"
        )
        pytest.skip("evidently is not installed")
    run(wanted)
    assert "lengths" in (tmp_path / "new" / "evidently.html").read_text(encoding="utf-8")
