"""One index, one retriever, one generator behind two methods: `search` and `ask`.

The command line, the API, the web page and the adapters for other frameworks all go through here, so that permissions,
query rewriting and citations are the same everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rag_qa.config import EncoderConfig, GenerationConfig, RetrievalConfig, StoreConfig
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.index_files import existing_database
from rag_qa.generation.answer_generator import build_generator
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import AnswerGenerator, Retriever, Turn, Where
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.retrieval.hybrid import HybridRetriever, check_query
from rag_qa.retrieval.query_rewriting import rewrite_question
from rag_qa.run_layout import REFUSAL, index_to_read
from rag_qa.types import Answer, Retrieved, User


@dataclass(frozen=True)
class Assistant:
    """Answers questions from one index."""

    index: Index
    retriever: Retriever
    generator: AnswerGenerator

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        encoder: EncoderConfig | None = None,
        store: StoreConfig | None = None,
        retrieval: RetrievalConfig | None = None,
        generation: GenerationConfig | None = None,
    ) -> Self:
        """The index in `folder`, ready to be asked; in place of a default one that is not there, the newest run's.

        Raises:
            UserError: there is no index, it was made by another encoder, a model is missing, or a calibration of
                refusal is damaged.
        """
        folder = index_to_read(folder)
        existing_database(folder)  # before the encoder is loaded: a wrong name is told at once
        used = build_encoder(encoder or EncoderConfig())
        index = Index.open(folder, used, store or StoreConfig())
        return cls.over(index, retrieval or RetrievalConfig(), generation or GenerationConfig())

    @classmethod
    def over(cls, index: Index, retrieval: RetrievalConfig, generation: GenerationConfig) -> Self:
        """An index that is open already.

        Raises:
            UserError: a model is missing, or a calibration of refusal is damaged.
        """
        calibrator = calibrator_of(index, generation)
        generator = build_generator(generation, index.encoder, statistics_of(index), calibrator)
        return cls(index, HybridRetriever.over(index, retrieval), generator)

    def search(
        self,
        question: str,
        *,
        user: User | None = None,
        where: Where = (),
        history: Sequence[Turn] = (),
        k: int | None = None,
    ) -> list[Retrieved]:
        """Passages for the question, which may refer to the turns before it.

        Raises:
            UserError: the question holds neither letter nor digit.
        """
        check_query(question)  # before the turns lend it words
        return self.retriever.search(rewrite_question(question, history), k, user, where)

    def ask(
        self, question: str, *, user: User | None = None, where: Where = (), history: Sequence[Turn] = ()
    ) -> Answer:
        """An answer with citations, or a refusal."""
        return self.generator.answer(question, self.search(question, user=user, where=where, history=history), history)


def statistics_of(index: Index) -> TermStatistics:
    """How rare each term is in the index: reads all of its chunks, so ask once."""
    return TermStatistics.of(chunk.text for chunk in index.all_chunks())


def calibrator_of(index: Index, generation: GenerationConfig) -> Calibrator | None:
    """The calibration of refusal that counts for an index: the one that the configuration names, else the index's own;
    None for the one that comes with the package.

    Raises:
        UserError: it is missing or damaged.
    """
    if generation.calibration:
        return Calibrator.load(Path(generation.calibration))
    if index.folder is not None and (own := index.folder / REFUSAL).exists():
        return Calibrator.load(own)
    return None
