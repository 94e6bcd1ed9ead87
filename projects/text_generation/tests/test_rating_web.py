"""The rating page: it asks and saves, names no system, and refuses what is no vote; a session in a real browser."""

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from text_generation.evaluation.rating.making import Output, make_study
from text_generation.evaluation.rating.votes import VoteBook
from text_generation.evaluation.rating.web import create_rating_app

from .live_server import served
from .rating_studies import SYSTEMS, lines_of, new_book, written_study

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
EVIL = "<script>document.title='x'</script><img src=x onerror=\"document.title='x'\"> \x1b[2J"


@pytest.fixture
def book(tmp_path: Path) -> VoteBook:
    return new_book(written_study(tmp_path))


@pytest.fixture
def client(book: VoteBook) -> TestClient:
    return TestClient(create_rating_app(book), raise_server_exceptions=False)


def test_the_page_asks_and_saves(client: TestClient, book: VoteBook):
    seen = client.get("/api/item", params={"rater": " ann "}).json()
    first, second = book.study.order("ann")[:2]
    assert (seen["rater"], seen["item"], seen["done"], seen["total"], seen["before"]) == (
        "ann",
        first.item,
        0,
        21,
        None,
    )
    assert (seen["a"], seen["b"]) == book.shown(first, "ann")
    vote = {"rater": "ann", "item": first.item, "choice": "b", "seconds": 2.5}
    following = client.post("/api/vote", json=vote).json()
    assert (following["item"], following["done"], following["before"]) == (second.item, 1, first.item)
    assert lines_of(book.path)[0]["seconds"] == 2.5
    answer = client.post("/api/vote", json=vote)
    assert (answer.status_code, answer.json()) == (
        409, {"detail": "ann has voted on this item already, perhaps in another window"},
    )  # fmt: skip
    back = client.get("/api/item", params={"rater": "ann", "item": first.item}).json()
    assert (back["item"], back["a"]) == (first.item, seen["a"])
    assert client.post("/api/vote", json={**vote, "choice": "a", "replaces": True}).status_code == 200
    assert book.of("ann")[first.item].chose_a is True


def test_nothing_that_leaves_the_server_names_a_system(client: TestClient):
    pages = [client.get("/").text]
    item = client.get("/api/item", params={"rater": "ann"})
    while (value := item.json())["item"] is not None:
        pages.append(item.text + str(item.headers))
        item = client.post("/api/vote", json={"rater": "ann", "item": value["item"], "choice": "tie"})
    pages += [item.text, client.get("/api/item", params={"rater": "ann", "item": "../study.key.json"}).text]
    pages += [client.get(path).text for path in ("/study.key.json", "/openapi.json", "/api/key", "/docs")]
    assert len(pages) == 1 + 21 + 2 + 4
    assert not any(name in page for page in pages for name in SYSTEMS)


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ("{", 422, "the body: broken JSON"),
        ("[]", 422, "the body: Input should be a valid dictionary or object to extract fields from"),
        ('{"rater": "ann", "item": "01"}', 422, "choice: Field required"),
        ('{"rater": "ann", "item": "01", "choice": "alpha"}', 422,
         "choice: Input should be 'a', 'b', 'tie' or 'skip'"),
        ('{"rater": " ", "item": "01", "choice": "a"}', 422, "the rater needs a name"),
        ('{"rater": "ann", "item": "99", "choice": "a"}', 404, "the study has no such item"),
        ('{"rater": "ann", "item": "01", "choice": "a", "seconds": -1}', 422,
         "seconds: Input should be greater than or equal to 0"),
        (" " * 5000, 413, "a vote has at most 4000 bytes, and says how many"),
    ],
)  # fmt: skip
def test_bad_requests(client: TestClient, book: VoteBook, body, status, detail):
    answer = client.post("/api/vote", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})
    assert not book.path.exists()


def test_a_vote_that_cannot_be_written_is_said(client: TestClient, book: VoteBook):
    book.path.parent.write_text("a file where the folder should be")
    answer = client.post("/api/vote", json={"rater": "ann", "item": "01", "choice": "a"})
    assert answer.status_code == 507
    assert answer.json()["detail"] == f"{book.path}: the vote cannot be written (File exists)"
    assert book.of("ann") == {}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
def test_a_whole_session_in_a_browser(tmp_path: Path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    texts = [Output(f"{EVIL} {n}", name, f"{EVIL} {n} {name[0]}") for n in range(4) for name in ("x", "y")]
    book = VoteBook(make_study("s", texts).study, tmp_path / "votes.jsonl")
    order = book.study.order("Ann")
    with served(create_rating_app(book)) as address, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        context = browser.new_context(viewport={"width": 390, "height": 844})
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        page.fill("#name", "Ann")
        page.keyboard.press("Enter")
        expect = sync_api.expect
        expect.set_options(timeout=60_000)  # a busy machine takes its time
        expect(page.locator("#count")).to_have_text("0 of 4 done")
        expect(page.locator("#a")).to_have_text(book.shown(order[0], "Ann")[0])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("a")
        expect(page.locator("#count")).to_have_text("1 of 4 done")
        page.click("text=Tie")
        expect(page.locator("#count")).to_have_text("2 of 4 done")
        page.keyboard.press("z")
        expect(page.locator("#count")).to_have_text("changing your last vote")
        page.keyboard.press("b")
        expect(page.locator("#count")).to_have_text("2 of 4 done")
        page.reload()
        expect(page.locator("#count")).to_have_text("2 of 4 done")
        page.keyboard.press("s")
        expect(page.locator("#count")).to_have_text("3 of 4 done")
        page.evaluate("() => { window.kept = fetch; window.fetch = () => Promise.reject(TypeError('no connection')); }")
        page.keyboard.press("t")
        expect(page.locator("#problem")).to_have_text(
            "The server does not answer. Your vote is not saved yet: try again."
        )
        page.evaluate("() => { window.fetch = window.kept; }")
        page.keyboard.press("t")
        expect(page.locator("#end")).to_contain_text("Thank you, that was all.")
        assert page.title() == "Which text is better?"
        assert [text for text in said if "Failed to load resource" not in text] == []
        browser.close()
    assert [vote.chose_a for vote in book.of("Ann").values()] == [True, False, None, None]
    assert [vote.item for vote in book.of("Ann").values()] == [item.item for item in order]
