"""What is in the index; adding to it, and removing with a certificate."""

import streamlit as st

from rag_qa.app.library import Entry, Indexed
from rag_qa.app.ui_certificate import CertificateView
from rag_qa.app.ui_desk import Desk
from rag_qa.app.ui_records import UploadedBytes
from rag_qa.app.ui_text import note_html, plain
from rag_qa.document_processor.formats import SUFFIXES
from rag_qa.types import PUBLIC
from rag_qa.wording import counted, has_pages
from roadmap_shared.errors import UserError

_PER_PAGE = 20


def show(desk: Desk) -> None:
    """Draw the form for files, the last certificate and the list."""
    _upload(desk)
    certificate: CertificateView | None = st.session_state.get("certificate")
    if certificate is not None:
        _show_certificate(certificate)
    _list(desk, desk.entries())


def _upload(desk: Desk) -> None:
    st.subheader("Add documents")
    with st.form("upload", clear_on_submit=True, border=False):
        files = st.file_uploader(
            "Files", accept_multiple_files=True, type=[suffix.removeprefix(".") for suffix in SUFFIXES],
            label_visibility="collapsed",
        )  # fmt: skip
        visible = list(desk.user.visible_groups)
        usual = list(desk.user.groups) or [PUBLIC]
        groups = st.multiselect("Who may see them", visible, usual, format_func=plain) if len(visible) > 1 else usual
        if not st.form_submit_button("Add to the index", icon=":material/upload_file:", type="primary"):
            return
    if not files:
        st.warning("Choose a file first.")
        return
    if len(files) > desk.config.api.max_upload_files:
        st.error(f"More than {desk.config.api.max_upload_files} files: add fewer at a time.")
        return
    with st.spinner("Reading and indexing …"):
        try:
            outcomes = desk.add([UploadedBytes(name=file.name, data=file.getvalue()) for file in files], groups)
        except UserError as error:
            st.error(plain(str(error)))
            return
    _show_outcomes(outcomes)


def _show_outcomes(outcomes: list[Indexed]) -> None:
    for outcome in outcomes:
        if outcome.problem:
            st.error(f"{plain(outcome.name)}: {plain(outcome.problem.removeprefix(f'{outcome.name}: '))}")
            continue
        parts = "1 passage" if outcome.n_chunks == 1 else f"{outcome.n_chunks:,} passages"
        st.success(f"{plain(outcome.name)}: {parts}")
        for note in outcome.notes:
            st.warning(f"{plain(outcome.name)}: {plain(note)}")


def _show_certificate(certificate: CertificateView) -> None:
    with st.container(border=True, key="certificate"):
        st.markdown(f"**Certificate of deletion: {plain(certificate.source)}**")
        searched = (
            f"{certificate.n_files} files with {certificate.n_bytes:,} bytes were searched for "
            f"{certificate.n_patterns:,} traces"
        )
        if certificate.clean:
            st.success(f"{counted(certificate.chunks, 'passage')} removed; {searched}: nothing is left.")
        else:
            st.error(f"{searched}. Traces are left in {plain(', '.join(certificate.left) or 'the vector store')}.")
        st.html(note_html(certificate.remarks))
        with st.container(horizontal=True):
            st.download_button(
                "Save the certificate", certificate.json, file_name="deletion-certificate.json",
                mime="application/json", icon=":material/download:", on_click="ignore",
            )  # fmt: skip
            st.button("Close", on_click=_close_certificate)


def _close_certificate() -> None:
    st.session_state.pop("certificate", None)


def _list(desk: Desk, entries: list[Entry]) -> None:
    passages = sum(entry.n_chunks for entry in entries)
    st.subheader(f"{len(entries):,} documents, {passages:,} passages")
    if not entries:
        st.info("There are no documents yet.")
        return
    wanted = st.text_input("Find a document", placeholder="Part of its name", label_visibility="collapsed").lower()
    found = [entry for entry in entries if wanted in entry.source.lower() or wanted in entry.title.lower()]
    n_pages = max(1, -(-len(found) // _PER_PAGE))
    page = 1
    if n_pages > 1:
        page = int(st.number_input(f"Part of the list, 1 to {n_pages}", 1, n_pages, 1))
    for entry in found[(page - 1) * _PER_PAGE : page * _PER_PAGE]:
        _row(desk, entry)
    if not found:
        st.info("No document has that in its name.")


def _row(desk: Desk, entry: Entry) -> None:
    with st.container(border=True, key=f"document-{entry.source}"):
        left, right = st.columns([10, 1], vertical_alignment="center", wrap=False)
        left.markdown(f"**{plain(entry.source)}**")
        groups = [group for group in entry.groups if group in desk.user.visible_groups]
        pages = f"{counted(entry.n_pages, 'page')} · " if has_pages(entry.source) else ""
        size = f"{pages}{counted(entry.n_chunks, 'passage')}"
        title = [entry.title] if entry.title and entry.title != entry.source.rpartition("/")[2] else []
        left.html(note_html([*title, f"{size} · {', '.join(groups)}", *entry.notes]))
        if desk.may_delete(entry.source):
            pressed = right.container(horizontal_alignment="right").button(
                "", icon=":material/delete:", key=f"delete-{entry.source}", help="Delete", type="tertiary"
            )
            if pressed:
                _confirm(desk, entry.source)


@st.dialog("Delete a document")
def _confirm(desk: Desk, source: str) -> None:
    """Ask once more."""
    st.markdown(f"Remove **{plain(source)}** from the index, and its uploaded file? This cannot be undone.")
    if st.button("Delete it", type="primary", icon=":material/delete:"):
        try:
            st.session_state["certificate"] = desk.delete(source)
        except UserError as error:
            st.error(plain(str(error)))
            return
        st.rerun()
