"""What kind of thing a run of words is: number, date, name, quotation, code or plain phrase, by its signs."""

import re
from collections.abc import Sequence
from typing import Literal

from rag_qa.generation.question_type import QuestionType
from rag_qa.generation.words import HAN, Token

SpanType = Literal["number", "year", "date", "money", "percent", "name", "quoted", "code", "phrase"]

MONTHS = (
    "january february march april may june july august september october november december jan feb mar apr jun jul aug "
    "sep sept oct nov dec"
).split()
NUMBER_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion "
    "half third quarter dozen hundreds thousands millions billions twice once first second fourth fifth"
).split()
_YEAR = re.compile(r"(1\d|20)\d\d(s|'s)?$")
_DIGITS = re.compile(r"[\d零一二三四五六七八九十百千万亿两]")
_HAN_NUMBER = re.compile(r"[\d零一二三四五六七八九十百千万亿两]")
_HAN_DATE = re.compile(r"[\d零〇一二三四五六七八九十]+[年月日]|世纪|年代|时期|[春夏秋冬]天")
_CODE = re.compile(r"[`_]|\w\(\)|\w\.\w|[a-z][A-Z]|^--?\w|^__")
_LITERAL = re.compile(r"`[^`]+`|\"[^\"\s]+\"|'[^'\s]+'|\w_\w|\w\(\)|\w\.\w|[a-z][A-Z]|(?<!\S)--?\w|\b__\w|\w=\w")
QUOTES = "\"“”‘’'「」『』《》"


def span_type(words: Sequence[Token]) -> SpanType:
    """The kind of a run of tokens."""
    texts = [word.text for word in words]
    lowered = [text.lower() for text in texts]
    joined = "".join(texts)
    if any(sign in joined for sign in "$£€¥") or "dollars" in lowered or joined.endswith(("元", "美元")):
        return "money"
    if "%" in joined or "percent" in lowered or "百分之" in joined:
        return "percent"
    if any(text in MONTHS and texts[i][0].isupper() for i, text in enumerate(lowered)) or _HAN_DATE.search(joined):
        return "date"
    if any(_YEAR.match(text) for text in lowered) and len(words) <= 4:
        return "year" if len(words) == 1 else "date"
    if "century" in lowered or "centuries" in lowered:
        return "date"
    if any(text[0].isdigit() for text in texts) or any(text in NUMBER_WORDS for text in lowered[:2]):
        return "number"
    if re.search(f"[{HAN}]", joined) and _HAN_NUMBER.match(joined):
        return "number"
    if texts[0] in QUOTES or texts[-1] in QUOTES:
        return "quoted"
    if any(_CODE.search(text) for text in texts):
        return "code"
    if texts[0][0].isupper() or texts[-1][0].isupper():
        return "name"
    return "phrase"


_CONDITION = re.compile(
    r"\b(if|when|whenever|until|unless|after|before|once|while|during|as soon as|by default)\b|如果|当|时候|之后|之前"
)
_DATE = re.compile(r"\b(1\d|20)\d\d|\bcentur|\b\d+ (BC|AD)\b|\b(" + "|".join(MONTHS[:12]) + r")\b", re.IGNORECASE)
_PURPOSE = re.compile(r"\b(because|due|since|so that|in order|to|caus\w+|reason)\b|因|由于|为了|导致")
_REASON = re.compile(
    r"\b(because|since|therefore|thus|hence|due to|so that|so|otherwise|avoid\w*|prevent\w*|caus\w+|reason|protect\w*|"
    r"which (makes|means|allows|would))\b|因|由于|为了|所以|否则|避免|防止"
)
_PROPER = re.compile(r"(?<=\w )[A-Z][a-z]|[A-Z]\w+ [A-Z]")


def has_type(text: str, question: QuestionType) -> bool:
    """Whether a sentence holds a thing of the kind that is asked for; True where any kind will do."""
    lowered = text.lower()
    if question.answer == "number":
        return bool(_DIGITS.search(text)) or any(word in NUMBER_WORDS for word in re.findall(r"[a-z]+", lowered))
    if question.answer == "date":
        # "When does join stop?" asks for a condition, "When was it built?" for a date.
        condition = question.present and _CONDITION.search(lowered)
        return bool(condition or _DATE.search(text) or _HAN_DATE.search(text))
    if question.answer in ("person", "place"):
        # Of what is so in general, programs and their parts are the persons and places.
        return question.chinese or question.present or bool(_PROPER.search(text))
    if question.answer == "reason":
        return bool(_PURPOSE.search(lowered))
    return True


def gives_reason(text: str) -> bool:
    """Whether a sentence has a word that joins a reason or a purpose to what it is for."""
    return _REASON.search(text.lower()) is not None


def looks_like_code(text: str) -> bool:
    """Whether a text names an identifier, an option, a call or a quoted literal."""
    return _LITERAL.search(text) is not None
