"""From strings of any origin to HTML that cannot break the page."""

import html
import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_INLINE = re.compile(r"`([^`]+)`|\*\*(?=\S)(.+?)(?<=\S)\*\*|\[([^\]]+)\]\((https?://[^\s)]+)\)")


def printable(text: str) -> str:
    """Replaces what HTML or UTF-8 cannot hold: control characters by their pictures, lone surrogates by
    U+FFFD.

    A model that generates bytes or code points produces both sooner or later.
    """
    return _CONTROL.sub(_picture, text.replace("\r\n", "\n"))


def paragraphs(text: str) -> str:
    """HTML of the few marks that `blocks.Text` knows."""
    parts = []
    for chunk in re.split(r"\n\s*\n", text.strip()):
        lines: list[str] = []  # prose lines that wait for the end of their paragraph
        items: list[str] = []
        for line in chunk.splitlines():
            if line.lstrip().startswith("- "):
                items.append(line.lstrip()[2:])
            elif items:
                items[-1] += " " + line.strip()
            else:
                lines.append(line.strip())
        if any(lines):
            parts.append(f"<p>{inline(' '.join(lines))}</p>")
        if items:
            parts.append("<ul>" + "".join(f"<li>{inline(item)}</li>" for item in items) + "</ul>")
    return "\n".join(parts)


def inline(text: str) -> str:
    """HTML of one line with **bold**, `code` and links; everything else is escaped."""
    return _INLINE.sub(_mark, html.escape(text))


def _mark(match: re.Match[str]) -> str:
    code, bold, label, address = match.groups()
    if code:
        return f"<code>{code}</code>"
    if bold:
        return f"<strong>{_INLINE.sub(_mark, bold)}</strong>"
    return f'<a href="{address}">{_INLINE.sub(_mark, label)}</a>'


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{SYMBOL FOR DELETE}" if code == 0x7F else "\N{REPLACEMENT CHARACTER}"
