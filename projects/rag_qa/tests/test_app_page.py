"""The page at `/`: its policy, and all of it in a real Chromium, over the real index."""

import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag_qa.app.fastapi_api import app_over, create_app
from rag_qa.app.operations_api import ask_page
from rag_qa.assistant import Assistant
from rag_qa.config.chunking import ChunkingConfig
from rag_qa.config.generation import GenerationConfig
from rag_qa.config.retrieval import RetrievalConfig
from rag_qa.document_processor import ingestion
from rag_qa.document_processor.index import Index

from .hash_encoder import HashEncoder
from .serving_fakes import LIMITS, RING, FakeBackend, config_in, fake_app, served, text_document

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

EVIL = "<script>document.title='x'</script><img src=x onerror=\"document.title='x'\"> ${1+1} &amp; evil"
GUIDE = "# Care of the pump\n\nThe pump is cleaned with warm water. The valve must be oiled every four weeks.\n"


def manual() -> bytes:
    """A PDF of two pages."""
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    file = io.BytesIO()
    pdf = canvas.Canvas(file)
    pdf.setTitle("Boiler manual")
    pdf.setFont("Helvetica", 14)
    pdf.drawString(72, 720, "This manual is about the boiler.")
    pdf.showPage()
    pdf.setFont("Helvetica", 14)
    pdf.drawString(72, 720, "The boiler holds ninety litres of water.")
    pdf.drawString(72, 690, "Its door is made of steel.")
    pdf.save()
    return file.getvalue()


def assistant_in(folder: Path) -> Assistant:
    """An index with one document, asked with a fake encoder."""
    index = Index.create(config_in(folder).index, HashEncoder(), ChunkingConfig(size=32, overlap=0, minimum=4))
    ingestion.add_documents(index, [text_document("guides/pump.md", GUIDE)])
    return Assistant.over(index, RetrievalConfig(k=3), GenerationConfig(refuse_below=0.0))


