"""Attributions as coloured text, on a terminal and as HTML.

Blue speaks for the label, orange against it: a pair that colour-blind readers tell apart (Wong 2011, "Points of view:
Color blindness"). Orange words are underlined too, so that nothing hangs on the colour alone.
"""

import html
import os
import sys
from collections.abc import Callable

from bert_sentiment.inference.attributions import Attribution, Word

# 256-colour codes from faint to strong; black text on each has a contrast of at least 7 : 1 (WCAG level AAA).
_FOR = (195, 153, 117, 111)
_AGAINST = (230, 223, 216, 215)
_RESET = "\033[0m"

_FOR_RGB, _AGAINST_RGB = (31, 119, 220), (230, 120, 0)
_STRONGEST = 0.45
"""Opacity of the strongest mark. It lets black text on white and white text on black keep a contrast of 4.5 : 1."""

_FAINT = 0.05
"""Share of the strongest score below which a word is not marked."""


def to_terminal(attribution: Attribution, colour: bool | None = None) -> str:
    """The text with its words coloured, or followed by their scores, as in `loved(+1.31)`.

    `colour` None colours on a terminal, unless NO_COLOR is set (https://no-color.org).
    """
    if colour is None:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return _rendered(attribution, _ansi if colour else _signed, _printable)


def to_html(attribution: Attribution) -> str:
    """A paragraph with a marked span a word, for light and dark pages; the score shows on hovering."""
    body = _rendered(attribution, _span, html.escape)
    return f'<p class="attribution" dir="auto" style="white-space:pre-wrap;line-height:1.7">{body}</p>'


def _rendered(attribution: Attribution, mark: Callable[[str, float, float], str], escape: Callable[[str], str]) -> str:
    """The original text, each word put through `mark(word, score, strength)`; strength runs from -1 to 1."""
    largest = max((abs(word.score) for word in attribution.words if word.score is not None), default=0.0)
    pieces: list[str] = []
    position = 0
    for word in attribution.words:
        pieces.append(escape(attribution.text[position : word.start]))
        pieces.append(_marked(word, largest, mark, escape))
        position = word.end
    return "".join([*pieces, escape(attribution.text[position:])])


def _marked(word: Word, largest: float, mark: Callable[[str, float, float], str], escape: Callable[[str], str]) -> str:
    if not word.score or abs(word.score) < _FAINT * largest:
        return escape(word.text)
    return mark(escape(word.text), word.score, word.score / largest)


def _ansi(word: str, score: float, strength: float) -> str:
    shades, underline = (_FOR, "") if strength > 0 else (_AGAINST, "4;")
    shade = shades[min(int(abs(strength) * len(shades)), len(shades) - 1)]
    return f"\033[{underline}30;48;5;{shade}m{word}{_RESET}"


def _signed(word: str, score: float, strength: float) -> str:
    return f"{word}({score:+.2f})" if abs(score) >= 0.005 else word


def _span(word: str, score: float, strength: float) -> str:
    red, green, blue = _FOR_RGB if strength > 0 else _AGAINST_RGB
    style = f"background:rgba({red},{green},{blue},{_STRONGEST * abs(strength):.2f});border-radius:.2em"
    if strength < 0:
        style += ";text-decoration:underline dotted"
    return f'<span style="{style}" title="{score:+.2f}">{word}</span>'


def _printable(text: str) -> str:
    """Without control characters, which could move the cursor or hide text; line breaks and tabs stay."""
    return "".join(character if character.isprintable() or character in "\n\t" else "�" for character in text)
