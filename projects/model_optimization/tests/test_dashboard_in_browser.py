"""The dashboard in a real Chromium: both languages, wide and narrow, light and dark, nothing from anywhere else."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from model_optimization.config.monitoring import DashboardConfig, LogConfig
from model_optimization.monitoring.dashboard import router
from model_optimization.monitoring.prediction_log import PredictionLog
from roadmap_shared.sockets import listen

from .monitoring_world import record, stream

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of the page, over 1,200 ordinary answers and 200 of another kind."""
    now = time.time()
    log = PredictionLog(LogConfig(path=tmp_path / "log.sqlite"))
    ordinary = stream(1200, end=now - 300, seconds=3000)
    ordinary[-2] = replace(ordinary[-2], label=EVIL, version=EVIL)
    odd = [record(n, time=now - 290 + n, text="一部很好看的电影" * 3, latency_ms=900.0) for n in range(200)]
    log.write([*ordinary, *odd])
    assert log.flush()
    app = FastAPI()
    app.include_router(router(log, DashboardConfig(refresh_seconds=0.5)))
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()
    log.close()


class Visit:
    """A page in Chromium that reaches this server alone, and all that it complained of."""

    def __init__(self, browser: Any, address: str, scheme: str, width: int) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 1000}, color_scheme=scheme, locale="en-GB", timezone_id="UTC"
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.foreign: list[str] = []
        self.errors: list[str] = []

        def reach(route: Any) -> None:
            if route.request.url.startswith((f"{address}/", "data:")):
                route.continue_()
            else:
                self.foreign.append(route.request.url)
                route.abort()

        self.page.route("**/*", reach)
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{address}/dashboard")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_page_in_a_browser(address: str, scheme: str, width: int) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        visit = Visit(browser, address, scheme, width)
        page = visit.page

        page.locator("#tiles").get_by_text("found").wait_for()
        tiles = page.locator(".tile").all_inner_texts()
        assert [text.split("\n")[0] for text in tiles] == [
            "Median latency", "95th percentile", "99th percentile", "Throughput", "Errors", "Confidence",
            "Cost of 1,000", "Drift",
        ]  # fmt: skip
        assert "900" in tiles[2]
        assert page.locator("#charts svg").count() == 6
        assert page.locator("#charts circle").count() >= 8
        assert page.locator("#rules .badge.firing").count() == 1
        assert page.locator("#rules .badge.pending").count() == 1, "slow answers must last a minute"
        assert "input drift" in page.locator("#events").inner_text()
        assert page.locator(".legend").filter(has_text=EVIL).count() == 1, "labels are text, not markup"
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(246, 247, 249)") == (scheme == "light")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        shot(page, f"dashboard-{scheme}")

        page.locator("#charts svg").first.hover()
        assert ":" in page.locator(".legend").first.inner_text()
        page.get_by_role("button", name="中文").click()
        assert page.get_by_role("heading", level=1).inner_text() == "模型监控"
        assert "延迟中位数" in page.locator("#tiles").inner_text()
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        assert page.evaluate("document.documentElement.scrollWidth") == width
        shot(page, f"dashboard-zh-{scheme}")
        page.reload()
        page.get_by_role("heading", name="模型监控").wait_for()
        page.get_by_role("button", name="English").click()

        with page.expect_response(lambda answer: "minutes=15" in answer.url) as answer:
            page.locator("#span").select_option("15")
        assert answer.value.json()["total"]["n_records"] < 1400
        visit.context.close()
        browser.close()
    assert visit.foreign == []
    assert visit.errors == []


def shot(page: Any, name: str) -> None:
    """A screenshot, where MODEL_OPTIMIZATION_SHOTS names a folder for them."""
    if folder := os.environ.get("MODEL_OPTIMIZATION_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
