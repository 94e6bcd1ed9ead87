"""The Streamlit page: ask, inspect the retrieval, manage documents, read the analytics.

`rag-qa serve --ui True` starts it beside the API. By itself, for one user who is in all groups that are named:

    RAG_QA_INDEX=rag-index RAG_QA_GROUPS=hr,lab streamlit run streamlit_ui.py --browser.gatherUsageStats false
"""

import os
from collections.abc import Callable

import streamlit as st
from PIL import Image, ImageDraw

from rag_qa.app import ui_analytics, ui_chat, ui_documents, ui_inspector, ui_launch
from rag_qa.app.ui_desk import Desk
from rag_qa.app.ui_text import STYLE, plain
from roadmap_shared.config.yaml_files import to_yaml
from roadmap_shared.errors import UserError

PAGES: dict[str, Callable[[Desk], None]] = {
    "Ask": ui_chat.show,
    "Inspect": ui_inspector.show,
    "Documents": ui_documents.show,
    "Analytics": ui_analytics.show,
}


@st.cache_resource(show_spinner="Opening the index …")
def open_desk(settings: str) -> Desk:
    """The index, opened once for all sessions; `settings` tells apart what the environment names."""
    from rag_qa.assistant import Assistant

    config = ui_launch.settings_from(os.environ)
    assistant = Assistant.open(
        config.index,
        encoder=config.encoder,
        store=config.store,
        retrieval=config.retrieval,
        generation=config.generation,
    )
    return Desk(assistant, config)


def main() -> None:
    """Draw the page that is chosen."""
    st.set_page_config(page_title="Ask your documents", page_icon=_icon(), layout="centered")
    st.html(STYLE)
    try:
        desk = open_desk(to_yaml(ui_launch.settings_from(os.environ)))
    except UserError as error:
        st.error(plain(str(error)))
        st.stop()
    if "go_to" in st.session_state:  # set by a button; a widget's own value can be changed before it is drawn alone
        st.session_state["page"] = st.session_state.pop("go_to")
    st.session_state.setdefault("page", "Ask")
    chosen = st.segmented_control(
        "Page", list(PAGES), key="page", required=True, label_visibility="collapsed", width="stretch"
    )
    PAGES[chosen or "Ask"](desk)


def _icon() -> Image.Image:
    """A sheet with a marked line. Streamlit would fetch any icon that it has a name for from another host."""
    icon = Image.new("RGBA", (64, 64))
    draw = ImageDraw.Draw(icon)
    draw.rounded_rectangle((8, 2, 56, 62), radius=8, fill="#2f6fde")
    for top, colour in ((16, "white"), (29, "#ffd633"), (42, "white")):
        draw.rounded_rectangle((17, top, 47, top + 6), radius=3, fill=colour)
    return icon


if __name__ == "__main__":
    main()
