"""How the index is used: questions a day, latency, what stays without an answer, what people think."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import altair as alt
import pandas as pd
import streamlit as st

from rag_qa.app.analytics import Day, Summary
from rag_qa.app.ui_desk import Desk
from rag_qa.app.ui_text import note_html, plain

_SPANS = {"7 days": 7, "30 days": 30, "90 days": 90}
_ANSWERED, _REFUSED = "#4c8bf5", "#e2953b"


def show(desk: Desk) -> None:
    """Draw the page."""
    left, right = st.columns([2, 1], vertical_alignment="center")
    left.subheader("Usage")
    chosen = right.selectbox("Span", list(_SPANS), index=1, label_visibility="collapsed")
    if not desk.config.api.analytics_days:
        st.info("No analytics are kept: api.analytics_days is 0.")
        return
    days = _SPANS[chosen or "30 days"]
    summary = desk.summary(days)
    if not summary.n_questions:
        st.info("Nobody has asked anything in this time.")
        return
    _figures(summary)
    st.markdown("**Questions a day**")
    st.altair_chart(_chart(filled(summary.by_day, days, datetime.now(UTC))), width="stretch")
    _latency(summary)
    _unanswered(summary)
    _comments(summary)


def _figures(summary: Summary) -> None:
    total = next((stage for stage in summary.latency if stage.stage == "total"), None)
    rated = summary.n_useful + summary.n_not_useful
    figures = {
        "Questions": f"{summary.n_questions:,}",
        "Unanswered": f"{summary.endings.get('refused', 0) / summary.n_questions:.0%}",
        "Median time": f"{1000 * total.median:,.0f} ms" if total else "–",
        "Found useful": f"{summary.n_useful} of {rated}" if rated else "–",
    }
    with st.container(horizontal=True, key="figures"):
        for name, value in figures.items():
            st.metric(name, value, border=True)


def filled(by_day: Sequence[Day], days: int, now: datetime) -> list[Day]:
    """All days of the span, oldest first, those without questions too."""
    known = {day.date: day for day in by_day}
    dates = [(now - timedelta(days=back)).date().isoformat() for back in range(days - 1, -1, -1)]
    return [known.get(date) or Day(date=date, n_questions=0, n_refused=0) for date in dates]


def _chart(days: Sequence[Day]) -> alt.Chart:
    rows = [
        {"day": day.date, "ending": ending, "questions": count}
        for day in days
        for ending, count in (("answered", day.n_questions - day.n_refused), ("without an answer", day.n_refused))
    ]
    colours = alt.Scale(domain=["answered", "without an answer"], range=[_ANSWERED, _REFUSED])
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar()
        .encode(
            x=alt.X("day:O", title=None, axis=alt.Axis(labelAngle=0, labelOverlap=True, labelExpr=_SHORT_DATE)),
            y=alt.Y("questions:Q", title=None, axis=alt.Axis(tickMinStep=1)),
            color=alt.Color("ending:N", title=None, scale=colours, legend=alt.Legend(orient="top")),
            tooltip=["day:O", "ending:N", "questions:Q"],
        )
        .properties(height=220)
    )


_SHORT_DATE = "slice(datum.value, 5)"


def _latency(summary: Summary) -> None:
    st.markdown("**Time of each stage**")
    rows = [
        {"stage": stage.stage, "median, ms": round(1000 * stage.median), "95 %, ms": round(1000 * stage.p95)}
        for stage in summary.latency
    ]
    st.table(pd.DataFrame(rows).set_index("stage"))


def _unanswered(summary: Summary) -> None:
    st.markdown("**Topics without an answer**")
    if not summary.unanswered:
        st.html(note_html(["None: every question was answered, or its words are not kept."]))
    for topic in summary.unanswered:
        with st.expander(f"{plain(', '.join(topic.terms))} ({topic.n_questions})"):
            st.html(note_html(topic.examples))


def _comments(summary: Summary) -> None:
    if not summary.comments:
        return
    st.markdown("**Comments**")
    for comment in summary.comments:
        mark = "useful" if comment.useful else "not useful"
        st.html(note_html([f"{mark}: {comment.comment}", *([f"on: {comment.question}"] if comment.question else [])]))
