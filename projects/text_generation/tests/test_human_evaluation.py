"""Studies, votes and the two ways to rate: blind, balanced, resumable, and clear about bad input."""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from roadmap_shared.sockets import listen
from text_generation.config.rating import RateConfig, VotesConfig
from text_generation.evaluation.human_evaluation import run_rate, run_votes
from text_generation.evaluation.rating.making import Output, make_study, read_outputs, write_study
from text_generation.evaluation.rating.study import key_path, read_key, read_study
from text_generation.evaluation.rating.terminal import printable, rate_in_terminal
from text_generation.evaluation.rating.votes import (
    AlreadyVotedError,
    Reject,
    VoteBook,
    append_line,
    rater_name,
    read_votes,
)
from text_generation.evaluation.rating.web import create_rating_app

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
SYSTEMS = ("alpha-model", "beta-model", "gamma-model")
EVIL = "<script>document.title='x'</script><img src=x onerror=\"document.title='x'\"> \x1b[2J"


def outputs(n_prompts=7, systems=SYSTEMS):
    # No text tells its system: what the raters get can then be searched for the names.
    return [
        Output(f"prompt {n}", name, f"text {n}.{index}") for n in range(n_prompts) for index, name in enumerate(systems)
    ]


@pytest.fixture
def study_path(tmp_path: Path) -> Path:
    path = tmp_path / "study.jsonl"
    write_study(make_study("stories", outputs()), path)
    return path


@pytest.fixture
def book(study_path: Path, tmp_path: Path) -> VoteBook:
    return VoteBook(read_study(study_path), tmp_path / "votes" / "all.jsonl")


def error_of(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


# Studies


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(2, 4), st.integers(0, 5), st.none() | st.integers(1, 30))
def test_every_pair_once_a_prompt_with_balanced_sides(n_prompts, n_systems, seed, max_items):
    systems = [f"s{n}" for n in range(n_systems)]
    draft = make_study("s", outputs(n_prompts, systems), seed=seed, max_items=max_items)
    total = n_prompts * n_systems * (n_systems - 1) // 2
    assert len(draft.study.items) == min(total, max_items or total)
    text_of = {(output.prompt, output.system): output.text for output in outputs(n_prompts, systems)}
    sides = Counter(draft.key.authors.values())
    comparisons = set()
    for item in draft.study.items:
        first, second = draft.key.authors[item.item]
        assert item.first == text_of[item.prompt, first]
        assert item.second == text_of[item.prompt, second]
        comparisons.add((item.prompt, frozenset((first, second))))
    assert len(comparisons) == len(draft.study.items)
    by_pair = Counter(frozenset(pair) for pair in draft.key.authors.values())
    assert max(by_pair.values()) - min([*by_pair.values(), n_prompts]) <= 1 or max_items is None or len(by_pair) < 2
    for first, second in sides:
        assert abs(sides[first, second] - sides[second, first]) <= 1


def test_the_same_seed_makes_the_same_study():
    assert make_study("s", outputs(), seed=3) == make_study("s", outputs(), seed=3)
    assert make_study("s", outputs(), seed=3).study.fingerprint != make_study("s", outputs(), seed=4).study.fingerprint


def test_the_study_file_names_no_system(study_path: Path):
    content = study_path.read_text("utf-8")
    assert not any(name in content for name in SYSTEMS)
    study = read_study(study_path)
    assert (study.name, study.question, study.style, len(study.items)) == (
        "stories", "Which text is better?", "prose", 21,
    )  # fmt: skip
    assert study == make_study("stories", outputs()).study
    assert read_key(key_path(study_path), study) == make_study("stories", outputs()).key


def test_any_change_changes_the_fingerprint(study_path: Path):
    before = read_study(study_path).fingerprint
    study_path.write_text(study_path.read_text("utf-8").replace("text 3.1", "text 3,1"), "utf-8")
    assert read_study(study_path).fingerprint != before
    assert error_of(read_key, key_path(study_path), read_study(study_path)) == (
        f"{key_path(study_path)}: is the key of study {before}, not of this one ({read_study(study_path).fingerprint})"
    )


def test_raters_get_their_own_order_and_sides(study_path: Path):
    study = read_study(study_path)
    assert study.order("ann") == study.order("ann") != study.order("bob")
    assert sorted(study.order("ann"), key=lambda item: item.item) == list(study.items)
    assert {study.swapped(f"rater {n}") for n in range(20)} == {True, False}


