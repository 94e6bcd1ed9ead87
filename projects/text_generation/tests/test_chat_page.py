"""The chat page: its policy, and all of it in a real Chromium."""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import Message, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.config.serving import ServingConfig
from text_generation.serving.app import chat_page, create_app
from text_generation.serving.engine import ThreadEngine

from .live_server import served

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

EVIL = "<script>document.title='x'</script><img src=x onerror=\"document.title='x'\"> ${1+1} &amp; </pre>"


class Echo(ScriptedBackend):
    """Says the last text back, or, told to `wait`, a word whenever it is let."""

    def __init__(self) -> None:
        super().__init__(self._say, context_window=80)
        self.let = threading.Semaphore(0)
        self.heard: list[Prompt] = []

    def _say(self, prompt: Prompt) -> str:
        self.heard.append(prompt)
        last = prompt[-1]
        text = last.content if isinstance(last, Message) else last
        return "one two three four" if text == "wait" else text

    def stream(self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0) -> Iterator[str]:
        for piece in super().stream(prompt, decoding, seed):
            if isinstance(prompt[-1], Message) and prompt[-1].content == "wait":
                assert self.let.acquire(timeout=60)
            yield piece


@contextmanager
def page_of(backend: Echo, key: str | None = None) -> Iterator[str]:
    config = ServingConfig(max_new_tokens=60, default_new_tokens=20, grace_seconds=1)
    with served(create_app(ThreadEngine(backend, 2, "echo"), config, key), config) as place:
        try:
            yield place
        finally:
            backend.let.release(1000)


class Visit:
    """A page in Chromium that reaches this server alone, and all that it complained of."""

    def __init__(self, browser: Any, place: str, scheme: str = "light", width: int = 1200) -> None:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self._check(request.url, place))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(place)

    def _check(self, url: str, place: str) -> None:
        if not url.startswith((f"{place}/", "data:")):
            self.complaints.append(url)

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def send(self, text: str) -> None:
        self.page.get_by_label("Message").fill(text)
        self.page.keyboard.press("Enter")

    def answers(self, n: int) -> list[str]:
        """The texts of n finished answers."""
        self.page.wait_for_function("n => document.querySelectorAll('.turn .foot').length === n", arg=n)
        return self.page.locator(".turn > .text").all_inner_texts()


@pytest.fixture
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


def test_the_policy_lets_the_pages_own_script_run_alone() -> None:
    with page_of(Echo()) as place:
        response = httpx.get(place)
    page, policy = chat_page()
    assert response.text == page
    assert response.headers["content-security-policy"] == policy
    assert re.search(r"script-src 'sha256-[\w+/]{43}='; style-src 'sha256-[\w+/]{43}=';", policy)
    assert "unsafe" not in policy
    assert not re.search(
        r"innerHTML|insertAdjacentHTML|document\.write|eval\(|https?://(?!www\.w3\.org/2000/svg)", page
    )
    assert len(re.findall("<script", page)) == len(re.findall("<style", page)) == 1


@in_browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])
def test_a_conversation_in_a_browser(browser: Any, scheme: str, width: int) -> None:
    backend = Echo()
    with page_of(backend) as place:
        visit = Visit(browser, place, scheme, width)
        page = visit.page
        page.get_by_text("80-token context").wait_for()
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(252, 252, 250)") == (scheme == "light")
        assert visit.button("Send").is_disabled()

        visit.send(EVIL)  # shown as it was typed, by the user and by the model
        assert visit.answers(1) == [EVIL]
        assert EVIL in page.locator(".user").inner_text()
        assert page.locator("main img, main script").count() == 0
        assert page.title() == "echo · Chat"

        visit.button("Settings").click()
        page.get_by_label("System prompt").fill("Be brief.")
        page.get_by_label("Temperature").fill("0")
        assert page.get_by_text("always the most probable word").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        visit.button("Settings").click()
        visit.send("a\n```python\nif a:\n    b\n```\nc")
        visit.answers(2)
        assert page.locator("pre").inner_text() == "if a:\n    b"
        last = backend.heard[-1]
        assert [(turn.role, turn.content) for turn in last if isinstance(turn, Message)][:3] == [
            ("system", "Be brief."), ("user", EVIL), ("assistant", EVIL),
        ]  # fmt: skip
        visit.button("New chat").click()
        assert page.get_by_text("What shall we write?").is_visible()
        visit.send("again")
        assert visit.answers(1) == ["again"]
        assert len(backend.heard[-1]) == 2
        assert visit.complaints == []


@in_browser
def test_stop_try_again_and_what_no_longer_fits(browser: Any) -> None:
    backend = Echo()
    with page_of(backend) as place:
        visit = Visit(browser, place)
        visit.page.get_by_text("80-token context").wait_for()
        visit.send("wait")
        backend.let.release(2)
        visit.page.locator("#log").get_by_text("one two").wait_for()
        visit.button("Stop").click()
        assert visit.answers(1) == ["one two"]
        assert visit.page.locator(".foot").inner_text().startswith("stopped")
        backend.let.release(10)
        visit.button("Try again").click()
        visit.page.locator("#log").get_by_text("one two three four").wait_for()
        assert visit.answers(1) == ["one two three four"]
        assert visit.page.locator(".user").count() == 1

        visit.send("word " * 40)
        visit.answers(2)
        visit.send("word " * 40)
        visit.page.get_by_text("it does not see the first").wait_for()
        visit.answers(3)
        visit.send("word " * 100)
        problem = visit.page.get_by_role("alert")
        problem.wait_for()
        assert problem.inner_text() == (
            "This model takes at most 79 tokens of prompt and 80 of prompt and answer; you ask for 101 tokens of "
            "prompt and 1 of answer. Shorten the messages, or lower max_tokens."
        )
        assert visit.complaints == []


@in_browser
def test_the_page_asks_for_the_key_and_comes_back_after_a_restart(browser: Any) -> None:
    with page_of(Echo(), "s3cret") as place:
        visit = Visit(browser, place)
        visit.page.get_by_text("needs an API key").wait_for()
        for key, said in (("wrong", "that API key is wrong"), ("s3cret", "80-token context")):
            visit.page.get_by_label("API key").fill(key)
            visit.page.keyboard.press("Enter")
            visit.page.get_by_text(said).wait_for()
        visit.send("hello")
        assert visit.answers(1) == ["hello"]
        assert "s3cret" not in visit.page.content()
    visit.page.get_by_text("not connected; trying again").wait_for()
    assert visit.button("Send").is_disabled()
