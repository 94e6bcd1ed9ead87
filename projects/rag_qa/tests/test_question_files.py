"""A user's own questions: the same format, and one line for each mistake."""

import hashlib
from pathlib import Path

import pytest

from rag_qa.corpus.questions import Gold, Question, load_questions_file
from rag_qa.types import Document, Page
from roadmap_shared.errors import UserError

TEXT = "Uploads\n\nFiles of up to\n20 MB are accepted. Larger ones are refused."
GOOD = """\
- id: file-limit
  part: test
  kind: fact
  question: How large may a file be?
  answers: ["20 MB", "20 megabytes"]
  gold:
    - source: uploads.md
      quote: Files of up to 20 MB are accepted.
- id: file-price
  part: calibration
  kind: unanswerable-near
  question: What does an upload cost?
"""


def document(source: str, text: str) -> Document:
    return Document(
        source=source,
        title=source,
        text=text,
        pages=(Page(number=1, start=0, end=len(text)),),
        content_hash=hashlib.sha256(text.encode()).hexdigest(),
    )


DOCUMENTS = [document("uploads.md", TEXT), document("other.md", "Nothing is said here.")]


def load(tmp_path: Path, text: str):
    path = tmp_path / "q.yaml"
    path.write_text(text, encoding="utf-8")
    return load_questions_file(path, DOCUMENTS)


def test_a_good_file(tmp_path: Path):
    questions = load(tmp_path, "\ufeff" + GOOD)
    assert questions.dropped == ()
    assert questions.questions == (
        Question(
            id="file-limit",
            text="How large may a file be?",
            answers=("20 MB", "20 megabytes"),
            gold=(Gold(source="uploads.md", start=9, end=43, quote="Files of up to\n20 MB are accepted."),),
            kind="fact",
            part="test",
        ),
        Question(
            id="file-price",
            text="What does an upload cost?",
            answers=(),
            gold=(),
            kind="unanswerable-near",
            part="calibration",
        ),
    )
    assert [question.answerable for question in questions] == [True, False]
    assert questions.counts() == {"fact": 1, "unanswerable-near": 1}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("- id: file-limit", "- id: [", ", line 3: not valid YAML: expected ',' or ']', but got ':'"),
        (GOOD, "[" * 5000, ": not valid YAML: nested too deeply"),
        (
            "  kind: fact\n",
            "  kind: fact\n  part: test\n",
            ", line 4: not valid YAML: the field 'part' stands twice in one entry",
        ),
        (GOOD, "", ": expected a list of questions, each beginning with '- id: …'"),
        (GOOD, "id: x", ": expected a list of questions, each beginning with '- id: …'"),
        (GOOD, "- just text", ": question 1: expected 'id: …', 'question: …' and so on, found 'just text'"),
        ("- id: file-limit\n ", "-", ": question 1: 'id' is missing or empty"),
        ("id: file-price", "id: 7", ": question 2: 'id' must be text, not 7: put it in quotation marks"),
        (
            "id: file-price",
            "id: file-limit",
            ": question 'file-limit': the id is taken by {path}: question 'file-limit': give each question its own",
        ),
        ("answers:", "answer:", ": question 'file-limit': unknown field 'answer'. Did you mean 'answers'?"),
        ("quote:", "text:", ": question 'file-limit', gold: unknown field 'text'. Known are source, quote."),
        ("part: test", "part: tests", ": question 'file-limit': unknown part 'tests'. Did you mean 'test'?"),
        (
            "part: test",
            "part: dev",
            ": question 'file-limit': unknown part 'dev'. Choose one of calibration, test.",
        ),
        ("kind: fact", "kind: facts", ": question 'file-limit': unknown kind 'facts'. Did you mean 'fact'?"),
        (
            "question: How large may a file be?",
            "question: ' '",
            ": question 'file-limit': 'question' is missing or empty",
        ),
        (
            'answers: ["20 MB", "20 megabytes"]',
            "answers: 20 MB",
            ": question 'file-limit': 'answers' must be a list, such as [\"20 MB\"]",
        ),
        (
            '"20 megabytes"',
            "20",
            ": question 'file-limit': an answer must be text, not 20: put it in quotation marks",
        ),
        (
            '"20 MB", "20 megabytes"',
            "",
            ": question 'file-limit': 'answers' is missing; a question without an answer is of kind unanswerable-near",
        ),
        (
            '"20 MB", "20 megabytes"',
            '"20 megabytes"',
            ": question 'file-limit': the first answer '20 megabytes' does not stand in a quote",
        ),
        (
            "kind: fact",
            "kind: unanswerable-far",
            ": question 'file-limit': a question of kind unanswerable-far has neither 'answers' nor 'gold'",
        ),
        (
            "  kind: unanswerable-near\n",
            "  kind: unanswerable-near\n  answers: [nothing]\n",
            ": question 'file-price': a question of kind unanswerable-near has neither 'answers' nor 'gold'",
        ),
        (
            "are accepted.\n",
            "are accepted.\n    - source: uploads.md\n      quote: Never said.\n",
            ": question 'file-limit': the quote 'Never said.' is not in 'uploads.md'",
        ),
        (
            "    - source: uploads.md\n      quote: Files of up to 20 MB are accepted.",
            "    uploads.md",
            ": question 'file-limit': 'gold' must be a list of entries with 'source' and 'quote'",
        ),
        (
            "source: uploads.md",
            "source: downloads.md",
            ": question 'file-limit': its source 'downloads.md' is not among the documents",
        ),
        (
            "source: uploads.md",
            "source: other.md",
            ": question 'file-limit': the quote 'Files of up to 20 MB are accepted.' is not in 'other.md'; "
            "it is in 'uploads.md'",
        ),
        (
            "quote: Files of up to 20 MB are accepted.",
            "quote: Files of up to 20 MB are accepted, larger ones are refused politely.",
            ": question 'file-limit': the quote 'Files of up to 20 MB are accepted, larger ones are refused p'… "
            "is not in 'uploads.md'",
        ),
    ],
)
def test_a_mistake_names_the_file_and_the_question(tmp_path: Path, old: str, new: str, message: str):
    assert old in GOOD
    with pytest.raises(UserError) as error:
        load(tmp_path, GOOD.replace(old, new, 1))
    path = str(tmp_path / "q.yaml")
    assert str(error.value) == path + message.format(path=path)


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(UserError) as error:
        load_questions_file(tmp_path / "none.yaml", DOCUMENTS)
    assert str(error.value) == f"cannot read the questions {tmp_path / 'none.yaml'}: No such file or directory"


def test_a_file_in_another_encoding(tmp_path: Path):
    path = tmp_path / "q.yaml"
    path.write_bytes("- id: 问题".encode("gb18030"))
    with pytest.raises(UserError) as error:
        load_questions_file(path, DOCUMENTS)
    assert str(error.value) == f"{path}: not UTF-8 at byte 6: save the questions as UTF-8"
