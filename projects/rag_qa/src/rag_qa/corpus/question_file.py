"""The YAML format of question sets: what an entry must hold, and messages that name the entry."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from rag_qa.corpus.quotes import without_spaces
from roadmap_shared.errors import UserError, did_you_mean, one_line

ANSWERABLE_KINDS = (
    "fact",
    "definition",
    "how-to",
    "why",
    "comparison",
    "multi-passage",
    "chinese",
    "paraphrase",
    "keyword",
)
UNANSWERABLE_KINDS = ("unanswerable-near", "unanswerable-far")
KINDS = ANSWERABLE_KINDS + UNANSWERABLE_KINDS
"""`paraphrase`: shares no content word with its passage; `keyword`: asks for an exact identifier; `chinese`: asked in
Chinese or about a Chinese document; `unanswerable-near`: about the subject of the documents, `-far`: about another."""

PARTS = ("calibration", "test")

_FIELDS = ("id", "part", "kind", "question", "answers", "gold")
_GOLD_FIELDS = ("source", "quote")


@dataclass(frozen=True, kw_only=True)
class QuestionEntry:
    """One entry as it stands in the file."""

    id: str
    part: str
    kind: str
    question: str
    answers: tuple[str, ...]
    gold: tuple[tuple[str, str], ...]
    """(source, quote)"""

    place: str
    """File and id, for messages."""


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may stand once only: the last of two would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {key.value!r} stands twice in one entry", key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_questions(text: str, name: str) -> list[QuestionEntry]:
    """The entries of a file called `name`.

    Raises:
        UserError: no YAML, no list, or an entry that is not complete. Names the file and the entry.
    """
    try:
        loaded = yaml.load(text, Loader=_Loader)  # a SafeLoader: makes plain values only
    except RecursionError:
        raise UserError(f"{name}: not valid YAML: nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or one_line(error)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{name}{where}: not valid YAML: {problem}") from None
    if not isinstance(loaded, list) or not loaded:
        raise UserError(f"{name}: expected a list of questions, each beginning with '- id: …'")
    return [_entry(fields, number, name) for number, fields in enumerate(loaded, start=1)]


def _entry(fields: Any, number: int, name: str) -> QuestionEntry:
    place = f"{name}: question {number}"
    if not isinstance(fields, dict):
        raise UserError(f"{place}: expected 'id: …', 'question: …' and so on, found {str(fields)[:40]!r}")
    place = f"{name}: question {_string(fields, 'id', place)!r}"
    _check_names(fields, _FIELDS, place)
    kind = _choice(fields, "kind", KINDS, place)
    entry = QuestionEntry(
        id=fields["id"],
        part=_choice(fields, "part", PARTS, place),
        kind=kind,
        question=_string(fields, "question", place),
        answers=_answers(fields, place),
        gold=_gold(fields, place),
        place=place,
    )
    if kind in UNANSWERABLE_KINDS and (entry.answers or entry.gold):
        raise UserError(f"{place}: a question of kind {kind} has neither 'answers' nor 'gold'")
    if kind in ANSWERABLE_KINDS:
        _check_answers(entry)
    return entry


def _check_answers(entry: QuestionEntry) -> None:
    if not entry.gold or not entry.answers:
        missing = "gold" if not entry.gold else "answers"
        raise UserError(
            f"{entry.place}: '{missing}' is missing; a question without an answer is of kind unanswerable-near"
        )
    if not any(without_spaces(entry.answers[0]) in without_spaces(quote) for _, quote in entry.gold):
        raise UserError(f"{entry.place}: the first answer {entry.answers[0]!r} does not stand in a quote")


def _string(fields: Mapping[str, Any], key: str, place: str) -> str:
    value = fields.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise UserError(f"{place}: '{key}' is missing or empty")
    if not isinstance(value, str):
        raise UserError(f"{place}: '{key}' must be text, not {value!r}: put it in quotation marks")
    return value


def _choice(fields: Mapping[str, Any], key: str, choices: tuple[str, ...], place: str) -> str:
    value = _string(fields, key, place)
    if value not in choices:
        hint = did_you_mean(value, choices) or f"Choose one of {', '.join(choices)}."
        raise UserError(f"{place}: unknown {key} {value!r}. {hint}")
    return value


def _check_names(fields: Mapping[Any, Any], known: tuple[str, ...], place: str) -> None:
    for key in fields:
        if key not in known:
            hint = did_you_mean(str(key), known) or f"Known are {', '.join(known)}."
            raise UserError(f"{place}: unknown field {key!r}. {hint}")


def _answers(fields: Mapping[str, Any], place: str) -> tuple[str, ...]:
    values = fields.get("answers", [])
    if not isinstance(values, list):
        raise UserError(f"{place}: 'answers' must be a list, such as [\"{values}\"]")
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{place}: an answer must be text, not {value!r}: put it in quotation marks")
    return tuple(values)


def _gold(fields: Mapping[str, Any], place: str) -> tuple[tuple[str, str], ...]:
    values = fields.get("gold", [])
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise UserError(f"{place}: 'gold' must be a list of entries with 'source' and 'quote'")
    for value in values:
        _check_names(value, _GOLD_FIELDS, f"{place}, gold")
    return tuple((_string(value, "source", place), _string(value, "quote", place)) for value in values)
