"""The page: what its tabs answer."""

import csv
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from bert_sentiment.app import markup
from bert_sentiment.app.demo import EXAMPLES, Demo
from bert_sentiment.app.last_run import FinishedRun, last_run_html, mistakes_table, newest_run
from bert_sentiment.app.models import Models, runs_with_model
from bert_sentiment.app.shared import Limits, SharedPredictor
from bert_sentiment.inference.predictor import Prediction, Predictor
from roadmap_shared.errors import UserError

from .helpers import EVIL, FIRST, SECOND


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
        ("r.csv", "id;Review\n1;a good, quiet film\n2;\n3;<script>bad</script>\n"),
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
