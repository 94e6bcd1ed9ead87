"""Where sentences begin and end, in English and Chinese, by rules that can be read.

A full stop is the hard case: it ends a sentence, an abbreviation, a list marker or an initial, and stands in decimals.
The rules look at the word before it and the word behind it (Grefenstette & Tapanainen 1994, "What is a word, what is a
sentence?"). Chinese marks end a sentence wherever they stand.

Line breaks end a sentence at blank lines, before list items, and after lines that are too short to have been wrapped.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

Span = tuple[int, int]

IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Han, Hiragana and Katakana, for a character class: scripts without spaces between words."""

_CLOSERS = "\"'”’)\\]»）」』】》〉*_"
_OPENERS = "\"'“‘(\\[«（「『【《〈*_"
_FULL_WIDTH_ENDS = "。｡！？；．"
_GOES_ON = ("，", "、", "：", ",")
_CHINESE_START = re.compile(f"[{IDEOGRAPHS}“‘「『（《]")
# Possessive (++): a run of marks is looked at once, however long it is.
_END = re.compile(rf"(?P<marks>[.!?…{_FULL_WIDTH_ENDS}]++)[{_CLOSERS}]*+")
_WORD_BEFORE = re.compile(r"[\w.&'’-]*\Z")
_WORD_AFTER = re.compile(rf"\s*[{_OPENERS}]*(?P<word>[\w'’-]*)")
_MORE_MARKS = re.compile(r"[ \t]+[.!?…]")
_CONTEXT = 40  # characters that a rule looks back or ahead, at most: keeps the scan linear

_NEVER_LAST = frozenset("mr mrs ms dr prof e.g i.e eg ie cf vs viz resp approx ca incl excl eds".split())
"""Abbreviations that something always follows."""

_TITLES = frozenset("Rev Hon Gen Col Capt Lt Sgt Cmdr Gov Sen Rep Pres Messrs Mme Mlle St Mt Ft Fr".split())
"""Abbreviations before a name; in lower case some of them are words."""

_BEFORE_NUMBER = frozenset(
    "no nos fig figs eq eqs sec sect ch chap p pp vol vols art para ref refs thm tab app v c".split()
)
"""Abbreviations if a number follows, and words otherwise."""

_SELDOM_LAST = frozenset(
    "etc al inc ltd co corp bros jr sr dept univ assn ave blvd rd a.m p.m ph.d b.a m.a m.sc b.sc d.c "
    "jan feb apr aug sept oct nov dec tue tues thu thurs fri".split()
)
"""Abbreviations that may end a sentence; the word that follows decides."""

_STARTERS = frozenset(
    "the a an this that these those it its he she they we you i his her their our my in on at for from with by as if "
    "when while after before since because although however but and or so then there here what who where why how "
    "which all some many most no not one both each every it's he's she's they're we're i'm don't let to of "
    "under during".split()
)
"""Words that, with a capital, begin a sentence rather than go on with a name."""

_LIST_ITEM = re.compile(
    r"[ \t]*(?:[-*+•‣▪◦●○■·–—][ \t]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)][ \t]"
    r"|[（(]?[一二三四五六七八九十\d]{1,3}[）)、]"
    r"|\#{1,6}[ \t]|>|\||\.\.\.[ \t]|={3}|-{3}|\*{3}|~{3}|`{3})"
)
_MARKER = re.compile(r"(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})\Z")
_IDEOGRAPH = re.compile(f"[{IDEOGRAPHS}]")
_FIRST_WORD = re.compile(rf"\s*(?:[{IDEOGRAPHS}]|\S{{1,30}})")

_WIDEST_WRAP = 160  # columns; nobody wraps wider, so such a line is a paragraph
_NARROWEST_WRAP = 40  # columns; narrower lines are verses, addresses, rows
_SHORT_LINE = 0.7  # of the widest line of the paragraph


def sentence_spans(text: str) -> list[Span]:
    """Character offsets (start, end) of the sentences, in order.

    Sentences do not overlap, neither begin nor end with white space, and hold every other character of the text.
    Takes time linear in the text's length.
    """
    breaks = sorted({0, len(text), *_ends_of_lines(text), *_ends_by_mark(text)})
    spans: list[Span] = []
    for start, end in pairwise(breaks):
        span = trimmed(text, start, end)
        if span is None:
            continue
        # Marks alone, as in ". . .", belong to what stands before them on the line.
        marks_alone = not any(char.isalnum() for char in text[span[0] : span[1]])
        if marks_alone and spans and "\n" not in text[spans[-1][1] : span[0]]:
            spans[-1] = (spans[-1][0], span[1])
        else:
            spans.append(span)
    return spans


