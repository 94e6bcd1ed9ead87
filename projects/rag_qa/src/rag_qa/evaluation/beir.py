"""Data sets in the layout of BEIR (Thakur et al. 2021): FOLDER/corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rag_qa.evaluation.evaluation_set import EvaluationQuestion, EvaluationSet, plain_document
from rag_qa.types import Document
from roadmap_shared.errors import UserError

_GRADE = re.compile(r"\s*-?[0-9]{1,9}\s*")


def load_beir(folder: Path, split: str = "test") -> EvaluationSet:
    """Read a BEIR folder.

    Args:
        folder: with `corpus.jsonl` (`_id`, `text` and perhaps `title`), `queries.jsonl` (`_id`, `text`) and
            `qrels/SPLIT.tsv` (query id, document id, grade, perhaps below a line of names).
        split: name of the judgements.

    Returns:
        Each document's text is its title, a blank line and its text. Questions that the split does not judge are left
        out, and judgements of documents that are not in the corpus are kept: nobody can find these documents, which
        the notes say.

    Raises:
        UserError: a file is missing or a line is wrong; names file and line.
    """
    documents = _documents(folder / "corpus.jsonl")
    judged = _qrels(_split_file(folder, split))
    known = {document.source for document in documents}
    queries = _queries(folder / "queries.jsonl")
    questions = tuple(
        EvaluationQuestion(id=name, text=text, relevant=judged[name])
        for name, text in queries.items()
        if name in judged
    )
    if not questions:
        raise UserError(f"{folder}: no question of queries.jsonl has a judgement in qrels/{split}.tsv")
    absent = sum(source not in known for question in questions for source in question.relevant)
    strange = sum(name not in queries for name in judged)
    notes = [f"{absent} judgements are of documents that are not in corpus.jsonl"] if absent else []
    notes += [f"{strange} judged questions are not in queries.jsonl"] if strange else []
    return EvaluationSet(name=folder.name, documents=tuple(documents), questions=questions, notes=tuple(notes))


def _documents(path: Path) -> list[Document]:
    documents: dict[str, Document] = {}
    for place, fields in _records(path):
        source = _field(fields, "_id", place)
        if source in documents:
            raise UserError(f"{place}: the document '{source}' stands in the file twice")
        title = fields.get("title") or ""
        if not isinstance(title, str):
            raise UserError(f"{place}: 'title' must be text, not {title!r}")
        documents[source] = plain_document(source, _field(fields, "text", place, empty=True), title)
    if not documents:
        raise UserError(f"{path}: holds no document")
    return list(documents.values())


def _queries(path: Path) -> dict[str, str]:
    queries: dict[str, str] = {}
    for place, fields in _records(path):
        name = _field(fields, "_id", place)
        if name in queries:
            raise UserError(f"{place}: the question '{name}' stands in the file twice")
        queries[name] = _field(fields, "text", place)
    return queries


def _qrels(path: Path) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = {}
    for place, (number, line) in enumerate(_lines(path)):
        parts = line.rstrip("\r").split("\t")
        if place == 0 and not _GRADE.fullmatch(parts[-1]):
            continue  # names of the columns
        if len(parts) != 3 or not _GRADE.fullmatch(parts[2]):
            raise UserError(
                f"{path}:{number}: expected a query id, a document id and a whole number as grade, separated by tabs, "
                f"found {line[:60]!r}"
            )
        query, document, grade = parts[0], parts[1], int(parts[2])
        if judged.setdefault(query, {}).setdefault(document, grade) != grade:
            raise UserError(
                f"{path}:{number}: the document '{document}' is judged {grade} for the question '{query}', and "
                f"{judged[query][document]} above"
            )
    return judged


def _split_file(folder: Path, split: str) -> Path:
    path = folder / "qrels" / f"{split}.tsv"
    if path.is_file():
        return path
    there = sorted(file.stem for file in (folder / "qrels").glob("*.tsv"))
    hint = (
        f"there is {', '.join(there)}: choose by --evaluation.split" if there else "the folder qrels holds no .tsv file"
    )
    raise UserError(f"{path}: no such file; {hint}")


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line, object) of each line that is not blank."""
    for number, line in _lines(path):
        place = f"{path}:{number}"
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = (
                error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply or too large a number"
            )
            raise UserError(f"{place}: broken JSON ({problem})") from None
        if not isinstance(fields, dict):
            raise UserError(f'{place}: expected an object such as {{"_id": …, "text": …}}, found {line[:60]!r}')
        yield place, fields


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of a UTF-8 file, without blank lines."""
    text = read_utf8(path, lambda: "a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/test.tsv")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def read_utf8(path: Path, hint: Callable[[], str]) -> str:
    """The text of a file.

    Raises:
        UserError: it cannot be read, with the hint, or is not UTF-8, with the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {hint()}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8") from None


def _field(fields: dict[str, Any], name: str, place: str, *, empty: bool = False) -> str:
    """A text field; ids may be whole numbers."""
    value = fields.get(name)
    if name == "_id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UserError(
            f"{place}: '{name}' is missing" if value is None else f"{place}: '{name}' must be text, not {value!r}"
        )
    if not value.strip() and not empty:
        raise UserError(f"{place}: '{name}' is empty")
    return value
