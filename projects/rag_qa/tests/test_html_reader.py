"""HTML: what a browser shows is read, what it does not show is dropped and counted."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.document_processor.readers import ReadOptions, UnreadableDocument, read_document_bytes
from rag_qa.types import Document

PAGE = """<!doctype html><html lang="en"><head><title>A &amp; B</title>
<style>.gone, #away {display: none} .small {font-size: 0.9em}</style><script>"<p>script</p>"</script></head><body>
<h1>Title <em>one</em></h1><p>Hello <b>bold</b>&nbsp;world<br>caf&eacute;   and
more</p><ul><li>one<ul><li>nested</li></ul></li><li>two</li></ul>
<h2>Table</h2><table><caption>Values</caption><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>x|y</td></tr></table>
<pre>def f():
    return 1</pre><p class="small">Small print.</p><img src="x" alt="A picture of a cat"><template>template</template>
</body></html>"""

TEXT = """Title one

Hello bold world
café and more
- one
  - nested
- two

Table

Values
| a | b |
| --- | --- |
| 1 | x\\|y |

def f():
    return 1

Small print.

A picture of a cat"""


def read(body: str, options: ReadOptions | None = None) -> Document:
    return read_document_bytes(body.encode(), "a.html", options)


def test_visible_text() -> None:
    document = read(PAGE)
    assert document.text == TEXT
    assert [(heading.level, heading.title) for heading in document.headings] == [(1, "Title one"), (2, "Table")]
    assert (document.title, document.metadata["language"], document.notes) == (
        "A & B",
        "en",
        ("hidden text left out (templates): 8 characters",),
    )


@pytest.mark.parametrize(
    ("hidden", "reason"),
    [
        ("<!-- XXXX -->", "comments"),
        ("<p hidden>XXXX</p>", "hidden attributes"),
        ("<div aria-hidden='true'><p>XXXX</p></div>", "hidden attributes"),
        ("<p style='display: none'>XXXX</p>", "styles"),
        ("<p style='color:red;visibility:hidden'>XXXX</p>", "styles"),
        ("<p style='font-size:0'>XXXX</p>", "styles"),
        ("<p style='font-size: 0px;'>XXXX</p>", "styles"),
        ("<p style='font-size:1px'>XXXX</p>", "styles"),
        ("<p style='opacity:0'>XXXX</p>", "styles"),
        ("<p style='position:absolute; left:-9999px'>XXXX</p>", "styles"),
        ("<p style='color:#FFF'>XXXX</p>", "styles"),
        ("<p style='color:hsl(0, 0%, 100%)'>XXXX</p>", "styles"),
        ("<p style='color:rgb(255 255 255)'>XXXX</p>", "styles"),
        ("<p style='color:#fff; background:#ffffff'>XXXX</p>", "styles"),
        ("<div style='background-color: white'><p style='color:white'>XXXX</p></div>", "styles"),
        ("<p style='opacity:0.01'>XXXX</p>", "styles"),
        ("<p style='transform: scale(0)'>XXXX</p>", "styles"),
        ("<p style='height:0; overflow:hidden'>XXXX</p>", "styles"),
        ("<p style='overflow:hidden;max-width:1px;'>XXXX</p>", "styles"),
        ("<p class='b gone'>XXXX</p>", "styles"),
        ("<p id=away>XXXX</p>", "styles"),
        ("<table><tr><td>seen</td><td hidden>XXXX</td></tr></table>", "hidden attributes"),
    ],
)
def test_hidden_text(hidden: str, reason: str) -> None:
    page = f"<html><head><style>.gone, #away {{display: none}}</style></head><body><p>Seen.</p>{hidden}</body></html>"
    document = read(page)
    assert "XXXX" not in document.text
    assert "Seen." in document.text
    assert document.notes == (f"hidden text left out ({reason}): 4 characters",)
    assert "XXXX" in read(page, ReadOptions(hidden_text="keep")).text


@pytest.mark.parametrize(
    "shown",
    [
        "<p style='font-size:10px'>XXXX</p>",
        "<p style='font-size:0.5em'>XXXX</p>",
        "<p style='opacity:0.9'>XXXX</p>",
        "<div style='background:#000'><p style='color:white'>XXXX</p></div>",
        "<p style='background-color:white'>XXXX</p>",
        "<p style='left:-5px'>XXXX</p>",
        "<p style='height:0'>XXXX</p>",
        "<p style='height:100px; overflow:hidden'>XXXX</p>",
        "<p style='line-height:1; overflow:hidden'>XXXX</p>",
        "<p style='transform:scale(0.5)'>XXXX</p>",
        "<p style='color:hsl(0, 0%, 10%)'>XXXX</p>",
        "<table><tr style='background:#000'><td style='color:#fff'>XXXX</td></tr></table>",
        "<table bgcolor=black><tr><td><b style='color:#fff'>XXXX</b></td></tr></table>",
    ],
)
def test_text_that_is_seen_stays(shown: str) -> None:
    assert "XXXX" in read(f"<html><body>{shown}</body></html>").text


def test_charsets() -> None:
    body = "<html><head><meta charset='gb2312'></head><body><p>中文网页</p></body></html>"
    assert read_document_bytes(body.encode("gb18030"), "a.html").text == "中文网页"
    assert read_document_bytes(body.encode("utf-16"), "a.html").text == "中文网页"
    assert read_document_bytes(body.replace("gb2312", "utf-8").encode("gb18030"), "a.html").notes == (
        "is not in the stated encoding utf-8; found out by its bytes",
    )


def test_nothing_visible() -> None:
    with pytest.raises(UnreadableDocument) as caught:
        read("<html><body><script>x</script></body></html>")
    assert str(caught.value) == "a.html: has no visible text"
    with pytest.raises(UnreadableDocument) as caught:
        read("<html><body><p hidden>x</p></body></html>")
    assert str(caught.value) == (
        "a.html: has no visible text; all of it is hidden: --reading.hidden_text keep reads it"
    )


def test_deep_nesting() -> None:
    assert read("<html><body>" + "<div>" * 20_000 + "deep").text == "deep"


def test_deep_nesting_takes_no_more_than_its_length_in_time_and_text() -> None:
    """Each of these took the square of the number of its elements: hours, or gigabytes of blanks."""
    n = 8_000
    assert read("<html><body>" + "<table><tr><td>" * n + "deep").text == "| deep |\n| --- |"
    document = read("<html><body>" + "<ul><li>x" * n)
    assert document.text.splitlines()[-1] == " " * 16 + "- x"
    assert len(document.text) < 20 * n
    white = "<html><body><div style='background:#000'>" + "<i style='color:white'>" * n + "deep"
    assert read(white).text == "deep"


def test_tables_that_arrange_a_page_are_blocks() -> None:
    page = "<html><body><table><tr><td>Menu</td><td><table><tr><td>a</td><td>b</td></tr></table></td></tr></table>"
    assert read(page).text == "Menu\n\n| a | b |\n| --- | --- |"


@given(st.text("<>/pbtdr=! -'\"hidenx&;", max_size=80))
def test_any_markup_is_read_or_refused(body: str) -> None:
    with contextlib.suppress(UnreadableDocument):
        assert read("<html>" + body).text