class Visit:
    """A page in Chromium that reaches this server alone, and all that it complained of."""

    def __init__(self, browser: Any, place: str, scheme: str = "light", width: int = 1200) -> None:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page = context.new_page()
        self.page.set_default_timeout(60_000)
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self._check(request.url, place))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(place)

    def _check(self, url: str, place: str) -> None:
        if not url.startswith((f"{place}/", "data:", f"blob:{place}/")):
            self.complaints.append(url)

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def ask(self, question: str) -> Any:
        """Ask, and wait for the end of the answer, which is returned."""
        before = self.page.locator(".foot").count()
        self.page.get_by_label("Question").fill(question)
        self.page.keyboard.press("Enter")
        self.page.wait_for_function("n => document.querySelectorAll('.foot').length === n", arg=before + 1)
        return self.page.locator("article").first

    def is_narrow(self) -> bool:
        """Whether nothing sticks out at the side."""
        return self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def picture(self, name: str) -> None:
        """Keep a screenshot where ROADMAP_SCREENSHOTS says, to be looked at."""
        if folder := os.environ.get("ROADMAP_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


def test_the_policy_lets_the_page_s_own_parts_run() -> None:
    page, policy = ask_page()
    assert len(re.findall(r"<script|<style", page)) == 2
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert " on" not in "".join(re.findall(r"<[a-z]+ on\w+=", page))


@in_browser
def test_upload_ask_open_the_citation_remove(tmp_path: Path, browser: Any) -> None:
    limits = LIMITS.__class__(max_upload_bytes=100_000, max_body_bytes=300_000, grace_seconds=1)
    config = config_in(tmp_path, limits)
    with served(create_app(assistant_in(tmp_path), config), limits) as place:
        visit = Visit(browser, place)
        page, expect = visit.page, sync_api.expect
        expect.set_options(timeout=60_000)  # a busy machine takes its time
        expect(page.locator("#count")).to_have_text("1 document")
        page.set_input_files("#files", [{"name": "boiler.pdf", "mimeType": "application/pdf", "buffer": manual()}])
        expect(page.locator("#said")).to_contain_text("✓ boiler.pdf")
        expect(page.locator("#count")).to_have_text("2 documents")
        answer = visit.ask("How many litres of water does the boiler hold?")
        expect(answer.locator(".text")).to_contain_text("The boiler holds ninety litres of water.")
        answer.locator(".cite").first.click()
        expect(answer.locator("mark")).to_contain_text("ninety litres")
        expect(answer.locator(".place")).to_contain_text("boiler.pdf · page 2")
        visit.button("Show the page").click()
        image = answer.locator("img")
        expect(image).to_be_visible()
        page.wait_for_function("document.querySelector('article img').naturalWidth > 500")
        visit.picture("answer")
        visit.button("Useful").click()
        expect(visit.button("Thank you")).to_be_visible()
        visit.ask("How often is the valve oiled?")
        assert visit.is_narrow()
        visit.picture("two-answers")
        visit.button("Remove boiler.pdf").click()
        visit.button("Remove it").click()
        expect(page.locator("#said")).to_contain_text("nothing of it is left")
        expect(page.locator("#count")).to_have_text("1 document")
        visit.button("Start afresh").click()
        answer = visit.ask("How many litres of water does the boiler hold?")
        expect(answer).not_to_contain_text("ninety")
        assert visit.complaints == []


@in_browser
def test_on_a_phone_in_the_dark_with_keys(tmp_path: Path, browser: Any) -> None:
    backend = FakeBackend({"guides/evil.md": (f"{EVIL} words\n", ("public",)), "hr/pay.txt": ("Pay rises.\n", ("hr",))})
    with served(app_over(backend, config_in(tmp_path), RING)) as place:
        visit = Visit(browser, place, scheme="dark", width=390)
        page, expect = visit.page, sync_api.expect
        expect(page.get_by_label("Your API key")).to_be_visible()
        visit.picture("phone-key")
        page.get_by_label("Your API key").fill("wrong")
        visit.button("Continue").click()
        expect(page.locator("#problem")).to_contain_text("wrong or missing API key")
        page.get_by_label("Your API key").fill("key-alice")
        visit.button("Continue").click()
        expect(page.locator("#count")).to_have_text("2 documents")
        expect(page.locator("#who")).to_have_text("alice")
        assert page.locator("#groups input").evaluate_all("boxes => boxes.map(box => [box.value, box.checked])") == [
            ["public", False], ["hr", True],
        ]  # fmt: skip
        answer = visit.ask("evil words")
        expect(answer.locator(".text")).to_contain_text(EVIL)
        answer.locator(".cite").first.click()
        expect(answer.locator("mark")).to_have_text(f"{EVIL} words")
        assert page.title() == "Ask your documents"
        assert visit.is_narrow()
        visit.picture("phone")
        files = [{"name": "x.txt", "mimeType": "text/plain", "buffer": b"\0"}]
        page.set_input_files("#files", files)
        expect(page.locator("#problem")).to_have_text("x.txt: its content is not what its name says")
        answer = visit.ask("nothing at all known")
        expect(answer.locator(".text")).to_have_text("The documents do not say.")
        page.reload()  # the key stays with the tab, and the conversation ends
        expect(page.locator("#count")).to_have_text("2 documents")
        statuses = ("status of 401", "status of 415")
        assert all(any(status in said for status in statuses) for said in visit.complaints), visit.complaints


@in_browser
def test_a_server_that_was_started_anew_or_is_gone(tmp_path: Path, browser: Any) -> None:
    backend = FakeBackend({"guides/cats.md": ("Cats sleep.\n", ("public",))})
    with served(fake_app(tmp_path, backend, keys=False)) as place:
        visit = Visit(browser, place)
        visit.ask("cats sleep")
        visit.page.evaluate("conversation = 'of-another-life'")
        visit.ask("cats sleep again")
        backend.failure = ValueError("x")
        visit.page.get_by_label("Question").fill("cats")
        visit.button("Ask").click()
        sync_api.expect(visit.page.locator("#problem")).to_have_text("internal error; the server's log says more")
        assert visit.page.get_by_label("Question").input_value() == "cats"
    visit.button("Ask").click()
    sync_api.expect(visit.page.locator("#problem")).to_have_text("The server cannot be reached. Is it running?")


def test_the_page_comes_with_the_package(tmp_path: Path) -> None:
    with served(fake_app(tmp_path, FakeBackend())) as place:
        response = httpx.get(place)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Ask your documents</title>" in response.text
