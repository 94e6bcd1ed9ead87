"""Reading comprehension files in SQuAD's format: SQuAD 1.1 and 2.0, XQuAD, CMRC 2018, DRCD and others.

{"data": [{"title": …, "paragraphs": [{"context": …, "qas": [
    {"id": …, "question": …, "answers": [{"text": …, "answer_start": …}], "is_impossible": false}]}]}]}
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from rag_qa.corpus.questions import Gold
from rag_qa.corpus.quotes import find_quote
from rag_qa.document_processor.sentences import sentence_spans
from rag_qa.evaluation.beir import read_utf8
from rag_qa.evaluation.evaluation_set import EvaluationQuestion, EvaluationSet, plain_document
from rag_qa.types import Document
from roadmap_shared.errors import UserError

MAX_NOTES = 20


def load_squad(path: Path) -> EvaluationSet:
    """Read a file in SQuAD's format: each paragraph becomes a document, found by the questions about it.

    Paragraphs with the same text become one document. The gold passage of a question is the sentence, or the sentences,
    that hold its first answer. A question that cannot be answered (`is_impossible`, or an empty list of answers) has
    neither. A question whose answers do not stand in their paragraph keeps them, without a gold passage, and is noted.

    Raises:
        UserError: not such a file; names the file, the line of broken JSON, or the place of what is wrong.
    """
    text = read_utf8(path, lambda: 'expected JSON as {"data": [{"paragraphs": [{"context": …, "qas": […]}]}]}')
    try:
        loaded = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: broken JSON ({error.msg}, column {error.colno})") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: broken JSON (nested too deeply or too large a number)") from None
    return _Reader(path, text).read(loaded)


class _Reader:
    """State of reading one file."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.documents: dict[str, Document] = {}  # by text
        self.sources: set[str] = set()
        self.questions: dict[str, EvaluationQuestion] = {}
        self.notes: list[str] = []

    def read(self, loaded: Any) -> EvaluationSet:
        if not isinstance(loaded, dict) or not isinstance(loaded.get("data"), list):
            raise UserError(f"{self.path}: expected an object with a list 'data', as SQuAD's files have")
        for number, article in enumerate(loaded["data"]):
            place = f"data[{number}]"
            title = self._mapping(article, place).get("title")
            for i, paragraph in enumerate(self._list(article, "paragraphs", place)):
                self._paragraph(paragraph, str(title or number), i, f"{place}.paragraphs[{i}]")
        if not self.questions:
            raise UserError(f"{self.path}: holds no question")
        more = len(self.notes) - MAX_NOTES
        notes = (*self.notes[:MAX_NOTES], *([f"and {more} more"] if more > 0 else ()))
        return EvaluationSet(
            name=self.path.stem,
            documents=tuple(self.documents.values()),
            questions=tuple(self.questions.values()),
            notes=notes,
        )

    def _paragraph(self, paragraph: Any, title: str, number: int, place: str) -> None:
        context = self._string(paragraph, "context", place)
        document = self.documents.get(context)
        if document is None:
            source = f"{title}/{number + 1}"
            while source in self.sources:  # several articles may have the same title
                source += "'"
            self.sources.add(source)
            document = self.documents[context] = plain_document(source, context)
        for i, qa in enumerate(self._list(paragraph, "qas", place)):
            question = self._question(qa, document, f"{place}.qas[{i}]")
            if question.id in self.questions:
                self._fail(f"{place}.qas[{i}]", f"the id {question.id!r} is taken by another question", question.id)
            self.questions[question.id] = question

    def _question(self, qa: Any, document: Document, place: str) -> EvaluationQuestion:
        name = self._string(qa, "id", place)
        text = self._string(qa, "question", place, name)
        if qa.get("is_impossible") or qa.get("answers") == []:
            return EvaluationQuestion(id=name, text=text, answerable=False)
        answers = list(self._answers(qa, place, name))
        gold = self._gold(answers, document)
        if gold is None:
            self.notes.append(f"{self.path}: {place}: no answer of question {name!r} stands in its paragraph")
        return EvaluationQuestion(
            id=name,
            text=text,
            relevant={document.source: 1},
            answers=tuple(dict.fromkeys(answer for answer, _ in answers)),
            gold=(gold,) if gold else (),
        )

    def _answers(self, qa: dict[str, Any], place: str, name: str) -> Iterator[tuple[str, int]]:
        for i, answer in enumerate(self._list(qa, "answers", place)):
            text = self._string(answer, "text", f"{place}.answers[{i}]", name)
            start = answer.get("answer_start", -1)
            if not isinstance(start, int):
                self._fail(f"{place}.answers[{i}]", f"'answer_start' must be a whole number, not {start!r}", name)
            yield text, start

    def _gold(self, answers: list[tuple[str, int]], document: Document) -> Gold | None:
        """The sentences that hold the first answer that stands in the paragraph."""
        for text, start in answers:
            place: tuple[int, int] | None = (start, start + len(text))
            if start < 0 or document.text[start : start + len(text)] != text:
                place = find_quote(document.text, text)
            if place is None:
                continue
            held = [span for span in sentence_spans(document.text) if span[0] < place[1] and place[0] < span[1]]
            first, last = held[0][0], held[-1][1]
            return Gold(source=document.source, start=first, end=last, quote=document.text[first:last])
        return None

    def _mapping(self, value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._fail(place, f"expected an object, found {str(value)[:40]!r}")
        return value

    def _list(self, value: Any, name: str, place: str) -> list[Any]:
        found = self._mapping(value, place).get(name)
        if not isinstance(found, list):
            self._fail(place, f"'{name}' is missing" if found is None else f"'{name}' must be a list")
        return found

    def _string(self, value: Any, name: str, place: str, question: str | None = None) -> str:
        found = self._mapping(value, place).get(name)
        if isinstance(found, int) and name == "id":
            return str(found)
        if not isinstance(found, str) or not found.strip():
            problem = "is empty" if isinstance(found, str) else f"must be text, not {found!r}"
            problem = "is missing" if found is None else problem
            self._fail(place, f"'{name}' {problem}", question)
        return found

    def _fail(self, place: str, problem: str, question: str | None = None) -> NoReturn:
        """Raise UserError, with the line where the question's id stands first."""
        at = self.text.find(json.dumps(question, ensure_ascii=False)) if question else -1
        line = f":{self.text.count(chr(10), 0, at) + 1}" if at >= 0 else ""
        raise UserError(f"{self.path}{line}: {place}: {problem}")
