"""Figures of the dashboard, and what the drift of a growing log is."""

import logging
import re
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from model_optimization.config.monitoring import DashboardConfig, LogConfig, MonitorConfig
from model_optimization.monitoring.dashboard import Dashboard, dashboard_page, router
from model_optimization.monitoring.prediction_log import PredictionLog
from roadmap_shared.errors import UserError

from .monitoring_world import NOON, record, stream, write_log

QUICK = MonitorConfig(window=40, horizon=200, calibration=100, max_reference=200)
CONFIG = DashboardConfig(reference_size=160, monitor=QUICK, refresh_seconds=1)


class World:
    """A log, a dashboard on it, and a clock that is moved by hand."""

    def __init__(self, folder: Path, config: DashboardConfig = CONFIG) -> None:
        self.now = NOON
        self.log = PredictionLog(LogConfig(path=folder / "log.sqlite", days=36_500))
        self.board = Dashboard(self.log, config, clock=lambda: self.now)

    def add(self, records: list) -> None:
        self.log.write(records)
        assert self.log.flush()
        self.now += 2


@pytest.fixture
def world(tmp_path: Path):
    world = World(tmp_path)
    yield world
    world.log.close()


def test_an_empty_log_gives_an_empty_page(world: World) -> None:
    data = world.board.data(60)
    assert data["total"]["n_records"] == 0
    assert len(data["series"]) == 60
    assert (data["drift"]["collected"], data["drift"]["wanted"], data["drift"]["windows"]) == (0, 160, [])
    assert data["cost_per_thousand"] is None


def test_the_reference_is_collected_then_windows_are_scored_once(world: World) -> None:
    records = stream(400)
    world.add(records[:100])
    assert world.board.data(60)["drift"]["collected"] == 98
    world.add(records[100:300])
    drift = world.board.data(60)["drift"]
    assert len(drift["windows"]) == (294 - 160) // 40
    assert drift["threshold"] > 0
    world.add(records[300:])
    again = world.board.data(60)["drift"]
    assert len(again["windows"]) == (392 - 160) // 40
    assert again["windows"][:3] == drift["windows"], "what was scored stays as it was"
    world.now += 2
    assert world.board.data(60)["drift"] == again


def test_drift_fires_an_alert_and_its_end_resolves_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    ordinary = stream(450, end=NOON)
    world.add(ordinary)
    world.board.tick()
    assert "input drift" not in caplog.text
    world.add([record(n, time=NOON + 1 + n / 100, text="这部电影真的很好看") for n in range(40)])
    world.board.tick()
    assert "firing: input drift (drift is 1)" in caplog.text
    world.add([item for item in stream(120, end=NOON + 10, seconds=5, seed=3) if not item.error])
    events = [(event["rule"], event["event"]) for event in world.board.data(60)["events"]]
    assert events == [("input drift", "resolved"), ("input drift", "firing")]


def test_a_look_within_the_refresh_time_takes_nothing_in(world: World) -> None:
    world.board.tick()
    world.log.write(stream(400))
    assert world.log.flush()
    world.board.tick()
    assert world.board.data(60)["drift"]["collected"] == 0
    world.now += 1.5
    assert world.board.data(60)["drift"]["collected"] == 160


def test_figures_are_of_the_span_that_is_asked_for(world: World) -> None:
    world.add([record(n, time=NOON - 7200 + n) for n in range(10)] + [record(n, time=NOON - 60) for n in range(5)])
    assert world.board.data(60)["total"]["n_records"] == 5
    assert world.board.data(180)["total"]["n_records"] == 15
    assert world.board.data(60)["versions"] == {"1": 5.0}
    assert world.board.data(60)["log"]["written"] == 15
    assert world.board.data(60)["cost_per_thousand"] > 0


def test_texts_of_one_request_are_all_seen(world: World) -> None:
    world.add(stream(170))
    world.board.tick()
    world.add([record(0, time=NOON + 1, text="a film") for _ in range(64)])
    world.board.tick()
    world.add([record(1, time=NOON + 1, text="a film") for _ in range(64)])
    # 166 answers of the stream, 160 of them the reference.
    assert len(world.board.data(60)["drift"]["windows"]) == (6 + 128) // 40


