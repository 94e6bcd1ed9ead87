"""The pages by Streamlit's own `AppTest`: what each draws, and what its buttons do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_qa.assistant import Assistant
from rag_qa.config import ServeConfig

from .tiny_index import HashingEncoder
from .ui_world import MILL, make_index, tiny_assistant

testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

from rag_qa.app import ui_launch  # noqa: E402
from rag_qa.app.ui_certificate import CertificateView  # noqa: E402

TIMEOUT = 60


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServeConfig]:
    import streamlit

    made = make_index(tmp_path)
    assistant = tiny_assistant(made)
    monkeypatch.setattr(ui_launch, "settings_from", lambda environment: made)
    monkeypatch.setattr(Assistant, "open", lambda folder, **settings: assistant)
    streamlit.cache_resource.clear()
    yield made
    streamlit.cache_resource.clear()


def opened(page: str = "Ask"):
    app = testing.AppTest.from_file(str(ui_launch.PAGE), default_timeout=TIMEOUT).run()
    if page != "Ask":
        app.segmented_control(key="page").set_value(page).run()
    assert not app.exception
    return app


def markup(app) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


@pytest.mark.usefixtures("config")
def test_asking_and_going_on() -> None:
    app = opened()
    assert "3 documents are searched" in markup(app)
    app.chat_input[0].set_value("How high is the north tower of the mill?").run()
    assert not app.exception
    assert f"{MILL[:20]}" in markup(app)
    assert len(app.chat_message) == 2
    cited = [button for button in app.button if (button.key or "").startswith("cite-")]
    assert cited[0].label.startswith("**1** · mill\\.txt")
    app.chat_input[0].set_value("Is it red?").run()
    assert "searched as: " in markup(app)
    assert len(app.chat_message) == 4
    next(button for button in app.button if button.label == "New").click().run()
    assert len(app.chat_message) == 0


@pytest.mark.usefixtures("config")
def test_a_citation_opens_its_text() -> None:
    app = opened()
    app.chat_input[0].set_value("How high is the north tower of the mill?").run()
    next(button for button in app.button if (button.key or "").startswith("cite-")).click().run()
    assert not app.exception
    assert "<mark>" in markup(app)
    assert "characters 0 to" in markup(app)


@pytest.mark.usefixtures("config")
def test_the_inspector_takes_the_question_over_and_reranks() -> None:
    app = opened()
    app.chat_input[0].set_value("mayor of the north tower").run()
    next(button for button in app.button if button.label == "How it was found").click().run()
    assert not app.exception
    assert app.segmented_control(key="page").value == "Inspect"
    assert app.text_input(key="inspected-question").value == "mayor of the north tower"
    assert "meaning <b>#1</b>" in markup(app)
    app.slider(key="dense-weight").set_value(0.0).run()
    assert not app.exception
    assert "meaning: not found" in markup(app)
    assert "vault" not in markup(app)


@pytest.mark.usefixtures("config")
def test_deleting_asks_once_more() -> None:
    app = opened("Documents")
    assert any(heading.value == "3 documents, 4 passages" for heading in app.subheader)
    app.button(key="delete-mill.txt").click().run()
    assert not app.exception
    # AppTest does not run a dialog's own buttons; the test in a browser presses this one.
    assert "Delete it" in [button.label for button in app.button]
    assert any("mill" in said.value and "cannot be undone" in said.value for said in app.markdown)
    assert any(heading.value == "3 documents, 4 passages" for heading in app.subheader)


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("left", [(), ("index/vectors.npz",)])
def test_a_certificate_is_shown_until_it_is_closed(left: tuple[str, ...]) -> None:
    app = opened("Documents")
    app.session_state["certificate"] = CertificateView(
        source="mill.txt", clean=not left, chunks=1, n_files=4, n_bytes=5000, n_patterns=30, left=left,
        remarks=("not covered: backups",), json="{}",
    )  # fmt: skip
    app.run()
    searched = "4 files with 5,000 bytes were searched for 30 traces"
    if left:
        assert [said.value for said in app.error] == [f"{searched}. Traces are left in index/vectors\\.npz."]
    else:
        assert [said.value for said in app.success] == [f"1 passage removed; {searched}: nothing is left."]
    assert "not covered: backups" in markup(app)
    next(button for button in app.button if button.label == "Close").click().run()
    assert not app.success
    assert not app.error


@pytest.mark.usefixtures("config")
def test_uploading_through_the_form() -> None:
    app = opened("Documents")
    app.file_uploader[0].set_value(("oaks.txt", b"The forest has 900 oaks.", "text/plain"))
    next(button for button in app.button if button.label == "Add to the index").click().run()
    assert not app.exception
    assert [said.value for said in app.success] == [r"oaks\.txt: 1 passage"]
    assert any(heading.value == "4 documents, 5 passages" for heading in app.subheader)


@pytest.mark.usefixtures("config")
def test_the_analytics_of_what_was_asked() -> None:
    app = opened("Analytics")
    assert app.info[0].value == "Nobody has asked anything in this time."
    app.segmented_control(key="page").set_value("Ask").run()
    app.chat_input[0].set_value("How high is the north tower of the mill?").run()
    app.segmented_control(key="page").set_value("Analytics").run()
    assert not app.exception
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["Questions"] == "1"
    assert figures["Unanswered"] == "0%"


def test_an_index_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_qa.assistant.build_encoder", lambda config: HashingEncoder())
    monkeypatch.setattr(ui_launch, "settings_from", lambda environment: ServeConfig(index=tmp_path / "none"))
    app = testing.AppTest.from_file(str(ui_launch.PAGE), default_timeout=TIMEOUT).run()
    assert not app.exception
    assert "holds no index" in app.error[0].value
