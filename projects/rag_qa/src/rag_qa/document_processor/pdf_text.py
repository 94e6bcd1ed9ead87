"""PDFium's characters made into running text, with the way back to each character.

Every change is an `Edit` of a span of the raw text, so that the same list of edits gives the text and, for a span of
it, the characters on the page that it came from.
"""

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_HAS_CJK = re.compile(f"[{_CJK}]")
_ENDS_WITHIN = re.compile(f"[{_CJK}，、；：]")
_EDIT = re.compile(
    r"""
    (?P<hyphen> \ufffe [ \t]* (?:\r?\n)? | [-\u2010\u00ad] (?<=[^\W\d_].) [ \t]* \r?\n (?=[^\W\d_]) )
    | (?P<lines> (?: \r\n | [\r\n\u2028\u2029] | [ \t] (?<![ \t][ \t]) [ \t]* (?: \r\n | [\r\n] ) )
                 (?: [ \t]* (?: \r\n | [\r\n] ) )* )
    | (?P<drop> [\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]
              | [\ud800-\udfff\ufff0-\uffff\U000e0000-\U000e007f] )
    | (?P<joiner> [\u200c\u200d] (?<![\u0600-\u0dff].) )
    | (?P<space> [\u00a0\u2000-\u200a\u202f] )
    | (?P<compatible> [\ufb00-\ufb06\u2e80-\u2fdf\uf900-\ufaff] )
    """,
    re.VERBOSE,
)
"""Each alternative begins with a set of characters, so that the others are passed over quickly."""

_FULL_LINE = 0.85
"""A line of Chinese that fills this share of the longest one goes on in the next."""


class Edit(NamedTuple):
    """raw[start:end] becomes `new`."""

    start: int
    end: int
    new: str


@dataclass(frozen=True)
class EditedText:
    """`text`, made from `raw` by `edits`, which are in order and do not overlap."""

    raw: str
    text: str
    edits: tuple[Edit, ...]

    def raw_span(self, start: int, end: int) -> tuple[int, int]:
        """The characters of `raw` that text[start:end] came from: those within, and no dropped ones at its ends.

        Raises ValueError: the span is empty or not within the text.
        """
        if not 0 <= start < end <= len(self.text):
            raise ValueError(f"span {start} to {end} is not within the {len(self.text)} characters of the page")
        return self._raw(start), self._raw(end - 1) + 1

    def position(self, raw_position: int) -> int:
        """Where a character of `raw` stands in the text; for one that was replaced, where its replacement ends."""
        index = bisect_right(self.edits, raw_position, key=lambda edit: edit.start) - 1
        if index < 0:
            return raw_position
        return self._ends[index] + max(0, raw_position - self.edits[index].end)

    def _raw(self, position: int) -> int:
        index = bisect_right(self._ends, position) - 1
        following = self.edits[index + 1] if index + 1 < len(self.edits) else None
        raw = position if index < 0 else self.edits[index].end + position - self._ends[index]
        # Within the replacement of the next edit: its first character stands for all of them.
        return raw if following is None else min(raw, following.start)

    @cached_property
    def _ends(self) -> list[int]:
        """Where the replacement of each edit ends in `text`."""
        ends, shift = [], 0
        for edit in self.edits:
            shift += len(edit.new) - (edit.end - edit.start)
            ends.append(edit.end + shift)
        return ends


def running_text(raw: str) -> EditedText:
    """Text of a page for reading and searching.

    Line ends are \\n, and more than two are two; words broken by a hyphen at a line's end are joined where the next
    line goes on in lower case; full lines of Chinese go on without a break; soft hyphens, zero-width characters,
    direction marks and control characters go; ligatures, Kangxi radicals and compatibility ideographs become the
    plain letters (Unicode NFKC), unusual spaces become plain ones.
    """
    longest = max(map(len, raw.splitlines()), default=0) if _HAS_CJK.search(raw) else 0
    first, last = len(raw) - len(raw.lstrip()), len(raw.rstrip())
    if first >= last:
        return EditedText(raw, "", (Edit(0, len(raw), ""),) if raw else ())
    edits = [Edit(0, first, "")] if first else []
    for match in _EDIT.finditer(raw, first, last):
        old, new = match.group(), _replacement(match, raw, longest)
        if old != new:
            edits.append(Edit(match.start(), match.end(), new))
    if last < len(raw):
        edits.append(Edit(last, len(raw), ""))
    return EditedText(raw, apply_edits(raw, edits), tuple(edits))


def apply_edits(raw: str, edits: list[Edit]) -> str:
    """The text that the edits make of `raw`."""
    parts, at = [], 0
    for edit in edits:
        parts += [raw[at : edit.start], edit.new]
        at = edit.end
    return "".join([*parts, raw[at:]])


def _replacement(match: re.Match[str], raw: str, longest: int) -> str:
    kind, old = match.lastgroup, match.group()
    if kind == "hyphen":
        # "exam-|ple" is one word; "Anglo-|American", "1990-|2000" keep their hyphen.
        joined = raw[match.end() : match.end() + 1].islower() and raw[match.start() - 1 : match.start()].isalpha()
        return "" if joined else "-"
    if kind == "lines":
        if _goes_on(match, raw, longest):
            return ""
        return "\n\n" if old.count("\n") + old.count("\u2029") > 1 else "\n"
    if kind == "space":
        return " "
    if kind == "compatible":
        return unicodedata.normalize("NFKC", old)
    return ""


def _goes_on(match: re.Match[str], raw: str, longest: int) -> bool:
    """Whether a line break stands within a Chinese sentence: both neighbours Chinese, and the line full."""
    if not longest or match.group().count("\n") != 1 or not _HAS_CJK.match(raw, match.end()):
        return False
    line_start = raw.rfind("\n", 0, match.start()) + 1
    # Chinese punctuation inside a sentence may end a line too; a full stop may as well end the paragraph.
    ends_within = _ENDS_WITHIN.match(raw, match.start() - 1) is not None
    return ends_within and match.start() - line_start >= _FULL_LINE * longest
