"""The Streamlit page as `launch` starts it, in a real Chromium: wide and narrow, without a request to anywhere else."""

import contextlib
import json
import os
import shutil
import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag_qa.app.ui_launch import launch
from rag_qa.retrieval.encoders import build_encoder

from .ui_world import EVIL, make_index

pytest.importorskip("streamlit", reason="streamlit is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
PATIENCE = 120_000
"""Milliseconds; the page loads an encoder before it is drawn."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page over a small index, at a free port."""
    config = make_index(tmp_path_factory.mktemp("page"), build_encoder())
    with launch(replace(config, ui=True, ui_port=free_port())) as page:
        place = f"http://127.0.0.1:{port_of(page.args)}"
        wait_for(place, page)
        yield place


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def port_of(command: Any) -> str:
    return command[command.index("--server.port") + 1]


def wait_for(place: str, page: Any) -> None:
    end = time.monotonic() + PATIENCE / 1000
    while True:
        assert page.poll() is None, "the page ended at once"
        assert time.monotonic() < end, "the page did not come up"
        try:
            with urllib.request.urlopen(f"{place}/_stcore/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)


class Visit:
    """A page in Chromium that reaches this server alone, and all that it complained of."""

    def __init__(self, browser: Any, address: str, scheme: str, width: int) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.foreign: list[str] = []
        self.errors: list[str] = []

        def reach(route: Any) -> None:
            if route.request.url.startswith((f"{address}/", "data:", "blob:")):
                route.continue_()
            else:
                self.foreign.append(route.request.url)
                route.abort()

        self.page.route("**/*", reach)
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)

    def ask(self, question: str) -> str:
        """The answer's text."""
        self.settled()
        before = self.page.locator(".rq-answer").count()
        box = self.page.get_by_placeholder("Ask a question")
        box.fill(question)
        box.press("Enter")
        answer = self.page.locator(".rq-answer").nth(before)
        answer.wait_for()
        self.page.get_by_role("button", name="How it was found").nth(before).wait_for()
        return answer.inner_text()

    def cited(self, name: str) -> None:
        self.settled()
        self.page.get_by_role("button").filter(has_text=name).first.click()

    def close_dialog(self) -> None:
        self.page.keyboard.press("Escape")
        self.page.get_by_role("dialog").wait_for(state="detached")

    def settled(self) -> None:
        """Wait until the script behind the page has come to its end: a click while it draws can be lost."""
        self.page.wait_for_timeout(100)  # for a run that an event of just now begins
        self.page.locator(".stApp[data-test-script-state=notRunning]").wait_for()

    def click(self, target: Any, sign: str) -> None:
        """Click, and once more where a text that the click brings does not come."""
        for patience in (20_000, PATIENCE):
            self.settled()
            target.click()
            with contextlib.suppress(sync_api.TimeoutError):
                self.page.get_by_text(sign).first.wait_for(timeout=patience)
                return
        raise AssertionError(f"{sign!r} is not shown\n{self.page.inner_text('body')[:2000]}")

    def go(self, name: str, sign: str) -> None:
        """Choose a page, and wait for a text that it alone shows."""
        self.click(self.page.get_by_test_id("stButtonGroup").first.get_by_text(name, exact=True), sign)

    def width(self) -> int:
        return self.page.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_page_in_a_browser(address: str, tmp_path: Path, scheme: str, width: int) -> None:
    upload = tmp_path / f"oaks-{width}.txt"
    upload.write_text(f"The forest of {width} has 900 old oaks and a well.", encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        visit = Visit(browser, address, scheme, width)
        page = visit.page

        assert "1904" in visit.ask("When was the old bridge opened?")
        dark = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
        assert (dark == "rgb(255, 255, 255)") == (scheme == "light")
        visit.cited("bridge.pdf")
        dialog = page.get_by_role("dialog")
        image = dialog.locator("img").first
        image.wait_for()
        assert dialog.get_by_role("tab").all_inner_texts() == ["Close-up", "Page", "Text"]
        assert image.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 300
        shot(page, f"citation-{width}")
        visit.close_dialog()

        visit.ask("Which evil words of the tower are there?")
        visit.cited("notes")
        page.get_by_role("dialog").locator("mark").wait_for()
        assert EVIL[:30] in page.get_by_role("dialog").locator(".rq-passage").inner_text()
        visit.close_dialog()
        assert "do not seem to answer" in visit.ask("Who wrote the Mongolian constitution?")
        assert visit.width() == width

        visit.settled()
        page.get_by_role("button", name="How it was found").first.click()
        page.locator(".rq-hit").first.wait_for()
        page.get_by_role("slider").press("Home")
        page.get_by_text("meaning: not found").first.wait_for()
        assert visit.width() == width
        shot(page, f"inspector-{width}")

        visit.go("Documents", "Add to the index")
        page.locator("input[type=file]").set_input_files(upload)
        page.get_by_text(upload.name).first.wait_for()
        visit.click(page.get_by_role("button", name="Add to the index"), f"{upload.name}: 1 passage")
        row = page.locator("[class*=st-key-document-uploads]").filter(has_text=upload.name)
        visit.click(row.get_by_role("button"), "Delete it")
        visit.click(page.get_by_role("dialog").get_by_role("button", name="Delete it"), "nothing is left")
        with page.expect_download() as download:
            page.get_by_role("button", name="Save the certificate").click()
        certificate = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
        assert certificate["sources"] == [f"uploads/anonymous/{upload.name}"]
        assert visit.width() == width
        shot(page, f"documents-{width}")

        visit.go("Analytics", "Questions a day")
        page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first.wait_for()
        assert visit.width() == width
        shot(page, f"analytics-{width}")
        assert page.get_by_text("vault").count() == 0
        visit.context.close()
        browser.close()
    assert visit.foreign == []
    assert visit.errors == []


def shot(page: Any, name: str) -> None:
    """A screenshot, where RAG_QA_SHOTS names a folder for them."""
    if folder := os.environ.get("RAG_QA_SHOTS"):
        page.wait_for_timeout(700)
        page.screenshot(path=Path(folder) / f"{name}.png")
