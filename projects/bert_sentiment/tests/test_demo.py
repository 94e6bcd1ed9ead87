"""The page: what its tabs answer, how the server starts and stops, and all of it in a real Chromium."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import uvicorn

from bert_sentiment.app import markup, serve
from bert_sentiment.app.demo import EXAMPLES, Demo
from bert_sentiment.app.last_run import FinishedRun, last_run_html, mistakes_table, newest_run
from bert_sentiment.app.models import Models, runs_with_model
from bert_sentiment.app.shared import Limits, SharedPredictor
from bert_sentiment.cli import main
from bert_sentiment.config import ServeConfig
from bert_sentiment.inference.predictor import Prediction, Predictor
from bert_sentiment.models.bert_classifier import SentimentModel
from roadmap_shared.errors import UserError

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

FIRST, SECOND = "20260102-000000-first", "20260101-000000-second"
EVIL = "<script>document.title='x'</script><img src=x onerror=\"document.title='x'\"> ${1+1} {{value}} not good"
LABELS = ("negative", "neutral", "positive")


def write_run(root: Path, name: str, model: SentimentModel) -> Path:
    """A run folder as `bert-sentiment run` leaves it, with five predictions of which two are wrong."""
    folder = root / "bert_sentiment" / name
    model.save(folder / "model")
    rows = [
        ("positive", (0.1, 0.1, 0.8)),
        ("negative", (0.7, 0.2, 0.1)),
        ("neutral", (0.05, 0.05, 0.9)),
        ("negative", (0.2, 0.6, 0.2)),
        ("neutral", (0.3, 0.5, 0.2)),
    ]
    lines = [
        {"text": f"{EVIL} {n}", "label": label, "probabilities": dict(zip(LABELS, row, strict=True))}
        for n, (label, row) in enumerate(rows)
    ]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    summary = {"accuracy": 0.6, "accuracy_low": 0.21, "accuracy_high": 0.99, "baseline_tfidf_accuracy": 0.5}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


@pytest.fixture
def root(tiny_model: Callable[..., SentimentModel], tmp_path: Path) -> Path:
    """Two runs whose models say different things."""
    for sign, name in ((8, FIRST), (-8, SECOND)):
        model = tiny_model()
        with torch.no_grad():
            for parameter in model.network.parameters():
                if parameter.dim() > 1:
                    parameter *= sign
        write_run(tmp_path / "runs", name, model)
    return tmp_path / "runs"


@pytest.fixture
def demo(root: Path) -> Demo:
    first = SharedPredictor.of(Predictor.find("latest", root, "cpu"))
    return Demo(first, Models(first, root, device="cpu"), Limits(max_texts=20, max_characters=300, max_explained=3))


def visible(html: str) -> str:
    """The text that a reader sees, blanks joined."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_a_text_is_labelled_with_bars_and_colours(demo: Demo) -> None:
    html = demo.text("a good film", by_line=False, colour=True)
    (prediction,) = demo.predictor.predict(["a good film"])
    assert visible(html).startswith(f"{prediction.label} {markup.percent(prediction.probability)} negative ")
    for label, probability in prediction.probabilities.items():
        assert f"{label} {markup.percent(probability)}" in visible(html)
        assert f"width:{100 * probability:.2f}%" in html
    assert 'class="attribution"' in html
    assert "attribution" not in demo.text("a good film", by_line=False, colour=False)


def test_lines_are_texts_of_their_own_and_the_first_are_coloured(demo: Demo) -> None:
    html = demo.text("good\n\nbad\nfine\nthe film\n", by_line=True, colour=True)
    assert html.count("<article") == 4
    assert html.count('class="attribution"') == 3
    assert "The words of the first 3 texts are coloured." in html
    assert demo.text("good\n\nbad", by_line=False, colour=False).count("<article") == 1


