"""What the Streamlit page can do, without Streamlit: asking, uploads, deletion, pages, permissions, escaping."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.app import ui_launch
from rag_qa.app.ui_desk import Desk
from rag_qa.app.ui_inspector import hits_html
from rag_qa.app.ui_records import UploadedBytes
from rag_qa.app.ui_text import answer_html, joined, numbered, passage_html, plain
from rag_qa.config import GenerationConfig, ServeConfig
from rag_qa.generation.tool_model import ToolCall, ToolReply
from rag_qa.types import Answer, Citation, Statement
from roadmap_shared.errors import UserError

from .ui_world import BRIDGE, EVIL, MILL, SECRET, make_index, pdf, tiny_assistant

pytest.importorskip("streamlit")


@pytest.fixture
def config(tmp_path: Path) -> ServeConfig:
    return make_index(tmp_path)


@pytest.fixture
def desk(config: ServeConfig) -> Desk:
    return Desk(tiny_assistant(config), config)


def failure(action: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(UserError) as raised:
        action(*arguments, **named)
    return str(raised.value)


def test_an_answer_is_recorded_and_can_be_judged(desk: Desk) -> None:
    exchange = desk.ask("How high is the north tower of the mill?")
    assert exchange.answer.text.startswith(MILL)
    assert exchange.searched == exchange.question
    assert desk.feedback(exchange, useful=True)
    summary = desk.summary(7)
    assert (summary.n_questions, summary.n_useful, summary.endings["answered"]) == (1, 1, 1)
    assert {stage.stage for stage in summary.latency} == {"retrieval", "generation", "total"}


def test_a_follow_up_question_uses_the_conversation(desk: Desk) -> None:
    first = desk.ask("How high is the north tower of the mill?")
    second = desk.ask("Is it red?", [first])
    assert "tower" in second.searched
    assert "mill" in second.searched


def test_a_question_that_is_not_to_be_rewritten_is_searched_as_it_is(config: ServeConfig) -> None:
    plain = replace(config, retrieval=replace(config.retrieval, rewrite="none"))
    desk = Desk(tiny_assistant(plain), plain)
    first = desk.ask("How high is the tower of the mill?")
    assert desk.ask("Who built it?", [first]).searched == "Who built it?"


def test_a_conversation_forgets_what_was_read_from_a_deleted_document(desk: Desk) -> None:
    first = desk.ask("How high is the north tower of the mill?", source="mill.txt")
    assert first.sources == {"mill.txt"}
    desk.delete("mill.txt")
    assert desk.ask("Is it red?", [first]).searched == "Is it red?"


class TwoReplies:
    """Searches for what is asked, then answers from a document."""

    name = "scripted"

    def reply(self, messages: Sequence[Any], tools: Sequence[Any], max_tokens: int) -> ToolReply:
        if len(messages) == 2:
            call = ToolCall("1", "search", json.dumps({"query": messages[1]["content"]}))
            return ToolReply("", (call,), 5)
        return ToolReply(f"{MILL} [1]", (), 5)


def test_the_agent_answers_with_its_steps(config: ServeConfig, desk: Desk) -> None:
    assert not desk.has_agent
    message = "the agent needs a model at a server: --generation.kind openai"
    assert failure(desk.ask_agent, "How high?") == message
    desk = Desk(tiny_assistant(config), config, tool_model=TwoReplies())
    exchange = desk.ask_agent("How high is the north tower of the mill?")
    assert exchange.answer.text == MILL
    assert [(step.tool, step.outcome) for step in exchange.steps] == [("search", "done")]
    assert "9174" not in exchange.steps[0].result
    assert desk.summary(7).endings["answered"] == 1
    server = GenerationConfig(kind="openai", model="m")
    assert Desk(tiny_assistant(config), replace(config, generation=server)).has_agent


def test_questions_that_cannot_be_asked(desk: Desk) -> None:
    assert failure(desk.ask, " ?! ") == "the question is empty: it needs a letter or a digit"
    assert failure(desk.ask, "w" * 301) == "the question has more than 300 characters: ask a shorter one"
    assert failure(desk.ask, "What?", source="none.txt") == "no such document"
    assert failure(desk.search, "") == "the question is empty: it needs a letter or a digit"
    assert desk.summary(7).n_questions == 0


def test_what_the_user_may_not_see_is_nowhere(desk: Desk) -> None:
    assert [entry.source for entry in desk.entries()] == ["bridge.pdf", "evil_*notes*.txt", "mill.txt"]
    exchange = desk.ask("What is the vault code of the tower?")
    assert "9174" not in repr(exchange)
    assert "9174" not in repr(desk.search("vault code", 0.0))
    secret = Citation(source="vault.txt", page=1, start=0, end=5, quote=SECRET[:5], chunk_id=1)
    missing = replace(secret, source="never.txt")
    assert failure(desk.open, secret) == failure(desk.open, missing) == "no such document"
    assert failure(desk.delete, "vault.txt") == failure(desk.delete, "never.txt") == "no such document"
    assert failure(desk.ask, "Code?", source="vault.txt") == failure(desk.ask, "Code?", source="never.txt")


def test_the_fusion_weight_reranks(desk: Desk) -> None:
    words = desk.search("mayor of the north tower", 0.0)
    meaning = desk.search("mayor of the north tower", 1.0)
    assert all("dense" not in item.ranks for item in words)
    assert all("sparse" not in item.ranks for item in meaning)
    assert [item.ranks["fused"] for item in meaning] == list(range(1, len(meaning) + 1))


def test_a_citation_of_a_pdf_opens_its_page_with_the_span_marked(desk: Desk) -> None:
    exchange = desk.ask("When was the old bridge opened by the mayor?", source="bridge.pdf")
    citation = numbered(exchange.answer)[0]
    page = desk.open(citation)
    assert page.image is not None
    assert page.image.startswith(b"\x89PNG")
    assert yellow(page.image) > 500
    assert page.before + page.quote + page.behind == BRIDGE
    assert page.remark == ""


def yellow(png: bytes) -> int:
    """Pixels of the marker's colour."""
    import io

    from PIL import Image

    pixels = Image.open(io.BytesIO(png)).convert("RGB")
    return sum(count for count, colour in pixels.getcolors(1 << 24) or () if colour == (255, 236, 110))


