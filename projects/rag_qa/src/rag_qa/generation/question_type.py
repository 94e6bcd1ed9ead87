"""What kind of answer a question asks for, from its question word."""

import re
from dataclasses import dataclass
from typing import Literal

from rag_qa.generation.words import is_chinese, terms

AnswerType = Literal["number", "date", "person", "place", "reason", "manner", "thing"]

_PEOPLE = (
    "person man woman king queen president author writer scientist leader player actor actress director emperor "
    "philosopher inventor composer singer artist scholar physicist mathematician chancellor minister explorer coach "
    "quarterback pope bishop people engineer architect founder"
)
_PLACES = (
    "city country state place river region province county town island continent nation area location village street "
    "building stadium university district capital mountain lake ocean sea"
)
_TIMES = "year month day date decade century era season week"
_AMOUNTS = "percent percentage number amount fraction proportion age price cost population size score ratio rate"


def _nouns(words: str) -> str:
    return "|".join(words.split())


_ENGLISH: tuple[tuple[AnswerType, str], ...] = (
    (
        "number",
        r"\bhow (many|much|long|old|far|tall|big|large|high|deep|fast|wide|often|heavy)\b"
        rf"|\b(what|which)( \w+)? ({_nouns(_AMOUNTS)})\b",
    ),
    ("date", rf"\bwhen\b|\b(what|which)( \w+)? ({_nouns(_TIMES)})\b|\bhow (recently|early|late)\b"),
    ("person", rf"\b(who|whom|whose)\b|\b(what|which)( \w+)? ({_nouns(_PEOPLE)})s?\b"),
    ("place", rf"\bwhere\b|\b(what|which)( \w+)? ({_nouns(_PLACES)})s?\b"),
    ("reason", r"\bwhy\b|\bwhat (is|was) the reason\b|\bfor what reason\b"),
    ("manner", r"\bhow\b"),
)
_CHINESE: tuple[tuple[AnswerType, str], ...] = (
    ("number", r"多少|几(?!乎)|多[长大远高久深重宽快]|百分之|比例|年龄"),
    ("date", r"何时|什么时[候间]|哪[一]?[年月日天]|何年|年代|世纪|时间|哪个?(年份|月份|日期)"),
    ("person", r"谁|何人|哪[一位名]*人|(什么|哪[个位名])\w{0,3}(人物|作者|科学家|总统|国王|皇帝|球员)"),
    ("place", r"哪[里儿]|何[处地]|(什么|哪个?|哪座|哪些)\w{0,3}(地方|国家|城市|省|州|县|地区|位置)|在哪"),
    ("reason", r"为什么|为何|原因"),
    ("manner", r"如何|怎[么样]"),
)
_AFTER_WH = re.compile(r"\b(?:what|which|whose|how many|how much)\s+([\w'’-]+)", re.IGNORECASE)
_PRESENT = re.compile(
    r"\b(when|where|who|whom|whose)\b(\W+\w+)?\W+(is|are|do|does|can|should|must|may|will|would|could|\w{3,}s)\b"
)
_PAST = re.compile(r"\b(was|were|did|had|1\d\d\d|20\d\d)\b")
_CODE = re.compile(
    r"\b(which|what|whose)( \w+)? (option|flag|switch|method|function|class|exception|error|keyword|argument|parameter|"
    r"attribute|setting|command|variable|field|hook|module|operator|decorator|statement|call|value|type)s?\b"
    r"|\bhow (do|can|could|should|would) (i|we|you|one)\b|\bhow to\b"
)
_DEFINITION = re.compile(
    r"\bwhat (is|are) (an? )?[\w._-]+( [\w._-]+)?( (for|good for|in this \w+|of [\w.]+))?\?*$"
    r"|\bwhat (is|are) meant\b|\bwhat do(es)? (the |an? )?[\w._-]+( [\w._-]+)? (mean|do|represent|stand for|express)\b"
    r"|什么是|是什么"
)
_NAME = re.compile(
    r"^what (is|are) (an? )?(?!the\b|his\b|her\b|its\b|their\b)(?!.*\b(of|in|at|for)\b)[\w._-]+( [\w._-]+){0,4}\?*$"
)
"""A question for the meaning of a name, without the article that would make it one for a fact."""
_AUXILIARIES = "is are was were did does do has have had can could will would should may might be been".split()


@dataclass(frozen=True)
class QuestionType:
    """A question as the span finder sees it."""

    answer: AnswerType
    wh: str
    """The question word; `none` where there is none."""

    auxiliary: bool
    """Whether an auxiliary follows the question word: then the question word is usually the object."""

    head: frozenset[str]
    """Terms of the word behind the question word, such as `team` of "Which team won": the kind of thing asked for."""

    chinese: bool
    present: bool = False
    """Whether it asks what is so in general, not what once was: "When does …", "Who deletes …"."""

    wants_code: bool = False
    """Whether it asks for something that is written in code, such as an option or a method."""

    wants_definition: bool = False
    """Whether it asks what something is or means."""

    asks_for_fact: bool = True
    """Whether a few words can answer: reasons, ways of doing and definitions take a sentence."""


def question_type(question: str) -> QuestionType:
    """The kind of answer by rules; `thing` where none applies."""
    lowered = question.lower()
    chinese = is_chinese(question)
    rules = _CHINESE if chinese else _ENGLISH
    fitting: list[AnswerType] = [kind for kind, pattern in rules if re.search(pattern, lowered)]
    answer: AnswerType = fitting[0] if fitting else "thing"
    match = re.search(r"\b(what|which|who|whom|whose|when|where|why|how)\b", lowered)
    wh = match.group() if match else "none"
    following = re.match(r"\s*(\w+)", lowered[match.end() :]) if match else None
    auxiliary = bool(following and following.group(1) in _AUXILIARIES)
    return QuestionType(
        answer=answer,
        wh=wh,
        auxiliary=auxiliary,
        head=frozenset() if auxiliary else _head(question),
        chinese=chinese,
        present=bool(_PRESENT.search(lowered)) and not _PAST.search(lowered),
        wants_code=bool(_CODE.search(lowered)),
        wants_definition=bool(_DEFINITION.search(lowered)),
        asks_for_fact=answer not in ("reason", "manner") and not (_DEFINITION.search(lowered) or _NAME.search(lowered)),
    )


def _head(question: str) -> frozenset[str]:
    match = _AFTER_WH.search(question)
    return frozenset(terms(match.group(1))) if match else frozenset()
