"""Ask in turns; each answer with the pages that it rests on."""

import html

import streamlit as st

from rag_qa.app.ui_desk import Desk
from rag_qa.app.ui_records import Exchange
from rag_qa.app.ui_text import answer_html, note_html, numbered, passage_html, plain, question_html
from rag_qa.types import Citation
from rag_qa.wording import has_pages
from roadmap_shared.errors import UserError

EVERYWHERE = "All documents"
_LONGEST_LABEL = 48
_STEP_CHARACTERS = 800


def show(desk: Desk) -> None:
    """Draw the conversation and the line for the next question."""
    conversation: list[Exchange] = st.session_state.setdefault("conversation", [])
    sources = [entry.source for entry in desk.entries()]
    source = _scope(sources, bool(conversation))
    if not sources:
        st.info("There are no documents yet. Add some, then ask about them.")
        st.button("Add documents", icon=":material/upload_file:", on_click=_go_to, args=("Documents",))
    elif not conversation:
        st.subheader("Ask your documents")
        st.html(note_html([f"{len(sources)} documents are searched. Each sentence of an answer names its source."]))
    for number, exchange in enumerate(conversation):
        _show_exchange(desk, exchange, number)
    by_agent = (desk.has_agent and source == EVERYWHERE) and st.toggle(
        "Work in steps", help="A language model searches, reads pages and calculates until it has the answer."
    )
    question = st.chat_input("Ask a question", max_chars=desk.config.api.max_question_characters, disabled=not sources)
    if question:
        _ask(desk, question, conversation, None if source == EVERYWHERE else source, by_agent)


def _scope(sources: list[str], has_turns: bool) -> str:
    """Which documents are searched, and the way to a fresh conversation."""
    left, right = st.columns([3, 1], vertical_alignment="bottom", wrap=False)
    options = [EVERYWHERE, *sources]
    if st.session_state.get("scope") not in options:
        st.session_state["scope"] = EVERYWHERE
    chosen = left.selectbox("Search in", options, key="scope", label_visibility="collapsed")
    right.button(
        "New", icon=":material/edit_square:", disabled=not has_turns, on_click=_begin_again, width="stretch",
        help="Begin a new conversation",
    )  # fmt: skip
    return chosen or EVERYWHERE


def _ask(desk: Desk, question: str, conversation: list[Exchange], source: str | None, by_agent: bool) -> None:
    with st.chat_message("user", avatar=":material/person:"):
        st.html(question_html(question))
    with st.chat_message("assistant", avatar=":material/menu_book:"), st.spinner("Reading …"):
        try:
            exchange = desk.ask_agent(question, conversation) if by_agent else desk.ask(question, conversation, source)
        except UserError as error:
            st.error(plain(str(error)))
            return
    conversation.append(exchange)
    st.rerun()


def _show_exchange(desk: Desk, exchange: Exchange, number: int) -> None:
    answer = exchange.answer
    with st.chat_message("user", avatar=":material/person:"):
        st.html(question_html(exchange.question))
    with st.chat_message("assistant", avatar=":material/menu_book:"):
        st.html(answer_html(answer))
        cited = numbered(answer)
        if cited:
            with st.container(horizontal=True, gap="small", key=f"citations-{exchange.id}"):
                for n, citation in enumerate(cited, 1):
                    if st.button(_label(n, citation), key=f"cite-{exchange.id}-{n}", help=plain(citation.source)):
                        _open(desk, citation)
        st.html(note_html(_remarks(exchange)))
        _show_steps(exchange)
        with st.container(horizontal=True, vertical_alignment="center", key=f"actions-{exchange.id}"):
            useful = st.feedback("thumbs", key=f"useful-{exchange.id}")
            st.button(
                "How it was found", key=f"inspect-{exchange.id}", icon=":material/manage_search:", type="tertiary",
                on_click=_inspect, args=(number, exchange.searched),
            )  # fmt: skip
        _keep_feedback(desk, exchange, useful)


def _remarks(exchange: Exchange) -> list[str]:
    answer = exchange.answer
    likely = f"{answer.confidence:.0%}" if answer.confidence >= 0.005 else "below 1%"
    lines = [f"{likely} likely that the passages hold the answer · {exchange.seconds:.2f} s · {answer.generator}"]
    if exchange.searched != exchange.question:
        lines.append(f"searched as: {exchange.searched}")
    return lines


def _show_steps(exchange: Exchange) -> None:
    if not exchange.steps:
        return
    with st.expander(f"{len(exchange.steps)} steps"):
        for step in exchange.steps:
            outcome = "" if step.outcome == "done" else f" ({step.outcome})"
            st.html(note_html([f"{step.number}. {step.tool} {step.arguments}{outcome}"]))
            st.html(passage_html("", "", step.result, _STEP_CHARACTERS))


def _keep_feedback(desk: Desk, exchange: Exchange, useful: int | None) -> None:
    kept: dict[str, int] = st.session_state.setdefault("feedback", {})
    if useful is not None and kept.get(exchange.id) != useful:
        kept[exchange.id] = useful
        if desk.feedback(exchange, bool(useful)):
            st.toast("Thank you: noted.")


@st.dialog("Source", width="medium")
def _open(desk: Desk, citation: Citation) -> None:
    """The cited page with the quote highlighted."""
    try:
        page = desk.open(citation)
    except UserError as error:
        st.error(plain(str(error)))
        return
    pages = f"page {citation.page} · " if has_pages(citation.source) else ""
    where = f"{pages}characters {citation.start:,} to {citation.end:,}"
    name = f'<div class="rq-where">{html.escape(citation.source)}</div>'
    st.html(name + note_html([where, *([page.remark] if page.remark else [])]))
    if page.image is None:
        st.html(passage_html(page.before, page.quote, page.behind))
        return
    names = ["Close-up", "Page", "Text"] if page.closeup else ["Page", "Text"]
    *closer, as_page, as_text = st.tabs(names)
    if page.closeup and closer:
        closer[0].image(page.closeup, width="stretch")
    as_page.image(page.image, width="stretch")
    as_text.html(passage_html(page.before, page.quote, page.behind))


def _label(number: int, citation: Citation) -> str:
    name = citation.source.rpartition("/")[2]
    shortened = name if len(name) <= _LONGEST_LABEL else f"…{name[-_LONGEST_LABEL:]}"
    page = f", p. {citation.page}" if has_pages(citation.source) else ""
    return f"**{number}** · {plain(shortened)}{page}"


def _go_to(page: str) -> None:
    st.session_state["go_to"] = page


def _inspect(number: int, question: str) -> None:
    st.session_state["inspected"] = question
    _go_to("Inspect")


def _begin_again() -> None:
    st.session_state["conversation"] = []
