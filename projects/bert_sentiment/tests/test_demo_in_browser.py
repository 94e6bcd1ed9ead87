"""The page in a real Chromium: all its tabs, wide and narrow, light and dark, without a request to anywhere else."""

import csv
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from bert_sentiment.app import markup, serve
from bert_sentiment.app.demo import Demo
from bert_sentiment.app.models import Models
from bert_sentiment.app.shared import SharedPredictor
from bert_sentiment.config import ServeConfig
from bert_sentiment.inference.predictor import Predictor

from .helpers import EVIL, FIRST, SECOND

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")


@pytest.fixture
def address(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page as `serve` builds it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    app = serve.build_app(ServeConfig(root=root, device="cpu", unsure_below=0.2))
    with serve.listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield serve.address("127.0.0.1", listener)
        server.should_exit = True
        thread.join()


class Visit:
    """A page in Chromium that reaches this server alone, and all that it complained of."""

    def __init__(self, browser: Any, address: str, scheme: str, width: int) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
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

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).filter(visible=True).click()

    def box(self, label: str) -> Any:
        return self.page.get_by_label(label, exact=True).filter(visible=True).first

    def shown(self, selector: str) -> Any:
        found = self.page.locator(selector).filter(visible=True)
        found.first.wait_for()
        return found

    def width(self) -> int:
        return self.page.evaluate("document.documentElement.scrollWidth")


@in_browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 420)])
def test_the_page_in_a_browser(address: str, root: Path, tmp_path: Path, scheme: str, width: int) -> None:
    (tmp_path / "reviews.csv").write_text(f'review\n"{EVIL.replace(chr(34), "")}"\n\ngood\n<br>\n', encoding="utf-8")
    demo = Demo(predictor := SharedPredictor.of(Predictor.find("latest", root, "cpu")), Models(predictor, root))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        visit = Visit(browser, address, scheme, width)
        page = visit.page

        visit.box("Text").fill(EVIL)
        visit.press("Label the text")
        (prediction,) = predictor.predict([EVIL])
        assert visit.shown(".bs-card header").inner_text().startswith(prediction.label)
        assert visit.shown(".attribution").inner_text() == EVIL
        assert visit.shown(".attribution span").count() > 1
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        assert visit.width() == width

        page.get_by_text("All of them, one a line").click()
        page.locator(".bs-card").nth(3).wait_for()
        assert page.locator(".bs-card").count() == 4

        visit.tab("File")
        page.locator("input[type=file]").first.set_input_files(tmp_path / "reviews.csv")
        page.get_by_text("reviews").filter(visible=True).first.wait_for()
        visit.press("Label the file")
        assert visit.shown(".bs-said").inner_text() == "2 texts labelled, 1 left out."
        with page.expect_download() as download:
            page.get_by_text("Download the labelled file").click()
        assert download.value.suggested_filename == "reviews.predictions.csv"
        rows = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
        assert [row["predicted_label"] for row in rows] == [
            prediction.label for prediction in predictor.predict([row["review"] for row in rows])
        ]
        assert visit.width() == width

        visit.tab("Compare")
        visit.box("Text").fill("good\nbad\nthe plot was awful")
        visit.box("Each line is a text of its own").check()
        visit.press("Compare")
        said = visit.shown(".bs-said").inner_text()
        expected = markup.comparison_table(
            texts := ["good", "bad", "the plot was awful"],
            [FIRST, SECOND],
            predictor.predict(texts),
            demo.models.load(SECOND).predict(texts),
        )
        assert said in expected
        assert visit.width() == width

        visit.tab("Last run")
        assert visit.shown(".bs-figure svg").nth(1).is_visible()
        assert page.get_by_text("Mistakes it was most sure of").is_visible()
        assert visit.width() == width

        visit.tab("API")
        assert f"curl {address}/predict" in visit.shown(".bs-code").inner_text()
        assert page.title() == "Sentiment"
        visit.context.close()
        browser.close()
    assert visit.foreign == []
    assert visit.errors == []
