"""Personal data in texts that are kept, replaced by its kind: `write to ann@example.org` -> `write to [EMAIL]`.

Numbers are checked where they carry a check digit (cards, Chinese identity cards), so that order numbers and prices
stay. What is left out: names, postal addresses, and numbers without a telltale form. This lowers what a stolen log
tells; it does not make one anonymous.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

LONGEST = 200
"""Characters of the longest thing that is looked for: a text cut so many later than it is kept hides no half of one."""

# Digits and signs of Chinese and Japanese keyboards; each stands for one ASCII character, so that places stay the same.
_FULL_WIDTH = {0xFF01 + offset: 0x21 + offset for offset in range(94)}
_SECRET_NAMES = (
    "access_token|api_?key|apikey|auth|authorization|code|key|password|passwd|pwd|secret|session|sessionid|sid|sig|"
    "signature|ticket|token"
)


@dataclass(frozen=True, kw_only=True)
class Redacted:
    """A text without what was found in it."""

    text: str
    found: Mapping[str, int]
    """How many of each kind."""


@dataclass(frozen=True)
class _Rule:
    kind: str
    pattern: re.Pattern[str]
    """What its group `it` matches is replaced; without such a group, the whole."""

    holds: Callable[[str], bool] = lambda found: True


def redact(text: str) -> Redacted:
    """Replace e-mail addresses, phone numbers, identity and payment cards, IP addresses, and secrets."""
    folded = text.translate(_FULL_WIDTH)
    taken = bytearray(len(text))
    spans: list[tuple[int, int, str]] = []
    for rule in _RULES:
        for match in rule.pattern.finditer(folded):
            start, end = match.span("it" if "it" in rule.pattern.groupindex else 0)
            if not any(taken[start:end]) and rule.holds(folded[start:end]):
                taken[start:end] = b"\1" * (end - start)
                spans.append((start, end, rule.kind))
    pieces, last = [], 0
    for start, end, kind in sorted(spans):
        pieces += [text[last:start], f"[{kind}]"]
        last = end
    return Redacted(text="".join([*pieces, text[last:]]), found=Counter(kind for _, _, kind in spans))


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B).

    From the right, every second digit is doubled and the digits of the result are added; the sum must end in 0.
    """
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def chinese_identity(number: str) -> bool:
    """Whether 18 characters are an identity number: a date of birth and the check character (GB 11643, ISO 7064).

    The weights are 2^17 … 2^1 modulo 11; the check character is the value that makes the weighted sum 1 modulo 11,
    with X for 10.
    """
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    values = [10 if sign in "Xx" else int(sign) for sign in number]
    total = sum(value * pow(2, 17 - place, 11) for place, value in enumerate(values))
    return 1850 <= born.year <= 2100 and total % 11 == 1


def _card(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def _international(found: str) -> bool:
    return 8 <= sum(sign.isdigit() for sign in found) <= 15


def _ip_v4(found: str) -> bool:
    return all(int(part) < 256 and (part == "0" or part[0] != "0") for part in found.split("."))


def _ip_v6(found: str) -> bool:
    # `a::b` is an address too, but far more often a name in a program.
    if not any(sign.isdigit() for sign in found):
        return False
    try:
        return bool(ipaddress.IPv6Address(found))
    except ValueError:
        return False


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII | re.IGNORECASE | re.VERBOSE)


# Han characters stand beside numbers without a space, so that borders are told by digits and Latin letters, not by \b.
_RULES = (
    _Rule("SECRET", _compiled(rf"[?&;\#]({_SECRET_NAMES})=(?P<it>[^\s&;\#\[\]]{{1,200}})")),
    _Rule("SECRET", _compiled(r"[a-z][a-z0-9+.-]{1,15}://(?P<it>[^\s/@:]{1,64}:[^\s/@]{1,64})@")),
    _Rule("SECRET", _compiled(r"(?<![a-z0-9_-])eyJ[\w-]{8,100}\.[\w-]{8,}\.[\w-]{8,}")),
    _Rule("SECRET", _compiled(r"(?<![a-z0-9])(sk|pk|rk|ghp|gho|ghs|xox[abp]|hf)[_-][a-z0-9_-]{20,100}(?![a-z0-9])")),
    _Rule("SECRET", _compiled(r"(?<![a-z])bearer\s+(?P<it>[a-z0-9._~+/=-]{16,200})")),
    _Rule(
        "EMAIL",
        _compiled(
            r"(?<![a-z0-9._%+-])[a-z0-9À-ɏ._%+-]{1,64}@(?:[a-z0-9À-ɏ](?:[a-z0-9À-ɏ-]{0,61}[a-z0-9À-ɏ])?\.){1,6}"
            r"[a-z]{2,24}(?![a-z0-9])"
        ),
    ),
    _Rule("ID", _compiled(r"(?<![\da-z])[1-9]\d{16}[\dx](?![\da-z])"), chinese_identity),
    _Rule("CARD", _compiled(r"(?<![\d.,-])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\d]|[.,]\d)"), _card),
    # Chinese mobile numbers: 11 digits, 1 and 3 to 9 in front.
    _Rule("PHONE", _compiled(r"(?<![\d.,+-])(?:(?:\+|00)86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\d|[.,]\d|-\d)")),
    _Rule("PHONE", _compiled(r"(?<![\d.,+-])0\d{2,3}-\d{7,8}(?!\d|-\d)")),
    _Rule("PHONE", _compiled(r"(?<![\d+])\+[1-9]\d{0,2}(?:[ .()/-]{0,2}\d){7,13}(?!\d)"), _international),
    _Rule(
        "PHONE",
        _compiled(r"(?<![\d.,+-])(?:\+?1[ .-]?)?(?:\([2-9]\d\d\)\ ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}(?!\d|[.,-]\d)"),
    ),
    # Five pairs, as in France.
    _Rule("PHONE", _compiled(r"(?<![\d.,+-])0[1-9](?:[ .-]\d\d){4}(?!\d|[ .,-]\d)")),
    # Four numbers behind a `v` or the word `version` are a release.
    _Rule(
        "IP",
        _compiled(r"(?<![\w.-])(?<!version[ ])(?<!release[ ])(?P<it>\d{1,3}(?:\.\d{1,3}){3})(?![\da-z]|\.\d|-\d)"),
        _ip_v4,
    ),
    _Rule("IP", _compiled(r"(?<![\w:.])(?P<it>[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})(?![\w:])"), _ip_v6),
)
