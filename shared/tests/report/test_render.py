"""The page as a parser sees it: what is on it, what cannot get into it, and that it needs nothing else."""

import math
import re
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadmap_shared.metrics import Interval
from roadmap_shared.report import (
    Callout,
    Code,
    Figure,
    KeyFigure,
    KeyFigures,
    Report,
    Sample,
    Section,
    Table,
    Text,
    render,
)

ATTACK = "</script></style></pre>--><script>alert(1)</script><img src=http://x/y onerror='a'>\"'&amp;{{ 7*7 }}{% x %}"
SVG = '<svg viewBox="0 0 1 1"><defs><path id="a"/></defs><g clip-path="url(#b)"><use href="#a"/></g></svg>'


def tiny_png() -> bytes:
    """A black pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def every_block(text: str) -> list:
    """One block of each kind with the text wherever a text may stand."""
    return [
        Text(text),
        KeyFigures([KeyFigure(text, text, note=text, unit=text)]),
        Table([text], [[text]], caption=text, highlight_best={text: "max"}),
        Figure(SVG, caption=text, alt=text),
        Figure(tiny_png(), caption=text),
        Sample(text, label=text, prompt=text),
        Code(text),
        Callout(text, "warning"),
    ]


def report_with(text: str) -> Report:
    sections = [Section(text, every_block(text), intro=text), Section("Second", [])]
    return Report(
        title=text,
        subtitle=text,
        project=text,
        command=text,
        facts={text: text},
        lead=[Text(text)],
        sections=sections,
    )


def test_hostile_text_stays_text_everywhere(page) -> None:
    harmless, hostile = page(render(report_with("harmless"))), page(render(report_with(ATTACK)))
    assert hostile.tags() == harmless.tags()
    assert "script" not in hostile.tags()
    assert [sorted(a) for _, a in hostile.elements] == [sorted(a) for _, a in harmless.elements]
    assert hostile.text_in("pre").count(ATTACK) == harmless.text_in("pre").count("harmless") == 4
    assert "{{ 7*7 }}" in hostile.text_in("h1")


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_text_keeps_the_page_whole_and_encodable(text: str) -> None:
    html = render(Report(title="t", project="p", command="c", sections=[Section("s", [Sample("[" + text + "]")])]))
    html.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)
    assert html.endswith("</body>\n</html>") or html.endswith("</body>\n</html>\n")


def test_control_characters_and_lone_surrogates_are_shown(page_of) -> None:
    page = page_of([Sample("a\x00b\x1bc\ud800d\x7fe\x85f\r\ng\th")])
    assert "a␀b␛c\ufffdd␡e\ufffdf\ng\th" in page.text_in(".sample")


def test_sample_keeps_every_space_and_line_break(page_of) -> None:
    text = "\n\n  two\n\tspaces   kept  \n"
    html = page_of([Sample(text)]).html
    assert f'<pre><span class="prompt"></span><span>{text}</span></pre>' in html
    assert page_of([Sample("after", prompt="before ")]).text_in(".prompt") == "before "


def test_page_loads_nothing_and_runs_nothing(page) -> None:
    text = "see [a link](https://example.org/a?b=1&c=2) and <img src='https://example.org/z.png'>"
    parsed = page(render(report_with(text)))
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(parsed.tags())
    for tag, attributes in parsed.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "srcset", "data", "poster", "background", "action"):
            assert attributes.get(name, "data:").startswith("data:")
        if "href" in attributes or "xlink:href" in attributes:
            target = attributes.get("href", attributes.get("xlink:href", ""))
            assert target.startswith(("#", "data:")) or (tag == "a" and target.startswith("https://example.org/"))
    styles = parsed.text_in("style")
    assert "url(" not in styles
    assert "@import" not in styles
    assert ("a", {"href": "https://example.org/a?b=1&c=2"}) in parsed.elements


def test_contents_lead_to_the_sections(page) -> None:
    parsed = page(render(report_with("x")))
    ids = [attributes["id"] for tag, attributes in parsed.elements if tag == "section"]
    links = [attributes["href"] for tag, attributes in parsed.elements if tag == "a"]
    assert links == [f"#{name}" for name in ids] == ["#section-1", "#section-2"]


def test_text_knows_paragraphs_lists_bold_code_and_links(page_of) -> None:
    html = page_of([Text("One **bold** `a < b`\nstill **`one`**.\n\n- first\n- second\n  goes on\n\n2 ** 3 * 4")]).html
    assert "<p>One <strong>bold</strong> <code>a &lt; b</code> still <strong><code>one</code></strong>.</p>" in html
    assert "<ul><li>first</li><li>second goes on</li></ul>" in html
    assert "<p>2 ** 3 * 4</p>" in html


def test_links_to_anything_but_the_web_stay_text(page_of) -> None:
    page = page_of([Text("[x](javascript:alert(1)) [y](data:text/html,z)")])
    assert "a" not in page.tags()
    assert page.text_in(".text") == "[x](javascript:alert(1)) [y](data:text/html,z)"


def test_key_figures_show_the_interval_to_the_digits_it_supports(page_of) -> None:
    figures = [
        KeyFigure("loss", Interval(1.61842, 1.59718, 1.64011), unit="nats", note="baseline 2.47"),
        KeyFigure("accuracy", Interval(0.8123, 0.61, 0.97)),
        KeyFigure("parameters", 803_456),
        KeyFigure("rate", 41234.56),
        KeyFigure("memory", "412 MB"),
    ]
    page = page_of([], lead=[KeyFigures(figures)])
    assert page.all_in(".value") == ["1.618", "0.81", "803,456", "41,235", "412 MB"]
    assert page.all_in(".interval") == ["95 % interval", "1.597 to 1.640", "95 % interval", "0.61 to 0.97"]
    assert (page.all_in(".unit"), page.all_in(".note")) == (["nats"], ["baseline 2.47"])


def test_table_aligns_numbers_rounds_columns_and_marks_the_best(page_of) -> None:
    table = Table(
        ["run", "loss", "tokens", "share", "whole"],
        [
            ["baseline", 2.5, 1000, 0.25, True],
            ["ours", Interval(1.61842, 1.59718, 1.64011), 12_345, 0.5, False],
            ["failed", math.nan, None, None, None],
            ["same", 1.61842, 0, 1.0, True],
        ],
        caption="Runs.",
        highlight_best={"loss": "min", "tokens": "max"},
        formats={"share": ".0%"},
    )
    page = page_of([table])
    assert page.text_in("figcaption") == "Table 1. Runs."
    cells = [
        "baseline",
        "2.500",
        "1,000",
        "25%",
        "yes",
        "ours",
        "1.618",
        "1.597 to 1.640",
        "12,345",
        "50%",
        "no",
    ]
    assert page.all_in("td") == [*cells, "failed", *"––––", "same", "1.618", "0", "100%", "yes"]
    assert page.all_in(".best") == ["1.618", "1.597 to 1.640", "12,345", "1.618"]
    headings = [attributes.get("class") for tag, attributes in page.elements if tag == "th"]
    assert headings == [None, "number", "number", "number", None]


def test_figures_and_tables_are_numbered_through(page_of) -> None:
    blocks = [Figure(SVG, "one"), Table(["a"], [], "first"), Figure(SVG, "two"), Table(["a"], [], "second")]
    captions = "".join(page_of(blocks).all_in("figcaption"))
    assert captions == "Figure 1.oneTable 1.firstFigure 2.twoTable 2.second"


def test_two_inline_figures_share_no_id(page_of) -> None:
    page = page_of([Figure(SVG), Figure(SVG)])
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [a["href"] for tag, a in page.elements if tag == "use"] == ["#figure1-a", "#figure2-a"]
    assert [a["clip-path"] for tag, a in page.elements if tag == "g"] == [
        "url(#figure1-b)",
        "url(#figure2-b)",
    ]


def test_alternative_text_is_the_caption_unless_given(page_of) -> None:
    page = page_of([Figure(SVG, "Caption", alt="What it shows"), Figure(tiny_png(), "Caption")])
    labels = [attributes["aria-label"] for _, attributes in page.elements if attributes.get("role") == "img"]
    assert labels == ["What it shows", "Caption"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Table(["a", "b"], [[1, 2], [3]]), r"row 1 has 1 cells for 2 columns: \[3\]"),
        (lambda: Table(["a", "a"], []), "headings must differ"),
        (lambda: Table(["a"], [], highlight_best={"c": "min"}), r"no column 'c' among \['a'\]"),
        (
            lambda: render_block(Figure(b"GIF89a")),
            "figure 1: bytes must be a PNG, these start with b'GIF89a'",
        ),
        (
            lambda: render_block(Figure("loss.svg")),
            "figure 1: text must be an <svg> element, this starts with 'loss",
        ),
        (lambda: render_block(Callout("x", "danger")), "a note, a tip or a warning, not 'danger'"),  # type: ignore
    ],
)
def test_wrong_blocks_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def render_block(block) -> str:
    return render(Report(title="t", project="p", command="c", sections=[Section("s", [block])]))