def test_without_texts_tokens_are_compared(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add([record(n, time=NOON - 400 + n, text=None, n_tokens=10 + n % 7) for n in range(200)])
    world.add([record(n, time=NOON - 100 + n, text=None, n_tokens=60) for n in range(40)])
    windows = world.board.data(60)["drift"]["windows"]
    assert [window["drift"] for window in windows] == [False, True]
    assert windows[-1]["largest"] == "tokens KS"
    world.log.close()


def test_a_reference_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(str(item.text) for item in stream(200, seed=9)), encoding="utf-8")
    world = World(tmp_path, DashboardConfig(reference=path, reference_size=160, monitor=QUICK))
    world.add([record(n, time=NOON - 100 + n, text="x" * 500) for n in range(40)])
    drift = world.board.data(60)["drift"]
    assert drift["wanted"] == 0
    assert [window["drift"] for window in drift["windows"]] == [True]
    assert set(drift["windows"][0]["scores"]) == {
        "length KS", "length PSI", "unknown words KS", "vocabulary JS", "scripts JS",
    }  # fmt: skip
    world.log.close()


def test_a_reference_that_the_log_has_nothing_of_is_told(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("a text\n" * 200, encoding="utf-8")
    world = World(tmp_path, DashboardConfig(reference=path, reference_size=160, monitor=QUICK))
    world.add([record(n, time=NOON - 100 + n, text=None) for n in range(40)])
    with pytest.raises(UserError) as caught:
        world.board.data(60)
    assert str(caught.value) == ("--dashboard.reference has nothing that the log has too: give texts or another log")
    world.log.close()


def test_the_routes(tmp_path: Path) -> None:
    log = PredictionLog(LogConfig(path=tmp_path / "log.sqlite", days=36_500))
    lives: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        lives.append("begun")
        yield
        lives.append("ended")

    app = FastAPI(lifespan=lifespan)
    app.include_router(router(log, CONFIG))
    with TestClient(app) as client:
        assert lives == ["begun"]
        assert "dashboard" in {thread.name for thread in threading.enumerate()}
        page = client.get("/dashboard")
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        data = client.get("/dashboard/data?minutes=15").json()
        assert data["now"] - data["start"] == pytest.approx(900)
        assert client.get("/dashboard/data?minutes=0").status_code == 422
        assert client.get("/dashboard/data?minutes=nan").status_code == 422
        log.close()
        for file in tmp_path.iterdir():
            file.unlink()
        message = f"{log.path}: there is no such file: serve with --log.path {log.path} first, or name another log"
        assert client.get("/dashboard/data").json() == {"error": message}
    assert lives == ["begun", "ended"]
    assert "dashboard" not in {thread.name for thread in threading.enumerate()}


def test_the_page_asks_nobody_else() -> None:
    page, _ = dashboard_page()
    without_names = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|<link[^>]+stylesheet|<script[^>]+src", without_names)
    assert "innerHTML" not in page
    english, chinese = (set(re.findall(r"(\w+):", part)) for part in page.split("  zh: {")[0:2])
    words = set(re.findall(r"t\(\)\.(\w+)", page)) | set(re.findall(r'data-t="(\w+)"', page))
    assert words <= english
    assert words <= chinese


def test_settings_and_rules_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^--dashboard.refresh_seconds 0 must be above 0$"):
        DashboardConfig(refresh_seconds=0)
    with pytest.raises(ValueError) as caught:
        DashboardConfig(reference_size=100)
    assert str(caught.value) == "--dashboard.reference_size 100 must be at least three windows (300)"
    log = PredictionLog(LogConfig(path=tmp_path / "log.sqlite"))
    with pytest.raises(UserError, match=r"there is no such file$"):
        Dashboard(log, DashboardConfig(rules=tmp_path / "missing.yaml"))
    log.close()
    with pytest.raises(UserError, match=r"holds no predictions: the reference needs some$"):
        Dashboard(log, DashboardConfig(reference=write_log(tmp_path / "empty.sqlite", [])))


def test_what_keeps_the_alerts_from_working_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = PredictionLog(LogConfig(path=tmp_path / "log.sqlite"))
    board = Dashboard(log, DashboardConfig(refresh_seconds=0.01))
    log.close()
    for file in tmp_path.iterdir():
        file.unlink()
    board.start()
    while "no alerts: " not in caplog.text:
        time.sleep(0.01)
    time.sleep(0.1)
    board.close()
    assert caplog.text.count(f"no alerts: {log.path}: there is no such file") == 1
    assert "Traceback" not in caplog.text