def test_a_pdf_whose_file_was_changed_is_shown_as_text(desk: Desk, tmp_path: Path) -> None:
    citation = numbered(desk.ask("When was the old bridge opened?", source="bridge.pdf").answer)[0]
    (tmp_path / "documents" / "bridge.pdf").write_bytes(pdf("Something else"))
    page = desk.open(citation)
    assert page.image is None
    assert page.remark == "the document's file was changed since it was indexed: ingest it again"
    assert page.quote in BRIDGE


def test_uploads(desk: Desk, config: ServeConfig) -> None:
    files = [
        UploadedBytes(name="../../etc/wood.txt", data=b"The forest has 900 oaks."),
        UploadedBytes(name="bad.pdf", data=b"%PDF-1.4 nothing"),
        UploadedBytes(name="picture.png", data=b"\x89PNG"),
        UploadedBytes(name="lie.pdf", data=b"no pdf"),
        UploadedBytes(name="large.txt", data=b"x" * 20_001),
        UploadedBytes(name="oak.pdf", data=pdf("The oak is 31 metres high.")),
        UploadedBytes(name="empty.txt", data=b""),
    ]
    outcomes = {outcome.name: outcome for outcome in desk.add(files)}
    assert outcomes["wood.txt"].source == "uploads/anonymous/wood.txt"
    assert outcomes["oak.pdf"].source == "uploads/anonymous/oak.pdf"
    assert outcomes["picture.png"].problem is not None
    assert outcomes["picture.png"].problem.startswith("picture.png: files of this kind are not read; there are ")
    assert outcomes["lie.pdf"].problem == "lie.pdf: its content is not what its name says"
    assert outcomes["large.txt"].problem == "large.txt: has more than 20,000 bytes"
    assert outcomes["empty.txt"].problem == "empty.txt: is empty (0 bytes)"
    assert outcomes["bad.pdf"].problem
    groups = {entry.source: entry.groups for entry in desk.entries()}
    assert groups["uploads/anonymous/wood.txt"] == ("lab",)
    kept = sorted(path.name for path in config.uploads.rglob("*") if path.is_file())
    assert kept == ["oak.pdf", "wood.txt"]
    answer = desk.ask("How high is the oak?", source="uploads/anonymous/oak.pdf").answer
    assert desk.open(numbered(answer)[0]).image is not None
    assert failure(desk.add, files[:1], ["hr"]) == "documents can be shared with your own groups only"


