"""Why these passages: rank and score in every stage of the search, and what another fusion would have found."""

import html
from collections.abc import Mapping, Sequence

import streamlit as st

from rag_qa.app.ui_desk import Desk
from rag_qa.app.ui_records import Exchange
from rag_qa.app.ui_text import note_html, plain
from rag_qa.types import Retrieved
from rag_qa.wording import has_pages
from roadmap_shared.errors import UserError

STAGES = {"dense": "meaning", "sparse": "words", "fused": "fused", "reranked": "reranked", "mmr": "diverse"}
"""Names of the stages for people."""

_SNIPPET = 420


def show(desk: Desk) -> None:
    """Draw the question, the slider and the passages."""
    st.subheader("How passages are found")
    conversation: list[Exchange] = st.session_state.get("conversation", [])
    asked = list(dict.fromkeys(exchange.searched for exchange in reversed(conversation)))
    if "inspected" in st.session_state:
        st.session_state["inspected-question"] = st.session_state.pop("inspected")
    question = st.text_input(
        "Question", key="inspected-question", placeholder="Type a question, or choose one that was asked",
        max_chars=desk.config.api.max_question_characters,
    )  # fmt: skip
    if asked and not question:
        st.pills("Asked in this conversation", asked, key="asked", on_change=_choose, format_func=plain)
    if question:
        _ranking(desk, question)


def _choose() -> None:
    if (chosen := st.session_state.get("asked")) is not None:
        st.session_state["inspected"] = chosen


@st.fragment
def _ranking(desk: Desk, question: str) -> None:
    """Drawn anew by itself when the slider moves."""
    configured = round(desk.config.retrieval.weight_of_dense, 2)
    weight = st.slider(
        "Weight of meaning (dense) against words (sparse)", 0.0, 1.0, configured, 0.05, key="dense-weight",
        help="0 ranks by words alone (BM25), 1 by meaning alone (cosine similarity).",
    )  # fmt: skip
    try:
        usual = desk.search(question)
        found = desk.search(question, weight) if weight != configured else usual
    except UserError as error:
        st.error(plain(str(error)))
        return
    if not found:
        st.info("Nothing was found that you may see.")
        return
    before = {item.chunk.id: rank for rank, item in enumerate(usual, 1)}
    lines = [f"As configured the weight is {configured:g}. Arrows compare with that ranking."]
    st.html(note_html(lines) + hits_html(found, before if weight != configured else {}))


def hits_html(found: Sequence[Retrieved], before: Mapping[int, int]) -> str:
    """The passages in order. `before`: ranks of passages in another ranking, empty for no comparison."""
    return "".join(_hit_html(rank, item, before) for rank, item in enumerate(found, 1))


def _hit_html(rank: int, item: Retrieved, before: Mapping[int, int]) -> str:
    chunk = item.chunk
    page = f", p. {chunk.page}" if has_pages(chunk.source) else ""
    where = " › ".join([f"{chunk.source}{page}", *chunk.headings])
    text = " ".join(chunk.text.split())
    shortened = f"{text[:_SNIPPET]}…" if len(text) > _SNIPPET else text
    return (
        f'<div class="rq-hit"><div class="rq-rank">{rank}{_move_html(rank, chunk.id, before)}</div><div>'
        f'<div class="rq-where">{html.escape(where)}</div><div class="rq-stages">{_stages_html(item)}</div>'
        f'<div class="rq-snippet">{html.escape(shortened)}</div></div></div>'
    )


def _move_html(rank: int, chunk: int, before: Mapping[int, int]) -> str:
    if not before or before.get(chunk) == rank:
        return ""
    if chunk not in before:
        return '<span class="rq-move rq-up">new</span>'
    moved = before[chunk] - rank
    return f'<span class="rq-move rq-{"up" if moved > 0 else "down"}">{"▲" if moved > 0 else "▼"} {abs(moved)}</span>'


def _stages_html(item: Retrieved) -> str:
    parts = []
    for stage, name in STAGES.items():
        if stage in item.ranks:
            parts.append(f'<span class="rq-stage">{name} <b>#{item.ranks[stage]}</b> {item.scores[stage]:.3f}</span>')
        elif stage in ("dense", "sparse"):
            parts.append(f'<span class="rq-stage rq-none">{name}: not found</span>')
    return "".join(parts)
