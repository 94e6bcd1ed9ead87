"""Questions with gold passages and accepted answers: the built-in set, and a user's own in the same YAML format.

A gold passage is given as a quote. Its place is looked up when the questions are loaded, so a question survives any
change of chunking, and any change of a document that leaves the quoted words alone.

    - id: file-limit
      part: test
      kind: fact
      question: How large may an uploaded file be?
      answers: ["20 MB", "20 megabytes"]
      gold:
        - source: handbook/uploads.md
          quote: Files of up to 20 MB are accepted.
    - id: file-price
      part: calibration
      kind: unanswerable-near
      question: What does it cost to upload a file?
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rag_qa.corpus.question_file import KINDS, PARTS, QuestionEntry, parse_questions
from rag_qa.corpus.quotes import find_quote, without_spaces
from rag_qa.types import Document
from roadmap_shared.errors import UserError

__all__ = ["KINDS", "PARTS", "Dropped", "Gold", "Question", "QuestionSet", "load_questions", "load_questions_file"]


@dataclass(frozen=True, kw_only=True)
class Gold:
    """A passage that answers a question: `document.text[start:end] == quote`."""

    source: str
    start: int
    end: int
    quote: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a user asks, and what is known about the answer."""

    id: str
    text: str
    answers: tuple[str, ...]
    """Accepted short answers, of which the first stands in a gold passage; none if it cannot be answered."""

    gold: tuple[Gold, ...]
    """All of them are needed for the answer; none if it cannot be answered."""

    kind: str
    """One of `KINDS`, where a file says it."""

    part: str
    """`calibration`, for whatever is fitted or chosen, or `test`, for what is reported."""

    @property
    def answerable(self) -> bool:
        """Whether the documents hold the answer."""
        return bool(self.gold)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A question whose gold passage is not in these documents, and why."""

    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class QuestionSet:
    """Questions about one corpus, in the order of their files."""

    questions: tuple[Question, ...]
    dropped: tuple[Dropped, ...] = ()
    """Left out because another version of a document is present: the Python reference changes between versions."""

    def __iter__(self) -> Iterator[Question]:
        return iter(self.questions)

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def answerable(self) -> tuple[Question, ...]:
        """Those that have a gold passage."""
        return tuple(question for question in self.questions if question.answerable)

    @property
    def unanswerable(self) -> tuple[Question, ...]:
        """Those that have none."""
        return tuple(question for question in self.questions if not question.answerable)

    def part(self, name: str) -> "QuestionSet":
        """The questions of the calibration or the test part.

        Raises:
            ValueError: another name.
        """
        if name not in PARTS:
            raise ValueError(f"part must be one of {', '.join(PARTS)}, not {name!r}")
        return QuestionSet(questions=tuple(question for question in self.questions if question.part == name))

    def counts(self) -> dict[str, int]:
        """Number of questions of each kind that occurs, in the order of `KINDS`, and others after them."""
        counter = Counter(question.kind for question in self.questions)
        return {kind: counter[kind] for kind in dict.fromkeys((*KINDS, *counter)) if counter[kind]}


def load_questions(documents: Sequence[Document]) -> QuestionSet:
    """The built-in questions about `built_in_documents()`. A question whose quote is not in these documents, because
    they come from another version of Python, is dropped and counted.

    Raises:
        UserError: the files are missing from the installation, or one is damaged.
    """
    folder = resources.files("rag_qa") / "questions"
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")] if folder.is_dir() else []
    if not files:
        raise UserError("the questions are missing from this installation of rag_qa: install the package again")
    files.sort(key=lambda file: file.name)
    entries = [entry for file in files for entry in parse_questions(file.read_text(encoding="utf-8"), file.name)]
    _check_ids(entries)
    dropped: list[Dropped] = []
    questions = _resolve(entries, documents, lambda entry, reason: dropped.append(Dropped(id=entry.id, reason=reason)))
    return QuestionSet(questions=questions, dropped=tuple(dropped))


def load_questions_file(path: Path, documents: Sequence[Document]) -> QuestionSet:
    """A user's questions about their own documents.

    Raises:
        UserError: the file cannot be read, an entry is wrong, or a quote or its source is not in the documents. The
            message names the file and the entry.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read the questions {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}: save the questions as UTF-8") from None
    entries = parse_questions(text, str(path))
    _check_ids(entries)

    def refuse(entry: QuestionEntry, reason: str) -> None:
        raise UserError(f"{entry.place}: {reason}")

    return QuestionSet(questions=_resolve(entries, documents, refuse))


def _check_ids(entries: Sequence[QuestionEntry]) -> None:
    """Raises UserError: two entries, of one file or of several, share an id."""
    places: dict[str, str] = {}
    for entry in entries:
        if entry.id in places:
            raise UserError(f"{entry.place}: the id is taken by {places[entry.id]}: give each question its own")
        places[entry.id] = entry.place


def _resolve(
    entries: Sequence[QuestionEntry], documents: Sequence[Document], reject: Callable[[QuestionEntry, str], None]
) -> tuple[Question, ...]:
    """Questions with the places of their quotes; an entry with a quote that is not found goes to `reject`."""
    by_source = {document.source: document for document in documents}
    questions = []
    for entry in entries:
        gold: list[Gold] = []
        for source, quote in entry.gold:
            document = by_source.get(source)
            place = find_quote(document.text, quote) if document else None
            if document is None or place is None:
                break
            gold.append(Gold(source=source, start=place[0], end=place[1], quote=document.text[slice(*place)]))
        if len(gold) < len(entry.gold):
            reject(entry, _missing(*entry.gold[len(gold)], by_source))
            continue
        questions.append(
            Question(
                id=entry.id,
                text=entry.question,
                answers=entry.answers,
                gold=tuple(gold),
                kind=entry.kind,
                part=entry.part,
            )
        )
    return tuple(questions)


def _missing(source: str, quote: str, by_source: dict[str, Document]) -> str:
    """Why a gold passage was not found."""
    if source not in by_source:
        return f"its source {source!r} is not among the documents"
    shown = " ".join(quote.split())
    where = [name for name, document in by_source.items() if without_spaces(quote) in without_spaces(document.text)]
    hint = f"; it is in {where[0]!r}" if where else ""
    return f"the quote {shown[:60]!r}{'…' if len(shown) > 60 else ''} is not in {source!r}{hint}"
