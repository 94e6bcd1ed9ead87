"""Attributions as coloured text, in a terminal and in HTML."""

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_sentiment.inference.attributions import Attribution, Word
from bert_sentiment.inference.rendering import _AGAINST, _FOR, to_html, to_terminal

RENDERED = Attribution(
    text="I <loved>  it, not\x1b[2J\n",
    label="positive",
    words=(
        Word("I", 0, 1, 0.0),
        Word("<loved>", 2, 9, 1.314),
        Word("it", 11, 13, None),
        Word("not", 15, 18, -0.667),
    ),
    log_odds=1.0,
)


def test_plain_text_shows_signs() -> None:
    assert to_terminal(Attribution("a", "x", (Word("a", 0, 1, 0.004),), 0.0), colour=False) == "a"
    assert to_terminal(RENDERED, colour=False) == "I <loved>(+1.31)  it, not(-0.67)�[2J\n"


def test_colours_go_to_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = f"I \033[30;48;5;{_FOR[3]}m<loved>\033[0m  it, \033[4;30;48;5;{_AGAINST[2]}mnot\033[0m�[2J\n"
    plain = to_terminal(RENDERED, colour=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert to_terminal(RENDERED) == plain
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert to_terminal(RENDERED) == coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert to_terminal(RENDERED) == plain
    monkeypatch.setenv("NO_COLOR", "")
    assert to_terminal(RENDERED) == coloured


def test_html_is_escaped_and_shows_scores() -> None:
    page = to_html(RENDERED)
    blue = "background:rgba(31,119,220,0.45);border-radius:.2em"
    orange = "background:rgba(230,120,0,0.23);border-radius:.2em;text-decoration:underline dotted"
    assert page == (
        '<p class="attribution" dir="auto" style="white-space:pre-wrap;line-height:1.7">'
        f'I <span style="{blue}" title="+1.31">&lt;loved&gt;</span>  it, '
        f'<span style="{orange}" title="-0.67">not</span>\x1b[2J\n</p>'
    )


@settings(max_examples=50)
@given(text=st.text(max_size=30), score=st.floats(-3, 3))
def test_html_shows_the_text_whatever_it_is(text: str, score: float) -> None:
    words = (Word(text[1:3], 1, 3, score),) if len(text) >= 3 else ()
    page = to_html(Attribution(text, "x", words, 0.0))
    assert html.unescape(re.sub(r"</?(?:span|p)\b[^>]*>", "", page)) == text


def luminance(rgb: tuple[float, ...]) -> float:
    """Relative luminance, WCAG 2.2."""
    linear = [c / 12.92 if (c := value / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for value in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_colours_can_be_read() -> None:
    for code in (*_FOR, *_AGAINST):
        red, green, blue = (code - 16) // 36, (code - 16) // 6 % 6, (code - 16) % 6
        rgb = tuple(0 if level == 0 else 55 + 40 * level for level in (red, green, blue))
        assert contrast(rgb, (0, 0, 0)) >= 7
    for ink, page in (((51, 51, 51), (255, 255, 255)), ((230, 230, 230), (17, 24, 39))):
        for red, green, blue, alpha in re.findall(r"rgba\((\d+),(\d+),(\d+),([\d.]+)\)", to_html(RENDERED)):
            mark = [float(value) * 0.45 + below * 0.55 for value, below in zip((red, green, blue), page, strict=True)]
            assert contrast(tuple(mark), ink) >= 4.5, (ink, alpha)