def test_deletion_shows_its_certificate(desk: Desk, config: ServeConfig) -> None:
    desk.add([UploadedBytes(name="wood.txt", data=b"The forest behind the mill has exactly 900 old oaks.")])
    certificate = desk.delete("uploads/anonymous/wood.txt")
    assert certificate.clean
    assert (certificate.source, certificate.chunks, certificate.left) == ("uploads/anonymous/wood.txt", 1, ())
    assert certificate.n_files > 0
    assert certificate.n_patterns > 0
    assert '"content_hashes"' in certificate.json
    assert not any(path.is_file() for path in config.uploads.rglob("*"))
    assert "uploads/anonymous/wood.txt" not in {entry.source for entry in desk.entries()}


def test_who_is_reached_from_elsewhere_deletes_its_own_alone(config: ServeConfig) -> None:
    desk = Desk(tiny_assistant(config), replace(config, host="0.0.0.0", allow_public=True))
    assert not desk.may_delete("mill.txt")
    assert failure(desk.delete, "mill.txt") == "only its owner or an admin may delete a document"


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(markup: str) -> Tags:
    reader = Tags()
    reader.feed(markup)
    reader.close()
    return reader


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=80)


@given(TEXT, TEXT, TEXT)
def test_text_of_documents_is_never_markup(before: str, quote: str, behind: str) -> None:
    page = parsed(passage_html(before, quote, behind))
    assert page.tags <= {"div", "mark"}
    assert page.text == joined(before) + joined(quote) + joined(behind)
    citation = Citation(source="a", page=1, start=0, end=1, quote=quote, chunk_id=1)
    answer = Answer(
        question="", text=quote, statements=(Statement(text=quote, citations=(citation,), supported=False),),
        span=quote[2:5] or None, confidence=1, refused=False, retrieved=(), generator="g",
    )  # fmt: skip
    shown = parsed(answer_html(answer))
    assert shown.tags <= {"div", "p", "span", "sup"}
    assert shown.text == f"{quote}1"


def test_passages_of_the_inspector_are_never_markup(desk: Desk) -> None:
    shown = parsed(hits_html(desk.search("evil words"), {}))
    assert "img" not in shown.tags
    assert EVIL[:30] in shown.text


def test_a_long_passage_is_cut_around_the_quote() -> None:
    shown = parsed(passage_html("a" * 50, "QUOTE", "b" * 50, context=10)).text
    assert shown == f"…{'a' * 10}QUOTE{'b' * 10}…"


@given(st.text(max_size=60))
def test_labels_hold_no_markdown(text: str) -> None:
    assert not re.search(r"(?<!\\)(?:\\\\)*[*_\[\]()!`$:<>#]", plain(text))


def test_markdown_signs_are_escaped() -> None:
    assert plain("a_b *c* ![d](http://e)\n:f: $g$") == r"a\_b \*c\* \!\[d\]\(http\://e\) \:f\: \$g\$"


def test_settings_travel_to_the_page(config: ServeConfig, tmp_path: Path) -> None:
    from roadmap_shared.config.yaml_files import to_yaml

    settings = tmp_path / "serve.yaml"
    settings.write_text(to_yaml(config), encoding="utf-8")
    environment = ui_launch.environment(settings, {"PATH": "/bin", "RAG_QA_GROUPS": "hr"})
    assert environment == {"PATH": "/bin", "RAG_QA_CONFIG": str(settings)}
    assert ui_launch.settings_from(environment) == config
    named = ui_launch.settings_from({"RAG_QA_INDEX": "elsewhere", "RAG_QA_GROUPS": "hr, lab,"})
    assert (named.index, named.groups) == (Path("elsewhere"), ("hr", "lab"))
    assert ui_launch.settings_from({}) == ServeConfig()


def test_the_command_asks_for_nothing_and_sends_nothing(config: ServeConfig) -> None:
    command = ui_launch.command(config)
    options = dict(zip(command[5::2], command[6::2], strict=True))
    assert options["--browser.gatherUsageStats"] == "false"
    assert options["--server.headless"] == "true"
    assert options["--server.address"] == "127.0.0.1"
    assert options["--client.showErrorDetails"] == "none"
    assert options["--server.maxUploadSize"] == "1"


def test_the_page_is_not_opened_beside_keys(config: ServeConfig, tmp_path: Path) -> None:
    def opened() -> None:
        with ui_launch.launch(replace(config, groups=(), keys=tmp_path / "keys.yaml")):
            pass

    assert failure(opened) == "--ui True: the Streamlit page knows no users, so it cannot be opened beside --keys"
