"""The documents and questions of a run: the built-in ones, or the user's own."""

from collections.abc import Callable
from dataclasses import dataclass

from rag_qa.config import CorpusConfig, ReadOptions
from rag_qa.corpus.built_in import built_in_documents
from rag_qa.corpus.questions import Gold, Question, QuestionSet, load_questions, load_questions_file
from rag_qa.document_processor.files import find_files
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.unreadable import UnreadableDocument
from rag_qa.generation.synthetic_questions import make_questions
from rag_qa.types import Document
from roadmap_shared.errors import UserError

N_MADE = 120
"""Questions that are made of a corpus for which there are none."""

N_FEWEST = 30
"""Made questions below which neither a fit nor a measurement says anything: a third of them is fitted on."""

MADE = "made of a sentence"
"""Kind of these questions."""


@dataclass(frozen=True)
class Corpus:
    """What is indexed, and where it comes from."""

    documents: tuple[Document, ...]
    origin: str


def load_corpus(config: CorpusConfig, options: ReadOptions, say: Callable[[str], None]) -> Corpus:
    """Read the documents; files that cannot be read are told and left out.

    Raises:
        UserError: there is no such folder, or no file in it can be read.
    """
    if config.path is None:
        documents = tuple(built_in_documents())
        guides = sum(document.source.startswith("guides/") for document in documents)
        origin = (
            f"{guides} guides of this project and {len(documents) - guides} topics of the Python language reference "
            "that ships with CPython (PSF licence)"
        )
    else:
        documents = tuple(read_folder(config, options, say))
        origin = f"{len(documents)} documents of {config.path}"
    say(f"{origin}, {sum(len(document.text) for document in documents):,} characters")
    return Corpus(documents, origin)


def read_folder(config: CorpusConfig, options: ReadOptions, say: Callable[[str], None]) -> list[Document]:
    """Documents of the folder's files. Raises UserError: none can be read."""
    from rag_qa.document_processor.readers import read_document

    assert config.path is not None
    documents = []
    for found in find_files(config.path):
        try:
            documents.append(read_document(found.path, found.source, options))
        except UnreadableDocument as error:
            say(f"left out: {error}")
    if not documents:
        raise UserError(f"{config.path}: no file in it can be read as a document")
    return documents


def given_questions(config: CorpusConfig, corpus: Corpus) -> QuestionSet | None:
    """The built-in questions or the user's; None where they are to be made of the documents.

    Raises:
        UserError: the file of questions is wrong.
    """
    if config.path is None:
        return load_questions(corpus.documents)
    return load_questions_file(config.questions, corpus.documents) if config.questions is not None else None


def made_questions(index: Index, seed: int, n: int = N_MADE) -> QuestionSet:
    """Questions made of sentences, every third for calibration. Raises UserError: too few sentences."""
    made = make_questions(index.all_chunks(), n, seed)
    if len(made) < N_FEWEST:
        raise UserError(
            f"only {len(made)} questions can be made of these documents, and {N_FEWEST} are needed: give more "
            "documents, or questions of your own"
        )
    return QuestionSet(
        questions=tuple(
            Question(
                id=f"made-{number}",
                text=one.text,
                answers=(one.answer,),
                gold=(Gold(source=one.chunk.source, start=one.start, end=one.end, quote=one.sentence),),
                kind=MADE,
                part="calibration" if number % 3 == 0 else "test",
            )
            for number, one in enumerate(made)
        )
    )
