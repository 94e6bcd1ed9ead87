"""Taking the answer out of a text, and judging it: extractors for votes, scorers for comparisons."""

import re
from collections.abc import Callable

from roadmap_shared.errors import UserError, one_line
from text_generation.prompting.cases import Case

Extractor = Callable[[str], str | None]
"""Text of a model -> its answer in a form in which equal answers are equal texts; None where there is none."""

Scorer = Callable[[str, Case], float]
"""An answer and its case -> 0 (wrong) to 1 (right)."""

_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?")
_MARKER = re.compile(
    r"^[^\S\n]*(?:the )?(?:final )?answer(?: is\b)?[^\S\n]*[:：]?[^\S\n]*([^\s:：].*)?$", re.IGNORECASE | re.MULTILINE
)


def normalised(text: str) -> str:
    """Lower case, one blank between words, without quotes around it and a full stop at its end."""
    return " ".join(text.split()).strip("\"'`“”*").rstrip(".。!！").strip("\"'`“”*").casefold()


def last_number(text: str) -> str | None:
    """The last number of a text as people write it: 1,250.0 and 1250 are both "1250" (for arithmetic, as in Wang et
    al.)."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    number = found[-1].replace(",", "").replace("−", "-")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    digits = digits.lstrip("0") or "0"
    digits = f"0{digits}" if digits.startswith(".") else digits
    return digits if digits == "0" else sign + digits


def after_marker(text: str) -> str | None:
    """What stands behind the last line that begins with "Answer:", in normal form."""
    found = _MARKER.findall(text)
    return normalised(found[-1]) or None if found else None


def one_of(*choices: str) -> Extractor:
    """Extractor of the one choice that a text names as a whole word; None where it names none or several."""

    def extract(text: str) -> str | None:
        folded = text.casefold()
        named = [choice for choice in choices if re.search(rf"(?<!\w){re.escape(choice.casefold())}(?!\w)", folded)]
        return named[0] if len(named) == 1 else None

    return extract


def exact_match(answer: str, case: Case) -> float:
    """1 where answer and reference are equal in normal form."""
    return float(normalised(answer) == normalised(case.reference))


def contains(answer: str, case: Case) -> float:
    """1 where the reference occurs in the answer as whole words, whatever else it says."""
    return float(
        re.search(rf"(?<!\w){re.escape(normalised(case.reference))}(?!\w)", " ".join(answer.casefold().split()))
        is not None
    )


def regex_match(answer: str, case: Case) -> float:
    """1 where the reference, read as a regular expression, is found in the answer.

    Raises:
        UserError: the reference is not a regular expression.
    """
    try:
        return float(re.search(case.reference, answer) is not None)
    except re.error as error:
        raise UserError(
            f"{case.source}: the reference is not a regular expression: {one_line(error)}. Mend it."
        ) from error


def marked_answer(answer: str, case: Case) -> float:
    """1 where what stands behind the last "Answer:" equals the reference; without a marker, the whole answer counts."""
    found = after_marker(answer)
    return exact_match(answer, case) if found is None else float(found == normalised(case.reference))


SCORERS: dict[str, Scorer] = {
    "exact": exact_match,
    "contains": contains,
    "regex": regex_match,
    "marked": marked_answer,
}
