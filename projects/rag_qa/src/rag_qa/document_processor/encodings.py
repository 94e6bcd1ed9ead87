"""Bytes to text: by byte order mark, then as UTF-8, then by what the bytes look like; mixed encodings line by line."""

import codecs
import re
from dataclasses import dataclass

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the first half of it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 65_536
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_HAN = re.compile("[\u4e00-\u9fff]")
# The two thousand commonest signs of level 1 make up nearly all of any Chinese text, and little of what other
# encodings look like when they are read as GB 18030; \u3000-\u303f and \uff00-\uff5e are its punctuation.
_CHINESE_PAIR = re.compile(rb"[\xb0-\xd7][\xa1-\xfe]|[\xa1\xa3][\xa1-\xfe]")
_WESTERN = frozenset("éèêëàâäáãåçîïíôöóõùûüúßñæœÉÈÊÀÂÄÁÅÇÎÔÖÓÙÜÚÑÆŒ€£§°©®«»‹›“”„‘’‚–—…•·¡¿ªº\xa0")
"""What Western European texts are written with beyond ASCII; not the signs that Czech, Polish or Russian bytes become
when they are read as cp1252."""

_CANDIDATES: list[str] = [
    *("big5", "gb18030", "shift_jis", "euc_jp", "euc_kr", "koi8_r", "tis_620"),
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
]
"""Left out: EBCDIC and the code pages of DOS, which short texts are easily mistaken for."""


@dataclass(frozen=True)
class Decoded:
    """Text with \\n as its only line end, as Python's `open` gives it, and how it was found."""

    text: str
    encoding: str
    notes: tuple[str, ...] = ()


def decode(data: bytes, encoding: str = "") -> Decoded:
    """Text of a file. A stated encoding is tried first, and given up with a note where the bytes do not fit."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], name)
    notes: tuple[str, ...] = ()
    if encoding:
        try:
            return Decoded(_lines(data.decode(encoding)), encoding.lower())
        except (UnicodeDecodeError, LookupError):
            notes = (f"is not in the stated encoding {encoding}; found out by its bytes",)
    # Before UTF-8, as which UTF-16's ASCII would pass: letters with zero bytes between them.
    if b"\0" in data[:_SAMPLE] and (wide := _unmarked_utf16(data)):
        return _decoded(data, wide, notes)
    try:
        return Decoded(_lines(data.decode("utf-8")), "utf-8", notes)
    except UnicodeDecodeError:
        pass
    return _mixed(data, notes) or _decoded(data, _guess(data), notes)


def looks_binary(data: bytes) -> bool:
    """Whether the first 64 KiB hold more control characters than any text does."""
    sample = data[:_SAMPLE]
    if any(sample.startswith(mark) for mark, _ in _MARKS) or _unmarked_utf16(data):
        return False
    return len(_CONTROL.findall(sample)) > 0.01 * len(sample)


def _decoded(data: bytes, encoding: str, notes: tuple[str, ...] = ()) -> Decoded:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
        bad = text.count("\ufffd")
        notes = (*notes, f"{bad:,} {'byte' if bad == 1 else 'bytes'} that {encoding} does not know, shown as \ufffd")
    return Decoded(_lines(text), encoding, notes)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _unmarked_utf16(data: bytes) -> str:
    """The byte order of UTF-16 without a mark, from the zero bytes of its ASCII characters; "" if it is none."""
    sample = data[: _SAMPLE // 16 * 2]
    even, odd = sample[::2], sample[1::2]
    if not even or len(data) % 2:
        return ""
    zeros = even.count(0) / len(even), odd.count(0) / max(1, len(odd))
    for name, first, second in (("utf-16-be", *zeros), ("utf-16-le", *reversed(zeros))):
        if first > 0.1 and second < 0.02:
            return name
    # Chinese has few zero bytes, but its line ends are 0A 00 or 00 0A.
    for name, line_end in (("utf-16-le", b"\n\x00"), ("utf-16-be", b"\x00\n")):
        if line_end in data[:_SAMPLE]:
            try:
                text = data.decode(name)
            except UnicodeDecodeError:
                continue
            if len(_HAN.findall(text)) > 0.4 * len(text):
                return name
    return ""


def _mixed(data: bytes, notes: tuple[str, ...]) -> Decoded | None:
    """Text whose lines are some in UTF-8, some not: each by what it is. None where no line needs UTF-8."""
    lines = data.split(b"\n")
    good: dict[int, str] = {}
    bad: list[int] = []
    n_utf8 = 0
    for index, line in enumerate(lines):
        try:
            good[index] = line.decode("utf-8")
            n_utf8 += not line.isascii()
        except UnicodeDecodeError:
            bad.append(index)
    if not n_utf8:
        return None
    encoding = _guess(b"\n".join(lines[index] for index in bad))
    text = "\n".join(
        good[index] if index in good else line.decode(encoding, "replace") for index, line in enumerate(lines)
    )
    shown = ", ".join(str(index + 1) for index in bad[:5]) + (", …" if len(bad) > 5 else "")
    what = f"mixed encodings: utf-8, and {encoding} in {len(bad):,} of {len(lines):,} lines ({shown})"
    return Decoded(_lines(text), "utf-8", (*notes, what))


def _guess(data: bytes) -> str:
    """Encoding of bytes that are no UTF-8: GB 18030 where they pair up as Chinese does, else charset-normalizer's
    best guess, else Latin-1 as Windows has it."""
    high = _high_bytes(data)
    paired = 2 * len(_CHINESE_PAIR.findall(high))
    if high and paired >= 0.8 * sum(byte >= 0x80 for byte in high) and _decodes(data, "gb18030"):
        return "gb18030"
    if _is_western(high):
        return "cp1252"
    from charset_normalizer import from_bytes

    # Lines without a byte beyond ASCII say nothing, and could fill the sample.
    best = from_bytes(high or data[:_SAMPLE], cp_isolation=_CANDIDATES).best()
    name = best.encoding if best is not None else ""
    if name and name not in ("ascii", "utf_8") and _decodes(data, name):
        return codecs.lookup(name).name
    return "cp1252" if _decodes(data, "cp1252") else "latin-1"


def _is_western(high: bytes) -> bool:
    """Whether the bytes beyond ASCII are, as cp1252, Western letters and signs among more of ASCII."""
    beyond = bytes(byte for byte in high if byte >= 0x80).decode("cp1252", "replace")
    return 0 < len(beyond) < 0.4 * len(high) and sum(char in _WESTERN for char in beyond) >= 0.97 * len(beyond)


def _high_bytes(data: bytes) -> bytes:
    """The lines with bytes beyond ASCII, up to the size of a sample."""
    found, size = [], 0
    for line in data[: 64 * _SAMPLE].split(b"\n"):
        if not line.isascii():
            found.append(line[:_SAMPLE])
            size += len(found[-1])
        if size >= _SAMPLE:
            break
    return b"\n".join(found)


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        # Not final: a sample may end within a character.
        codecs.getincrementaldecoder(encoding)().decode(data, False)
    except (UnicodeDecodeError, LookupError):
        return False
    return True
