"""Technical questions with passages retrieved as `rag-qa` retrieves them, as `_answer_data.QuestionFile`."""

from pathlib import Path

from _answer_data import Asked
from _technical_documents import technical_documents, technical_questions

from rag_qa.config import ChunkingConfig, EncoderConfig, RetrievalConfig, StoreConfig
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import add_documents
from rag_qa.evaluation.answer_quality import answer_in_context
from rag_qa.evaluation.evaluation_set import EvaluationQuestion, from_questions, holds
from rag_qa.generation.evidence import Evidence, EvidenceReader
from rag_qa.generation.linear_ranking import LinearRanker
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.retrieval.embedding_cache import CachedEncoder
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.studies.answers import telling_answers
from rag_qa.studies.owner import OwnersRetriever
from rag_qa.studies.searching import SPARE, without_gold
from rag_qa.types import Retrieved

K = 5
FOLDS = 5
SURE = 15
"""Characters from which an accepted answer is no chance find outside of the gold passage: documents repeat
themselves."""


class TechnicalSet:
    """The questions of `technical_questions.yaml` with the default search over their documents."""

    name = "technical"
    chinese = False

    def __init__(self, cache: Path) -> None:
        """Args:
        cache: folder of vectors.
        """
        documents = technical_documents()
        encoder = CachedEncoder(build_encoder(EncoderConfig()), cache / "technical.sqlite")
        index = Index.create(None, encoder, ChunkingConfig(), StoreConfig())
        add_documents(index, documents)
        retriever = OwnersRetriever.over(index, RetrievalConfig())
        self.encoder = encoder
        self.statistics = TermStatistics.of(chunk.text for chunk in index.all_chunks())
        self._asked = from_questions(self.name, technical_questions(documents), documents).questions
        self._found = [retriever.search(asked.text, K + SPARE) for asked in self._asked]
        number = {document.source: i for i, document in enumerate(documents)}
        # A document's questions share a fold; those without a document are dealt in turn.
        self.questions = [
            Asked(asked.id, asked.text, asked.answers, i, number[asked.gold[0].source] if asked.gold else i)
            for i, asked in enumerate(self._asked)
        ]

    def fold(self, number: int, *, inside: bool) -> list[Asked]:
        """The questions of the documents of one fold, or of all others."""
        return [asked for asked in self.questions if (asked.article % FOLDS == number) is inside]

    def search(self, asked: Asked, *, gold: bool = True) -> list[Retrieved]:
        """The passages, or those of an index without the gold ones."""
        found = self._found[asked.passage]
        return found[:K] if gold else without_gold(found, self.question(asked).gold, K)

    def reader(self, ranker: LinearRanker) -> EvidenceReader:
        """A reader that knows the documents' term statistics."""
        return EvidenceReader(self.encoder, ranker, self.statistics)

    def evidence(self, reader: EvidenceReader, asked: Asked, *, gold: bool = True) -> Evidence:
        """Evidence for a question, with or without its gold passages in the index."""
        return reader.read(asked.text, self.search(asked, gold=gold))

    def question(self, asked: Asked) -> EvaluationQuestion:
        """The question with its gold passages."""
        return self._asked[asked.passage]

    def held(self, asked: Asked) -> bool:
        """Whether the retrieved passages hold the answer."""
        found = self.search(asked)
        return any(holds(item.chunk, gold) for item in found for gold in self.question(asked).gold)

    def gains(self, evidence: Evidence, asked: Asked) -> list[float]:
        """1 for each sentence that says an accepted answer, where it lies in a gold passage or says it at length."""
        question = self.question(asked)
        telling = telling_answers(question)
        gains = []
        for sentence in evidence.sentences:
            said = [answer for answer in telling if answer_in_context([answer], [sentence.text])]
            chunk = evidence.retrieved[sentence.passage].chunk
            start, end = chunk.start + sentence.start, chunk.start + sentence.end
            within = any(g.source == chunk.source and start < g.end and g.start < end for g in question.gold)
            gains.append(float(bool(said) and (within or max(map(len, said)) >= SURE)))
        return gains