def sentences(text: str) -> list[str]:
    """The sentences themselves."""
    return [text[start:end] for start, end in sentence_spans(text)]


def trimmed(text: str, start: int, end: int) -> Span | None:
    """The span without white space at its ends; None where nothing is left."""
    part = text[start:end]
    left = len(part) - len(part.lstrip())
    stripped = len(part.strip())
    return (start + left, start + left + stripped) if stripped else None


def _ends_by_mark(text: str) -> Iterator[int]:
    """Offsets behind the marks that end a sentence, and behind the quotes and brackets that close with it."""
    for match in _END.finditer(text):
        marks, after = match["marks"], text[match.end() : match.end() + 1]
        chinese_dots = not marks.strip("…") and _is_ideograph(text[max(0, match.start() - 1) : match.start()])
        if chinese_dots or any(mark in marks for mark in _FULL_WIDTH_ENDS):
            ends = after not in _GOES_ON
        elif not after or after.isspace():
            ends = _stop_ends(text, match)
        else:
            ends = not marks.strip("!?…") and _CHINESE_START.match(after) is not None
        if ends:
            yield match.end()


def _stop_ends(text: str, match: re.Match[str]) -> bool:
    """Whether ., !, ? or … before a space end the sentence."""
    after = _word_after(text, match.end())
    if after[:1].islower() or _MORE_MARKS.match(text, match.end(), match.end() + _CONTEXT):
        return False
    if match["marks"] != ".":
        return True
    before = _word_before(text, match.start())
    word = before.lower()
    if _is_list_marker(text, match.start(), before):
        return False
    if word in _NEVER_LAST or before in _TITLES or (word in _BEFORE_NUMBER and after[:1].isdigit()):
        return False
    # Initials (J. Smith), abbreviations with inner stops (U.S.) and the ambiguous ones: the sentence ends only before a
    # word that begins sentences.
    if (len(before) == 1 and before.isupper()) or word in _SELDOM_LAST or _has_inner_stops(word):
        return not after or after.lower().replace("’", "'") in _STARTERS or _is_ideograph(after)
    return True


def _has_inner_stops(word: str) -> bool:
    return re.fullmatch(r"[a-z](?:\.[a-z])+", word) is not None


def _is_ideograph(word: str) -> bool:
    return _IDEOGRAPH.match(word) is not None


def _word_before(text: str, end: int) -> str:
    match = _WORD_BEFORE.search(text[max(0, end - _CONTEXT) : end])
    return match[0].lstrip("'’-.") if match else ""


def _word_after(text: str, start: int) -> str:
    match = _WORD_AFTER.match(text, start, start + _CONTEXT)
    return match["word"] if match else ""


def _is_list_marker(text: str, end: int, word: str) -> bool:
    """Whether the word is the 1 of "1. Install": first on its line."""
    if not _MARKER.fullmatch(word):
        return False
    start = end - len(word)
    lead = text[max(0, start - _CONTEXT) : start]
    line = lead[lead.rfind("\n") + 1 :]
    return not line.strip() and (len(lead) < _CONTEXT or "\n" in lead or start <= _CONTEXT)


def _ends_of_lines(text: str) -> Iterator[int]:
    """Offsets of the line breaks that end a sentence, whatever stands before them."""
    block: list[Span] = []
    start = 0
    for line in text.split("\n"):
        end = start + len(line)
        if line.strip():
            block.append((start, end))
        else:
            yield start
            yield from _ends_within(text, block)
            block = []
        start = end + 1
    yield from _ends_within(text, block)


def _ends_within(text: str, block: list[Span]) -> Iterator[int]:
    """Line breaks within lines that follow each other without a blank one: which of them are more than wraps?"""
    if len(block) < 2:
        return
    widths = [_columns(text[start:end]) for start, end in block]
    widest = max(widths)
    for width, (start, end), (following, _) in zip(widths, block, block[1:], strict=False):
        word = _FIRST_WORD.match(text, following)
        first = word[0].strip() if word else ""
        if _LIST_ITEM.match(text, following) or _LIST_ITEM_ALONE.match(text, start, end):
            yield end
        elif first[:1].islower() and width >= _SHORT_LINE * widest - len(first) - 1:
            continue
        elif widest > _WIDEST_WRAP or widest < _NARROWEST_WRAP or width + 1 + _columns(first) < _SHORT_LINE * widest:
            yield end


_LIST_ITEM_ALONE = re.compile(r"[ \t]*(?:#{1,6}[ \t]|={3}|-{3}|\*{3}|~{3}|`{3})")
"""Lines that are a whole by themselves: headings and rules."""


def _columns(line: str) -> int:
    """Width of a line on a page, where an ideograph takes two columns."""
    return len(line.strip()) + len(_IDEOGRAPH.findall(line))
