"""Text of documents as the Streamlit page lays it out."""

import pytest

from rag_qa.app.ui_text import joined


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("wide\nas an editor\n\nnext", "wide as an editor\n\nnext"),
        ("广三铁路，\n全长", "广三铁路，全长"),
        ("the **bold\n**word", "the **bold **word"),
        ("list:\n- one\n- two\n2. three", "list:\n- one\n- two\n2. three"),
        ("| a |\n| b |\n# Title", "| a |\n| b |\n# Title"),
        ("\n\ntop\n", "\n\ntop "),
    ],
)
def test_lines_of_a_paragraph_are_joined(text: str, shown: str) -> None:
    assert joined(text) == shown