def test_equal_texts_are_left_out():
    same = [Output("p", "x", "equal"), Output("p", "y", "equal"), Output("p", "z", "other")]
    draft = make_study("s", same)
    assert (len(draft.study.items), draft.n_identical) == (2, 1)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "nothing to compare: no prompt has different texts of two systems (found: none)"),
        ([Output("p", "x", "a"), Output("q", "y", "b")],
         "nothing to compare: no prompt has different texts of two systems (found: x, y)"),
        ([Output("p", "x", "a"), Output("p", "x", "b")], "system 'x' has two texts for the prompt 'p': keep one"),
    ],
)  # fmt: skip
def test_nothing_to_compare(texts, message):
    assert error_of(make_study, "s", texts) == message


def test_a_study_is_never_written_over(study_path: Path):
    assert error_of(write_study, make_study("s", outputs()), study_path) == (
        f"{study_path}: exists. To rate that study, leave --outputs out; to make one, name another"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "{path}: has no items. Make a study with rate --outputs FILE"),
        ('{"prompt": "p", "system": "s", "text": "t"}\n',
         "{path}:1: no study file. Make one with rate --outputs FILE"),
        ('{"question": "q", "style": "prose"}\n{"item": "1"\n',
         "{path}:2: broken JSON (Expecting ',' delimiter): restore the file, for its votes refer to it as it was"),
        ('{"question": "q", "style": "prose"}\n{"item": "1", "prompt": "p", "first": "a"}\n',
         "{path}:2: an item needs item, prompt, first and second, each a text"),
        ('{"question": "q", "style": "prose"}\n' + '{"item": "1", "prompt": "p", "first": "a", "second": "b"}\n' * 2,
         "{path}: item '1' occurs twice"),
    ],
)  # fmt: skip
def test_damaged_studies(tmp_path: Path, content, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(content, "utf-8")
    assert error_of(read_study, path) == message.format(path=path)


@pytest.mark.parametrize("content", ["", "[]", '{"study": "x"}', '{"study": "x", "systems": [], "authors": {"1": 2}}'])
def test_damaged_keys(study_path: Path, content):
    key_path(study_path).write_text(content, "utf-8")
    assert error_of(read_key, key_path(study_path), read_study(study_path)) == (
        f"{key_path(study_path)}: is no key file, or damaged: it comes with the study"
    )


def test_outputs_that_cannot_be_used_are_named(tmp_path: Path):
    path = tmp_path / "outputs.jsonl"
    good = {"prompt": "p", "system": "x", "text": "t", "more": 1}
    bad = ["{", "[1]", '{"prompt": "p"}', json.dumps(good), json.dumps({**good, "system": " "}), '"\\ud800"']
    path.write_text("\n".join([json.dumps(good), "", *bad, json.dumps({**good, "system": "y"})]), "utf-8")
    found, rejects = read_outputs(path)
    assert found == [Output("p", "x", "t"), Output("p", "y", "t")]
    assert [(reject.line, reject.reason) for reject in rejects] == [
        (3, "broken JSON (Expecting property name enclosed in double quotes)"),
        (4, "no JSON object"),
        (5, "system and text must be there, and a text"),
        (6, "the same prompt and system as in line 1"),
        (7, "system is empty"),
        (8, "half of a surrogate pair, which has no UTF-8 form"),
    ]
    path.write_text("{}", "utf-8")
    assert error_of(read_outputs, path) == (
        f"{path}: has no line with prompt, system and text ({path}:1: prompt and system and text must be there, and a "
        "text)"
    )
    missing = tmp_path / "missing.jsonl"
    assert error_of(read_outputs, missing) == f"{missing}: cannot be read (No such file or directory)"


# Votes


def test_votes_name_the_text_and_not_the_side(book: VoteBook):
    for rater in ("ann", "bob", "cleo", "dan"):
        item = book.next_item(rater)
        assert item is not None
        a, b = book.shown(item, rater)
        assert {a, b} == {item.first, item.second}
        vote = book.vote(rater, item, "a")
        assert (item.first if vote.winner == "first" else item.second) == a
        assert vote.chose_a is True
        assert book.vote(rater, item, "b", replaces=True).chose_a is False
        assert book.vote(rater, item, "tie", replaces=True).chose_a is None


def test_rating_goes_on_where_it_stopped(book: VoteBook):
    order = [item.item for item in book.study.order("ann")]
    for _ in range(3):
        item = book.next_item("ann")
        assert item is not None
        book.vote("ann", item, "tie")
    again = VoteBook(book.study, book.path)
    assert list(again.of("ann")) == order[:3]
    following = again.next_item("ann")
    assert following is not None
    assert following.item == order[3]
    assert again.next_item("bob") == book.study.order("bob")[0]


def test_a_vote_is_on_the_disk_at_once_and_half_a_line_spoils_nothing_else(book: VoteBook):
    first, second = book.study.order("ann")[:2]
    book.vote("ann", first, "a", seconds=1.26)
    with book.path.open("ab") as file:
        file.write(b'{"study": "half a li')  # a process that was killed
    book.vote("ann", second, "b")
    found = read_votes([book.path], book.study)
    assert [(vote.item, vote.seconds) for vote in found.votes] == [(first.item, 1.3), (second.item, None)]
    assert found.rejects == (Reject(book.path, 2, "broken JSON (Unterminated string starting at)"),)


def test_many_processes_may_append(tmp_path: Path):
    path = tmp_path / "deep" / "votes.jsonl"
    threads = [threading.Thread(target=append_line, args=(path, json.dumps({"n": n}))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line["n"] for line in lines_of(path)) == list(range(20))


def test_a_second_vote_needs_to_replace_the_first(book: VoteBook):
    item = book.study.items[0]
    book.vote("ann", item, "a")
    with pytest.raises(AlreadyVotedError):
        book.vote("ann", item, "b")
    vote = book.vote("ann", item, "b", replaces=True)
    assert len(lines_of(book.path)) == 2
    assert read_votes([book.path], book.study).votes == (vote,)


def test_lines_that_are_no_votes_are_named(book: VoteBook):
    item = book.study.items[0].item
    good = {"study": book.study.fingerprint, "item": item, "rater": "ann", "winner": "tie", "swapped": False}
    bad = [
        {**good, "winner": "left"},
        {**good, "rater": ""},
        {**good, "swapped": 1},
        {**good, "item": "999"},
        {**good, "winner": "first"},
        {**good, "rater": "bob", "seconds": "slow"},
    ]
    book.path.parent.mkdir()
    book.path.write_text("\n".join(json.dumps(value) for value in (good, *bad)) + "\nnonsense\n", "utf-8")
    found = read_votes([book.path], book.study)
    assert [vote.rater for vote in found.votes] == ["ann", "bob"]
    assert [(reject.line, reject.reason) for reject in found.rejects] == [
        (2, "winner must be one of first, second, tie, skip"),
        (3, "rater must be there, and a text"),
        (4, "swapped must be true or false"),
        (5, "item '999' is not in the study"),
        (6, f"ann has voted on item {item} already, in line 1"),
        (8, "broken JSON (Expecting value)"),
    ]


def test_votes_on_another_study_are_refused(book: VoteBook, tmp_path: Path):
    other = make_study("other", outputs(2)).study
    book.vote("ann", book.study.items[0], "a")
    message = (
        f"{book.path}:1: a vote on study {book.study.fingerprint}, not on this one ({other.fingerprint}): the file "
        "belongs to another study, or the study was changed since"
    )
    assert error_of(read_votes, [book.path], other) == message
    assert error_of(VoteBook, other, book.path) == message


def test_rater_names():
    assert rater_name("  Ann\tLee\x1b ") == "Ann Lee"
    assert rater_name("e\u0301") == "é"
    assert error_of(rater_name, " \n") == "the rater needs a name: give one with --rater NAME"
    assert error_of(rater_name, "x" * 41) == "the rater's name has 41 characters: give at most 40"


# The terminal


def rate_with(book: VoteBook, typed: str) -> list[str]:
    answers, said = iter(typed.split()), []

    def ask(_prompt: str) -> str:
        try:
            return next(answers)
        except StopIteration:
            raise EOFError from None

    rate_in_terminal(book, "ann", ask, said.append)
    return said


def test_terminal(book: VoteBook):
    said = rate_with(book, "z A b what t s z b")
    order = [item.item for item in book.study.order("ann")]
    found = lines_of(book.path)
    assert [line["item"] for line in found] == [*order[:4], order[3]]
    assert [vote.chose_a for vote in book.of("ann").values()] == [True, False, None, False]
    assert [line["replaces"] for line in found] == [False] * 4 + [True]
    assert said[1] == "There is nothing to take back."
    assert said[-1] == f"4 of 21 are done, saved in {book.path}. The same command continues here."
    assert rate_with(book, "q")[0] == "Welcome back, ann: 4 of 21 are done."
    assert rate_with(book, "t " * 17)[-1] == f"21 of 21 are done, saved in {book.path}. Thank you, that was all."
    assert not any(name in line for line in said for name in SYSTEMS)


def test_texts_cannot_steer_the_terminal():
    assert printable("a\n\tb\x1b[2J\r\u202e好") == "a\n\tb�[2J��好"


# The web page


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


def test_nothing_that_leaves_the_server_names_a_system(client: TestClient, study_path: Path):
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


@contextmanager
def serving(book: VoteBook) -> Iterator[str]:
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(
            uvicorn.Config(create_rating_app(book), log_level="critical", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
def test_a_whole_session_in_a_browser(tmp_path: Path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    texts = [Output(f"{EVIL} {n}", name, f"{EVIL} {n} {name[0]}") for n in range(4) for name in ("x", "y")]
    book = VoteBook(make_study("s", texts).study, tmp_path / "votes.jsonl")
    order = book.study.order("Ann")
    with serving(book) as address, sync_api.sync_playwright() as playwright:
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


# The commands


def test_from_outputs_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    texts = tmp_path / "outputs.jsonl"
    rows = [{"prompt": o.prompt, "system": o.system, "text": o.text} for o in outputs(4)]
    texts.write_text("\n".join(map(json.dumps, rows)) + "\n{", "utf-8")
    study = tmp_path / "stories.jsonl"
    answers = iter([*"abt", "q"])
    monkeypatch.setattr("builtins.input", lambda _prompt: next(answers))
    run_rate(RateConfig(study=study, outputs=texts, rater="ann", question="Which reads better?", max_items=9))
    said = capsys.readouterr()
    assert said.err.startswith(f"passed over: {texts}:13: broken JSON")
    assert said.out.startswith(
        f"{study}: 9 items of 3 systems. Who wrote what is in {key_path(study)}: keep it from the raters\n"
    )
    assert not any(name in said.out for name in SYSTEMS)
    answers = iter("a" * 6)
    run_rate(RateConfig(study=study, rater="ann"))
    assert len(lines_of(tmp_path / "stories.votes.jsonl")) == 9
    capsys.readouterr()
    run_votes(VotesConfig(study=study, report=tmp_path / "out" / "votes.html", n_resamples=200))
    said = capsys.readouterr()
    assert said.out.startswith("9 votes of 1 rater on 9 of 9 items, 0 skipped\n")
    assert f"report: {tmp_path / 'out' / 'votes.html'}" in said.out
    assert "Which reads better?" in (tmp_path / "out" / "votes.html").read_text("utf-8")


def test_commands_with_bad_input(study_path: Path, tmp_path: Path):
    missing = tmp_path / "none.jsonl"
    assert error_of(run_rate, RateConfig(study=missing)) == f"{missing}: cannot be read (No such file or directory)"
    votes = study_path.with_suffix(".votes.jsonl")
    assert error_of(run_votes, VotesConfig(study=study_path)) == f"{votes}: cannot be read (No such file or directory)"
    votes.write_text("", "utf-8")
    assert error_of(run_votes, VotesConfig(study=study_path)) == (
        f"{votes}: there is no vote to analyse yet: rate some items first"
    )
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert error_of(run_rate, RateConfig(study=study_path, web=True, port=port)) == (
            f"--port {port}: is taken. Choose another one, or 0 for any that is free"
        )


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (RateConfig, {"question": "why?"}, "--question goes with --outputs: a study that exists has its own"),
        (RateConfig, {"style": "code"}, "--style goes with --outputs: a study that exists has its own"),
        (RateConfig, {"question": " "}, "--question is empty: say what raters are to judge"),
        (RateConfig, {"max_items": 0}, "--max_items 0 must be at least 1, or None for all"),
        (RateConfig, {"port": -1}, "--port -1 is outside 0 … 65535"),
        (RateConfig, {"host": ""}, "--host is empty: give an address, such as 127.0.0.1"),
        (RateConfig, {"web": True, "rater": "x"}, "--rater is for the terminal: on the page, raters type their names"),
        (VotesConfig, {"power": 1.0}, "--power 1.0 must lie between 0 and 1"),
        (VotesConfig, {"n_resamples": 5}, "--n_resamples 5 must be at least 100"),
    ],
)
def test_settings_that_do_not_fit(kind, arguments, message):
    with pytest.raises(ValueError) as caught:
        kind(study=Path("s.jsonl"), **arguments)
    assert str(caught.value) == message