@pytest.mark.parametrize(
    ("text", "by_line", "message"),
    [
        ("", False, "Type a text first."),
        (" \n ", True, "Type a text first."),
        ("<br>", False, "The text is empty once markup is taken away."),
        ("good\n<br>", True, "Line 2 is empty once markup is taken away."),
        ("x" * 301, False, "The text has 301 characters; at most 300 are read."),
        ("good\n" * 21, True, "21 lines are too many for this box, which takes 20: put them into a file and "
         "use the File tab."),
    ],
)  # fmt: skip
def test_what_cannot_be_labelled_is_said(demo: Demo, text: str, by_line: bool, message: str) -> None:
    assert demo.text(text, by_line, True) == markup.problem(message)
    assert demo.compare(SECOND, text, by_line, True) == markup.problem(message)


def test_what_a_user_types_is_escaped(demo: Demo) -> None:
    for html in (
        demo.text(EVIL, False, True),
        demo.text(EVIL, False, False),
        demo.text(f"{EVIL}\n{EVIL}", True, True),
        demo.compare(SECOND, EVIL, False, True),
        demo.compare(SECOND, f"{EVIL}\n{EVIL}", True, True),
        markup.problem(EVIL),
        markup.bars({EVIL: 1.0}),
        last_run_html(demo.models.root),
    ):
        assert "<script" not in html
        assert "<img" not in html
        assert EVIL.split(">")[0] + ">" in unescape(re.sub(r"</?span[^>]*>", "", html))


def test_text_that_is_cut_is_said(demo: Demo) -> None:
    assert "The model does not see 8 of the 70 words" in demo.text("a " * 70, False, True)


def test_unsure_names_what_it_would_say() -> None:
    shares = {"negative": 0.4, "positive": 0.6}
    assert visible(markup.verdict(Prediction("unsure", 0.6, shares))) == "unsure, perhaps positive 60.0 %"
    assert visible(markup.verdict(Prediction("positive", 0.6, shares))) == "positive 60.0 %"


@pytest.mark.parametrize(
    ("share", "said"), [(1.0, "100.0 %"), (0.99999, "> 99.9 %"), (0.5, "50.0 %"), (0.00001, "< 0.1 %"), (0.0, "0.0 %")]
)
def test_percent(share: float, said: str) -> None:
    assert markup.percent(share) == said


def test_many_labels_show_the_largest() -> None:
    said = visible(markup.bars({f"label{n}": n / 45 for n in range(10)}))
    assert said.startswith("label9 20.0 % label8 17.8 %")
    assert said.endswith("and 2 other labels")


