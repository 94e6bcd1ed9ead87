"""The log of predictions: nothing delays the server, nothing personal is kept, nothing lives for ever."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from model_optimization.config.monitoring import LogConfig
from model_optimization.monitoring import prediction_log
from model_optimization.monitoring.log_database import Selection, open_log, read_log, sweep
from model_optimization.monitoring.prediction_log import PredictionLog, is_kept
from roadmap_shared.errors import UserError

from .monitoring_world import NOON, record, stream, write_log

WRITER = """
import time
from pathlib import Path
from model_optimization.config.monitoring import LogConfig
from model_optimization.monitoring.prediction_log import PredictionLog, PredictionRecord
log = PredictionLog(LogConfig(path=Path({path!r})))
for n in range({count}):
    log.write([PredictionRecord(time=time.time(), version="1", text="t", label="a", probabilities=(1.0,), latency_ms=1,
                                n_tokens=1, request_id=str(n))])
    if n == 150:
        log.flush()
        print("ready", flush=True)
    if n % 10 == 0:
        time.sleep(0.002)
{then}
"""


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    records = stream(100)
    table = read_log(write_log(tmp_path / "log.sqlite", records))
    assert table.time.tolist() == [item.time for item in records]
    assert table.text.tolist() == [item.text for item in records]
    assert table.error.tolist() == [item.error for item in records]
    assert table.label.tolist() == [item.label for item in records]
    assert table.n_tokens.tolist() == [item.n_tokens for item in records]
    assert table.weight.tolist() == [1.0] * 100
    confidence = [item.confidence for item in records]
    assert np.isnan(table.confidence).tolist() == [value is None for value in confidence]
    assert len(table.answered) == 98


def test_texts_are_redacted_and_then_cut(tmp_path: Path) -> None:
    texts = ["mail ann@example.org", "x" * 45 + " 13812345678", None, "half \ud800 of a pair"]
    records = [record(number, text=text) for number, text in enumerate(texts)]
    table = read_log(write_log(tmp_path / "log.sqlite", records, max_text=50))
    assert table.text.tolist() == ["mail [EMAIL]", "x" * 45 + " [PHO", None, "half ? of a pair"]
    kept = read_log(write_log(tmp_path / "raw.sqlite", records[:1], redact=False))
    assert kept.text.tolist() == ["mail ann@example.org"]
    none = read_log(write_log(tmp_path / "none.sqlite", records[:1], keep_text=False))
    assert none.text.tolist() == [None]


def test_the_share_is_chosen_by_the_request_alone(tmp_path: Path) -> None:
    ids = [f"request-{number}" for number in range(4000)]
    kept = {name for name in ids if is_kept(name, 0.25)}
    assert abs(len(kept) / 4000 - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5
    assert kept <= {name for name in ids if is_kept(name, 0.5)}, "a larger share keeps what the smaller one kept"
    assert all(is_kept(name, 1.0) for name in ids)
    # Every process must choose alike: this value is part of the form.
    assert [number for number in range(100) if is_kept(f"request-{number}", 0.1)] == [34, 50, 52, 67, 75, 77, 83, 91]
    table = read_log(write_log(tmp_path / "log.sqlite", [record(n) for n in range(400)], share=0.25))
    assert len(table) == sum(is_kept(f"request-{n}", 0.25) for n in range(400))
    assert table.weight.tolist() == [4.0] * len(table)


def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, entered = threading.Event(), threading.Event()
    store = PredictionLog._store

    def slow(self: PredictionLog, records: list) -> None:
        entered.set()
        held.wait(30)
        store(self, records)

    monkeypatch.setattr(PredictionLog, "_store", slow)
    log = PredictionLog(LogConfig(path=tmp_path / "log.sqlite", queue=10))
    log.write([record(0)])
    assert entered.wait(30)
    while not log._queue.empty():
        entered.wait(0.01)
    log.write([record(number) for number in range(1, 31)])
    assert (log.counts.seen, log.counts.dropped) in [(31, 20), (31, 21)]
    held.set()
    log.close()
    assert log.counts.written == 31 - log.counts.dropped
    log.write([record(99)])  # behind the end: never an error
    log.close()


def test_a_record_that_cannot_be_kept_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = PredictionLog(LogConfig(path=tmp_path / "log.sqlite"))
    log.write([record(0, latency_ms="slow")])
    assert log.flush()
    log.write([record(1)])
    log.close()
    assert (log.counts.failed, log.counts.written) == (1, 1)
    assert "predictions cannot be kept: could not convert string to float" in caplog.text


def test_a_full_disk_costs_records_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def small(path: Path) -> sqlite3.Connection:
        connection = open_log(path)
        connection.execute("PRAGMA max_page_count = 8")
        return connection

    monkeypatch.setattr(prediction_log, "open_log", small)
    log = PredictionLog(LogConfig(path=tmp_path / "log.sqlite", days=36_500))
    for start in range(0, 400, 100):
        log.write([record(number, text="long " * 100) for number in range(start, start + 100)])
        assert log.flush()
    log.close()
    assert log.counts.failed == 400
    assert caplog.text.count("database or disk is full") == 1


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    log = PredictionLog(LogConfig(path=path, days=36_500))
    log.write([record(0)])
    assert log.flush()
    for file in tmp_path.iterdir():
        file.rename(tmp_path / f"old-{file.name}")
    log.write([record(1)])
    log.close()
    assert len(read_log(path)) == 1


def test_several_processes_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    code = WRITER.format(path=str(path), count=200, then="log.close(60); assert log.counts.written == 200, log.counts")
    writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert len(read_log(path)) == 600


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_process_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    code = WRITER.format(path=str(path), count=10**9, then="")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    assert len(read_log(path)) >= 150
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert write_log(path, [record()]) == path


def test_old_records_go_and_cannot_be_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    write_log(path, [record(0, time=NOON - 100, text="forgettable"), record(1, text="memorable")])
    connection = open_log(path)
    assert sweep(connection, before=NOON - 50, max_bytes=1e9) == 1
    connection.close()
    assert read_log(path).text.tolist() == ["memorable"]
    assert b"forgettable" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_a_large_file_shrinks_by_its_oldest_records(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    write_log(path, [record(n, time=NOON + n, text="some words " * 40) for n in range(2000)])
    before = path.stat().st_size
    connection = open_log(path)
    assert sweep(connection, before=0, max_bytes=before / 2) > 0
    connection.close()
    times = read_log(path).time
    assert path.stat().st_size <= before / 2
    assert 700 < len(times) < 1000
    assert times[0] == NOON + 2000 - len(times), "the newest are kept"
    connection = open_log(path)
    assert sweep(connection, before=0, max_bytes=1) == len(times), "nothing is left, and that is no error"
    connection.close()


def test_retention_works_while_serving(tmp_path: Path) -> None:
    now = [NOON]
    log = PredictionLog(LogConfig(path=tmp_path / "log.sqlite", days=1), clock=lambda: now[0])
    log.write([record(0)])
    assert log.flush()
    now[0] += 86_400 * 2
    log.write([record(1, time=now[0])])
    log.close()
    assert read_log(tmp_path / "log.sqlite").time.tolist() == [now[0]]


def test_selections(tmp_path: Path) -> None:
    records = [
        record(0, time=1.0),
        record(1, time=2.0, version="2"),
        record(2, time=3.0, error="deadline", label="", probabilities=()),
        record(3, time=4.0, shadow=True),
        record(4, time=5.0),
    ]
    path = write_log(tmp_path / "log.sqlite", [*reversed(records)])

    def times(**wanted: object) -> list[float]:
        return read_log(path, Selection(**wanted)).time.tolist()  # type: ignore[arg-type]

    assert times() == [1.0, 2.0, 3.0, 5.0]
    assert times(since=2.0, until=5.0) == [2.0, 3.0]
    assert times(after=1) == [3.0, 2.0, 1.0], "in the order of their arrival"
    assert times(newest=2) == [3.0, 5.0]
    assert times(oldest=2) == [1.0, 2.0]
    assert times(version="2") == [2.0]
    assert times(answered=True) == [1.0, 2.0, 5.0]
    assert times(shadow=True) == [4.0]
    assert read_log(path, Selection(texts=False)).text.tolist() == [None] * 4


def test_wrong_files_in_one_line(tmp_path: Path) -> None:
    missing, text, other, later = (tmp_path / name for name in ("missing", "text", "other", "later"))
    text.write_text("no database at all, but long enough to be looked at as one" * 20)
    for path, pragma in ((other, "user_version = 1"), (later, f"application_id = {0x4D4F5044}")):
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE films (name TEXT)")
            connection.execute(f"PRAGMA {pragma}")
        connection.close()
    with sqlite3.connect(later) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    messages = {
        missing: f"{missing}: there is no such file: serve with --log.path {missing} first, or name another log",
        text: f"{text}: cannot be read as a log of predictions (file is not a database)",
        other: f"{other}: is a SQLite file, but no log of predictions: give another file",
        later: f"{later}: is a log of version 7, and this program writes version 1: give another file",
    }
    for path, message in messages.items():
        with pytest.raises(UserError) as caught:
            read_log(path)
        assert str(caught.value) == message
    with pytest.raises(UserError) as caught:
        PredictionLog(LogConfig(path=text))
    assert str(caught.value).startswith(f"{text}: predictions cannot be kept there (file is not a database)")
    with pytest.raises(UserError) as caught:
        PredictionLog(LogConfig(path=text / "log.sqlite"))
    assert str(caught.value).startswith(f"{text / 'log.sqlite'}: predictions cannot be kept there (")
    with pytest.raises(UserError, match=r"^--log.path is not given: name the file that predictions are kept in$"):
        PredictionLog(LogConfig())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 0.0}, "--log.share 0.0 must be above 0 and at most 1"),
        ({"queue": 0}, "--log.queue 0 must be at least 1"),
        ({"days": 0}, "--log.days 0 must be above 0"),
        ({"max_mb": 0.5}, "--log.max_mb 0.5 must be at least 1"),
    ],
)
def test_settings(values: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        LogConfig(**values)
    assert str(caught.value) == message
