"""One failure of each cause planted into a real index, in English and in Chinese, and told by its cause."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from rag_qa.config import ChunkingConfig, RetrievalConfig
from rag_qa.corpus.questions import Gold
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import add_documents
from rag_qa.document_processor.truncation import measure_truncation
from rag_qa.evaluation.evaluation_set import EvaluationQuestion, plain_document
from rag_qa.evaluation.miss_tracing import Miss, Stage
from rag_qa.protocols import FloatArray, Turn
from rag_qa.studies.answers import study_answers, trace
from rag_qa.studies.owner import OwnersRetriever
from rag_qa.studies.searching import search_all
from rag_qa.types import Answer, Retrieved, Statement

MEANINGS = (
    ("fee", "cost", "price", "euros", "费用", "价格", "欧元"),
    ("ship", "boat", "ferry", "船", "渡轮"),
    ("opens", "starts", "nine", "开门", "九点"),
)
TOKEN = re.compile("|".join(word for words in MEANINGS for word in words if not word.isascii()) + r"|[一-鿿]|\w+")


class MeaningEncoder:
    """Counts the words of three meanings among the first tokens of a text; knows no other word."""

    name, dimension = "meanings", len(MEANINGS) + 1

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens, self.fingerprint = max_tokens, f"meanings-{max_tokens}"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        rows[:, -1] = 0.01
        for row, text in zip(rows, texts, strict=True):
            for token in TOKEN.findall(text.lower())[: self.max_tokens]:
                row[:-1] += [token in words for words in MEANINGS]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in TOKEN.finditer(text.lower())]


class Reciting:
    """Answers with the first passage, or with what it is told to say."""

    name = "reciting"

    def __init__(self, says: str | None = None, confidence: float = 0.9) -> None:
        self.says, self.confidence = says, confidence

    def answer(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> Answer:
        read = retrieved[0].chunk.text if retrieved else ""
        text = read if self.says is None else self.says
        return Answer(
            question=question,
            text=text,
            statements=(Statement(text=text, citations=(), supported=True),),
            span=None,
            confidence=self.confidence,
            refused=False,
            retrieved=tuple(retrieved),
            generator=self.name,
        )

    def stream(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> Iterator[str]:
        yield self.answer(question, retrieved).text


@dataclass(frozen=True)
class Plant:
    """A corpus of one document a text, in which this question fails for one reason."""

    cause: Stage
    question: str
    quote: str
    answer: str
    texts: tuple[str, ...]
    says: str | None = None


ENGLISH = (
    Plant(Stage.PARSING, "What is the fee?", "The fee is seven coins.", "seven coins", ("The fee is on page two.",)),
    Plant(
        Stage.TRUNCATION,
        "What is the fee of the ship?",
        "ferry price nine euros",
        "nine euros",
        ("The fee list.", "Another fee note.", "red green blue white black grey pink brown ferry price nine euros"),
    ),
    Plant(
        Stage.CHUNKING,
        "When is the gate unlocked?",
        "unlocked at six on Mondays. On Sundays it is at ten.",
        "six on Mondays. On Sundays it is at ten",
        ("The old gate of the town is unlocked at six on Mondays. On Sundays it is at ten. Ask the warden.",),
    ),
    Plant(
        Stage.SPARSE,
        "What is the fee of the ship?",
        "Ferry price: nine euros.",
        "nine euros",
        ("A ship fee is due.", "That ship left.", "Ferry price: nine euros."),
    ),
    Plant(
        Stage.DENSE,
        "harbour museum ticket cost",
        "The harbour museum ticket: four pounds.",
        "four pounds",
        ("On harbour museum ticket cost.", "The fee is low.", "The harbour museum ticket: four pounds."),
    ),
    Plant(
        Stage.FUSION,
        "harbour museum hall cost",
        "The harbour museum hall: four pounds.",
        "four pounds",
        ("Harbour cost list.", "The harbour museum hall: four pounds.", "Any price."),
    ),
    Plant(Stage.ANSWERING, "What is the fee?", "The fee is six.", "six", ("The fee is six.", "Blue."), says="Nobody."),
)
CHINESE = (
    Plant(Stage.PARSING, "费用是多少？", "费用是七枚硬币。", "七枚硬币", ("费用见第二页。",)),
    Plant(
        Stage.TRUNCATION,
        "船的费用",
        "渡轮价格九欧元",
        "九欧元",
        ("费用清单。", "费用说明。", "红绿蓝白黑灰紫粉渡轮价格九欧元"),
    ),
    Plant(
        Stage.CHUNKING,
        "城门何时打开？",
        "周一六点打开。周日十点打开",
        "六点打开。周日十点",
        ("旧城的南门周一六点打开。周日十点打开。请问守门人。",),
    ),
    Plant(Stage.SPARSE, "船的费用", "渡轮价格九欧元。", "九欧元", ("船的费用表。", "船的历史。", "渡轮价格九欧元。")),
    Plant(
        Stage.DENSE,
        "海港博物馆门票费用",
        "海港博物馆门票四英镑。",
        "四英镑",
        ("海港博物馆门票费用表。", "价格不高。", "海港博物馆门票四英镑。"),
    ),
    Plant(
        Stage.FUSION,
        "海港博物馆展厅费用",
        "海港博物馆展厅四英镑。",
        "四英镑",
        ("海港费用。", "海港博物馆展厅四英镑。", "价格。"),
    ),
    Plant(Stage.ANSWERING, "费用是多少？", "费用是六元。", "六元", ("费用是六元。", "蓝天。"), says="没有人。"),
)
PLANTS = [pytest.param(plant, id=f"{plant.cause}-{name}") for name in ("en", "zh") for plant in (
    ENGLISH if name == "en" else CHINESE
)]  # fmt: skip


def question_of(plant: Plant) -> EvaluationQuestion:
    """Its gold passage lies where the text has it; one that no text has is said to be in the first."""
    source, text = next(
        ((f"{n}.txt", text) for n, text in enumerate(plant.texts) if plant.quote in text), ("0.txt", "")
    )
    start = text.find(plant.quote) if text else 0
    gold = Gold(source=source, start=start, end=start + len(plant.quote), quote=plant.quote)
    return EvaluationQuestion(id="q", text=plant.question, answers=(plant.answer,), gold=(gold,))


def misses(
    plant: Plant,
    question: EvaluationQuestion,
    *,
    max_tokens: int = 8,
    confidence: float = 0.9,
    retrieval: RetrievalConfig | None = None,
) -> tuple[Miss, ...]:
    """What the tracing says of the question; two candidates a search, and one passage is read."""
    chunking = ChunkingConfig(
        splitter="recursive", size=8 if plant.cause is Stage.CHUNKING else 64, overlap=0, minimum=0
    )
    encoder = MeaningEncoder(max_tokens)
    with Index.create(None, encoder, chunking) as index:
        documents = [plain_document(f"{n}.txt", text) for n, text in enumerate(plant.texts)]
        add_documents(index, documents)
        retriever = OwnersRetriever.over(index, retrieval or RetrievalConfig(k=1, candidates=2, fusion="rrf"))
        searched = search_all(retriever, [question])
        by_source = {document.source: document for document in documents}
        generator = Reciting(plant.says, confidence)
        study = study_answers(searched, generator, [question], by_source, k=1, threshold=0.5)
        truncation = measure_truncation(index.all_chunks(), encoder.token_spans, encoder.max_tokens)
        report = trace(study, searched, index, truncation)
    assert report.n_questions == 1
    return report.misses


@pytest.mark.parametrize("plant", PLANTS)
def test_the_planted_cause_is_told(plant: Plant) -> None:
    (miss,) = misses(plant, question_of(plant))
    assert miss.stage == plant.cause, miss.detail
    assert miss.gold == question_of(plant).gold[0]


@pytest.mark.parametrize("plant", [plant for plant in (*ENGLISH, *CHINESE) if plant.cause is Stage.TRUNCATION])
def test_an_encoder_that_sees_the_whole_chunk_is_not_blamed_for_truncation(plant: Plant) -> None:
    (miss,) = misses(plant, question_of(plant), max_tokens=64)
    assert miss.stage == Stage.FUSION
    assert miss.detail.startswith("not among 2 sparse candidates, dense rank 1")


def test_more_candidates_let_the_search_that_had_missed_it_find_it() -> None:
    plant = next(plant for plant in ENGLISH if plant.cause is Stage.DENSE)
    (miss,) = misses(plant, question_of(plant), retrieval=RetrievalConfig(k=1, candidates=3, fusion="rrf"))
    assert miss.stage == Stage.FUSION


@pytest.mark.parametrize(("confidence", "stages"), [(0.9, [Stage.ANSWERING]), (0.1, [])])
def test_an_answer_to_an_unanswerable_question_is_a_failure_and_a_refusal_is_none(
    confidence: float, stages: list[Stage]
) -> None:
    question = EvaluationQuestion(id="q", text="What is the fee?", answerable=False)
    found = misses(ENGLISH[-1], question, confidence=confidence)
    assert [miss.stage for miss in found] == stages
    assert [miss.detail for miss in found] == ["answered although no document has the answer"] * len(stages)
