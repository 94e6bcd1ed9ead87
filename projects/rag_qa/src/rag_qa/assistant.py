"""One index, one retriever, one generator behind two methods: `search` and `ask`.

The command line, the API, the web page and the adapters for other frameworks all go through here, so that permissions,
query rewriting and citations are the same everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from rag_qa.config import EncoderConfig, GenerationConfig, RetrievalConfig, StoreConfig
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.index_files import existing_database
from rag_qa.generation.answer_generator import build_generator
from rag_qa.generation.citation_handler import on_their_pages
from rag_qa.generation.prompted import PromptedGenerator
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.generation.visible_statistics import VisibleStatistics, with_statistics
from rag_qa.protocols import AnswerGenerator, Retriever, Turn, Where
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.retrieval.hybrid import HybridRetriever, check_query
from rag_qa.retrieval.multi_query import Ask
from rag_qa.retrieval.query_rewriting import rewrite_question
from rag_qa.run_layout import REFUSAL, index_to_read
from rag_qa.types import Answer, Retrieved, User
from roadmap_shared.errors import UserError


@dataclass(frozen=True)
class Assistant:
    """Answers questions from one index."""

    index: Index
    retriever: Retriever
    generator: AnswerGenerator
    rewrite: Literal["none", "rules", "model"] = "rules"
    """What makes a follow-up question stand alone, `RetrievalConfig.rewrite`."""

    statistics: VisibleStatistics | None = field(default=None, compare=False, repr=False)
    """How rare terms are for each user; None leaves that to the generator."""

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
            UserError: a model is missing, also one that is to rewrite questions, or a calibration of refusal is
                damaged.
        """
        if retrieval.rewrite == "model" and generation.kind == "extractive":
            raise UserError("--retrieval.rewrite model needs a language model: --generation.kind hf or openai")
        calibrator = calibrator_of(index, generation)
        generator = build_generator(generation, index.encoder, None, calibrator)
        retriever = HybridRetriever.over(index, retrieval, ask=model_of(generator))
        return cls(index, retriever, generator, retrieval.rewrite, VisibleStatistics(index))

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
        return self.retriever.search(self.standalone(question, history), k, user, where)

    def standalone(self, question: str, history: Sequence[Turn] = ()) -> str:
        """The question as it is searched for: with what it takes from the turns before it.

        Raises:
            UserError: the language model that is to rewrite it failed.
        """
        if self.rewrite == "none":
            return question
        ask = model_of(self.generator) if self.rewrite == "model" else None
        return rewrite_question(question, history, ask)

    def ask(
        self, question: str, *, user: User | None = None, where: Where = (), history: Sequence[Turn] = ()
    ) -> Answer:
        """An answer with citations, or a refusal."""
        found = self.search(question, user=user, where=where, history=history)
        generator = self.generator_for(user or User())
        return on_its_pages(generator.answer(question, found, history), self.index)

    def generator_for(self, user: User) -> AnswerGenerator:
        """The generator as it answers a user: the rarity of terms is that among the passages which the user may see."""
        statistics = self.statistics
        if statistics is None:
            return self.generator
        return with_statistics(self.generator, lambda: statistics.of(user))


def on_its_pages(answer: Answer, index: Index) -> Answer:
    """The answer with the page on which each quote begins."""
    return replace(answer, statements=on_their_pages(answer.statements, index.database.document))


def model_of(generator: AnswerGenerator | None) -> Ask | None:
    """The language model behind a generator, from prompt to text; None where there is none."""
    if not isinstance(generator, PromptedGenerator):
        return None
    return lambda prompt: "".join(generator.complete([{"role": "user", "content": prompt}]))


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