def upload(demo: Demo, path: Path, column: str = "") -> tuple[str, bytes | None, list[dict[str, Any]]]:
    """What the File tab shows, and what can be downloaded while the files are there."""
    for html, labelled, rejects in demo.file(str(path), column):
        content = Path(labelled["value"]).read_bytes() if labelled["visible"] else None
        lines = Path(rejects["value"]).read_text(encoding="utf-8").splitlines() if rejects["visible"] else []
        return html, content, [json.loads(line) for line in lines]
    raise AssertionError("nothing is shown")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", 'id,review\n1,"a good, quiet film"\n2,\n3,<script>bad</script>\n'),
        ("r.csv", "id;review\n1;a good, quiet film\n2;\n3;<script>bad</script>\n"),
        ("r.tsv", "id\treview\n1\ta good, quiet film\n2\t\n3\t<script>bad</script>\n"),
        (
            "r.jsonl",
            '{"review": "a good, quiet film"}\n{"review": ""}\n{"review": "<script>bad</script>"}\n',
        ),
    ],
)
def test_a_file_is_labelled(demo: Demo, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    html, labelled, rejects = upload(demo, tmp_path / name)
    said = visible(html)
    assert said.startswith("2 texts labelled, 1 left out.")
    assert [reject["row"] for reject in rejects] == [2]
    assert f"Left out record line why 2 {rejects[0]['line']} is empty" in said
    for text in ("a good, quiet film", "<script>bad</script>"):
        (prediction,) = demo.predictor.predict([text])
        assert f"{text} {prediction.label} {markup.percent(prediction.probability)}" in said
        assert prediction.label.encode() in (labelled or b"")
    assert "<script" not in html


def test_a_text_file_becomes_csv(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("good\n\nbad, bad\n", encoding="utf-8")
    html, labelled, rejects = upload(demo, tmp_path / "r.txt")
    rows = list(csv.DictReader((labelled or b"").decode().splitlines()))
    assert [row["text"] for row in rows] == ["good", "bad, bad"]
    assert visible(html).startswith("2 texts labelled.")
    assert rejects == []


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("r.csv", "id,words\n1,good\n", "", "r.csv: has no column text, sentence, review, content, tweet or comment. "
         "Its columns: id, words. Name the one with the text under “Text column”"),
        ("r.csv", "id,words\n1,good\n", "word", "r.csv: has no column 'word'. Did you mean 'words'? Its columns: "
         "id, words"),
        ("r.txt", "good\n", "text", "r.txt: has one text a line and no columns: leave “Text column” empty"),
        ("r.pdf", "good\n", "", "r.pdf: ends in '.pdf'; files that can be labelled end in .csv, .tsv, .jsonl, .txt"),
        ("r.csv", "", "", "r.csv: is empty: give a file with a text in each row"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_labelled(
    demo: Demo, tmp_path: Path, name: str, content: str, column: str, message: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    html, labelled, rejects = upload(demo, tmp_path / name, column)
    assert html == markup.problem(message)
    assert labelled is None
    assert rejects == []


def test_a_file_with_nothing_to_label_and_no_file(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("text\n\n<br>\n", encoding="utf-8")
    html, labelled, rejects = upload(demo, tmp_path / "r.csv")
    assert visible(html).startswith("No record could be labelled. Left out")
    assert labelled is None
    assert len(rejects) == 1
    ((html, _, _),) = demo.file(None, "")
    assert html == markup.problem("Choose a file first.")


def test_compare_marks_where_the_models_differ(demo: Demo) -> None:
    texts = [*EXAMPLES, "good", "bad", "the plot was awful"]
    first, second = demo.predictor.predict(texts), demo.models.load(SECOND).predict(texts)
    differ = [one.best != other.best for one, other in zip(first, second, strict=True)]
    assert any(differ)
    html = demo.compare(SECOND, "\n".join(texts), True, True)
    assert f"The models differ on {sum(differ)} of 7 texts." in html
    assert html.count("<tr class=bs-differs>") == sum(differ)
    single = demo.compare(SECOND, texts[differ.index(True)], False, True)
    assert "The labels differ" in single
    assert single.count('class="attribution"') == 2
    assert visible(single).count(FIRST) == visible(single).count(SECOND) == 1
    same = markup.comparison_table(texts, ["a", "b"], first, first)
    assert "The models agree on all 7 texts." in same
    assert "bs-differs" not in same


def test_second_models_are_looked_up_by_name(demo: Demo, root: Path) -> None:
    assert list(runs_with_model(root)) == [FIRST, SECOND]
    assert demo.models.names() == [SECOND]
    assert demo.models.load(SECOND) is demo.models.load(SECOND)
    for name in ("../../etc", str(root / "bert_sentiment" / SECOND), "latest"):
        with pytest.raises(UserError, match=r"^That run has no model any more: reload the page\.$"):
            demo.models.load(name)
    assert demo.compare(None, "good", False, True) == markup.problem(
        "There is no second model. Train another one with: bert-sentiment run"
    )
    given = Models(demo.predictor, root, compare=SECOND, device="cpu")
    assert given.load(SECOND) is given.given
    weights = root / "bert_sentiment" / SECOND / "model" / "model.safetensors"
    weights.unlink()  # a new file: the loaded model goes on reading the old one
    weights.write_bytes(b"broken")
    html = Demo(demo.predictor, Models(demo.predictor, root)).compare(SECOND, "good", False, True)
    assert f"{SECOND}/model: cannot be loaded" in html
    assert str(root) not in html


def test_last_run_shows_figures_and_mistakes(root: Path) -> None:
    assert newest_run(root) == root / "bert_sentiment" / FIRST
    html = last_run_html(root)
    said = visible(html)
    assert said.startswith(f"{FIRST} accuracy 0.60 95 % interval 0.21 to 0.99 words alone 0.500 ")
    assert html.count("<svg") == 2
    table = visible(mistakes_table(FinishedRun.read(root / "bert_sentiment" / FIRST)))
    assert re.findall(r"(\d) (\w+) (\w+) ([\d.]+) %", table) == [
        ("2", "neutral", "positive", "90.0"),
        ("3", "negative", "neutral", "60.0"),
    ]


def test_last_run_that_is_not_there_or_damaged(root: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "empty"
    nothing.mkdir()
    assert last_run_html(nothing) == markup.note("No run has ended yet. Start one with: bert-sentiment run")
    path = root / "bert_sentiment" / FIRST / "predictions.jsonl"
    for content in ("", "{", "[]\n", '{"label": "x"}\n', '{"label": "x", "probabilities": {"y": 1}}\n', '{"label"'):
        path.write_text(content, encoding="utf-8")
        html = last_run_html(root)
        assert f"The run {FIRST} cannot be shown, a file in it is damaged: " in html
        assert str(root) not in html


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"host": ""}, "--host is empty: give an address, such as 127.0.0.1"),
        ({"port": 70_000}, "--port 70000 is outside 0 … 65535"),
        ({"unsure_below": 1.5}, "--unsure_below 1.5 must lie between 0 and 1"),
        ({"batch_size": 0}, "--batch_size 0 must be at least 1"),
        ({"max_texts": 0}, "--max_texts 0 must be at least 1"),
        ({"max_characters": 2_000_000}, "--max_characters 2000000 must be at most 1,000,000"),
    ],
)
def test_settings_are_checked(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        ServeConfig(**setting)
    assert str(caught.value) == message


def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with serve.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    expected = f"bert-sentiment serve: --port {port}: is taken. Choose another one, or 0 for any that is free\n"
    assert capsys.readouterr().err == expected


def test_a_wrong_host_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^--host 192\.0\.2\.1: is no address of this machine \(.+\)$"):
        serve.listen("192.0.2.1", 0)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "gradio" else object())
    assert main(["serve"]) == 2
    expected = 'bert-sentiment serve: gradio: not installed. Run: pip install "roadmap-bert-sentiment[demo]"\n'
    assert capsys.readouterr().err == expected


def test_no_model_yet_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")  # the command sets them; they are restored after the test
    assert main(["serve", "--port", "0", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"bert-sentiment serve: there is no trained model in {tmp_path}. Train one with `bert-sentiment run` or "
        "`make project-2`, or name one with --model or --root\n"
    )


def test_the_address_fits_a_browser() -> None:
    with serve.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert serve.address("0.0.0.0", listener) == f"http://127.0.0.1:{port}"
        assert serve.address("::1", listener) == f"http://[::1]:{port}"


def test_the_command_serves_until_ctrl_c(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-W", "error", "-m", "bert_sentiment", "serve", "--port", "0", "--root", str(root)]
    process = subprocess.Popen(
        [*command, "--device", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(rf"Sentiment of {FIRST}: (http://127\.0\.0\.1:\d+)  \(Ctrl-C stops it\)\n", line)
        assert found is not None, line + process.communicate()[1]
        assert httpx.get(f"{found[1]}/health", timeout=60).json() == {"status": "ok", "model": FIRST}
        page = httpx.get(f"{found[1]}/", timeout=60).text
        assert "gradio_config" in page
        assert str(root) not in page
        assert httpx.get(f"{found[1]}/gradio_api/file={root}/bert_sentiment/{FIRST}/summary.json").status_code == 403
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, output, errors) == (0, "stopped\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]  # neither uploads nor caches stay behind


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
