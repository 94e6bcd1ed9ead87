"""The studies behind `run` and `evaluate`: what they search, count and leave out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rag_qa.config import ChunkingConfig, EvaluationConfig, RetrievalConfig, SparseConfig
from rag_qa.corpus.questions import Gold, Question, QuestionSet
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import add_documents
from rag_qa.document_processor.truncation import measure_truncation
from rag_qa.evaluation.evaluation_set import EvaluationQuestion, EvaluationSet, plain_document
from rag_qa.generation.refusal import CalibrationExample
from rag_qa.generation.risk_coverage import risk_coverage
from rag_qa.generation.synthetic_questions import SyntheticQuestion
from rag_qa.protocols import FloatArray
from rag_qa.studies.answers import Answered, AnswerStudy, score_refusal, trace
from rag_qa.studies.corpus import made_questions
from rag_qa.studies.data_sets import index_of
from rag_qa.studies.owner import OwnersRetriever
from rag_qa.studies.refusal import held_out_probabilities
from rag_qa.studies.retrieval import study_retrieval
from rag_qa.studies.searching import SPARE, Searched, search_all, without_gold
from rag_qa.types import Answer, Chunk, Retrieved
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import roc_auc

from .tiny_index import HashingEncoder, document

TEXTS = [f"passage number {n} tells of the harbour, the {word} and the sea" for n, word in enumerate(
    "anchor boat crane dock eel ferry gull hull ink jetty keel lamp mast net oar pier quay rope sail tide".split()
)]  # fmt: skip
QUESTION = EvaluationQuestion(id="q", text="What is told of the ferry in the harbour?", relevant={"5.txt": 1})


class Asked(HashingEncoder):
    """Tells questions from passages, and spells no Chinese."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        self.asked += texts
        return self.encode(texts)

    def unknown_share(self, text: str) -> float:
        return sum(not character.isascii() for character in text) / max(len(text), 1)


@pytest.fixture
def index() -> Index:
    made = Index.create(None, Asked(), ChunkingConfig(splitter="recursive", size=64, overlap=0, minimum=0))
    add_documents(made, [document(f"{n}.txt", text) for n, text in enumerate(TEXTS)])
    return made


def searched_with(index: Index, question: EvaluationQuestion, config: RetrievalConfig, depth: int = 100) -> Searched:
    return search_all(OwnersRetriever.over(index, config), [question], depth)[question.id]


@pytest.mark.parametrize(
    "config", [RetrievalConfig(), RetrievalConfig(mmr=0.5), RetrievalConfig(mode="dense", fusion="rrf")]
)
def test_a_question_is_searched_for_once(index: Index, config: RetrievalConfig) -> None:
    found = searched_with(index, QUESTION, config)
    assert isinstance(index.encoder, Asked)
    assert index.encoder.asked == [QUESTION.text]
    retriever = OwnersRetriever.over(index, config)
    assert found.read(config.k) == retriever.search(QUESTION.text)
    assert found.stages == retriever.stages(QUESTION.text)
    assert len(found.passages) == config.k + SPARE
    assert (found.final is None) == (config.mmr is None)
    if found.final is not None:
        assert list(found.final) == [item.chunk.id for item in retriever.search(QUESTION.text, 100)]


def test_a_search_that_the_fusion_leaves_out_is_measured_all_the_same(index: Index) -> None:
    question = EvaluationQuestion(id="q", text="ferry 渡轮渡轮渡轮渡轮", relevant={"5.txt": 1})
    index.encoder.unknown_share = lambda text: 1.0  # type: ignore[attr-defined]
    found = searched_with(index, question, RetrievalConfig())
    assert set(found.stages.searches) == {"sparse"}
    assert set(found.baselines) == {"sparse", "dense"}
    study = study_retrieval(index, {"q": found}, [question], EvaluationConfig())
    assert list(study.scores) == ["sparse", "dense", "fused"]
    assert study.scores["sparse"].mean("mrr") == 1
    assert (study.last, list(study.comparisons)) == ("fused", ["sparse", "dense"])
    assert study.comparisons["dense"].mean_b == study.scores["fused"].mean("ndcg@10")


def test_what_is_measured_is_what_is_configured(index: Index) -> None:
    few = searched_with(index, QUESTION, RetrievalConfig(k=1, candidates=2))
    assert {name: len(ranking) for name, ranking in few.baselines.items()} == {"sparse": 2, "dense": 2}
    assert 2 <= len(few.stages.fused) <= 4


def retrieved(source: str, start: int, end: int) -> Retrieved:
    return Retrieved(chunk=Chunk(source=source, start=start, end=end, text="x" * (end - start), page=1), score=1.0)


def test_passages_that_share_a_character_with_a_gold_passage_are_taken_out() -> None:
    gold = [Gold(source="a", start=10, end=20, quote="x" * 10), Gold(source="b", start=0, end=5, quote="x" * 5)]
    kept = [retrieved("a", 0, 10), retrieved("a", 20, 30), retrieved("b", 5, 9), retrieved("c", 10, 20)]
    lost = [retrieved("a", 0, 11), retrieved("a", 19, 30), retrieved("a", 12, 14), retrieved("b", 4, 9)]
    mixed = [passage for pair in zip(lost, kept, strict=True) for passage in pair]
    assert without_gold(mixed, gold, 10) == kept
    assert without_gold(mixed, gold, 2) == kept[:2]
    assert without_gold(mixed, [], 3) == mixed[:3]


def answered(id: str, confidence: float, *, correct: bool = False, answerable: bool = True, **more: float) -> Answered:
    given = Answer(
        question=id,
        text="",
        statements=(),
        span=None,
        confidence=confidence,
        refused=False,
        retrieved=(),
        generator="by hand",
    )
    question = EvaluationQuestion(id=id, text=id, answerable=answerable)
    return Answered(question=question, answer=given, correct=correct, scores={}, **more)  # type: ignore[arg-type]


ANSWERED = (
    answered("right", 0.9, correct=True, confidence_without=0.2),
    answered("right, and just sure enough", 0.5, correct=True, confidence_without=0.9),
    answered("right, and refused", 0.4, correct=True),
    answered("wrong", 0.8),
    answered("nothing to say", 0.45, answerable=False),
    answered("said all the same", 0.7, answerable=False),
)


def study() -> AnswerStudy:
    confidences, correct = [one.answer.confidence for one in ANSWERED], [one.correct for one in ANSWERED]
    curve = risk_coverage(confidences, correct)
    return AnswerStudy(answered=ANSWERED, threshold=0.5, scores={}, refusal=score_refusal(ANSWERED), curve=curve)


def test_outcomes_at_the_threshold() -> None:
    assert study().outcomes() == {"answerable": (2, 1, 1), "unanswerable": (0, 1, 1)}


def test_refusal_by_hand() -> None:
    refusal = study().refusal
    # .9 .5 .4 .8 against .45 .7: of eight pairs, five are in order; against .2 .9: four and half a tie.
    assert refusal["unanswerable"].estimate == 5 / 8
    assert refusal["removed"].estimate == 4.5 / 8
    assert score_refusal(ANSWERED[2:4]) == {}
    assert score_refusal(ANSWERED[4:]) == {}


def test_what_is_traced_as_a_failure(index: Index) -> None:
    questions = [one.question for one in ANSWERED]
    searched = search_all(OwnersRetriever.over(index, RetrievalConfig()), questions)
    truncation = measure_truncation(index.all_chunks(), index.encoder.token_spans, index.encoder.max_tokens)
    report = trace(study(), searched, index, truncation)
    assert report.n_questions == 6
    assert [miss.question_id for miss in report.misses] == ["right, and refused", "wrong", "said all the same"]


def test_probabilities_of_examples_come_from_a_fit_to_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_qa.studies.refusal.refusal_features", lambda evidence: evidence)
    generator = np.random.default_rng(0)
    labels = [n % 2 == 0 for n in range(60)]
    features = [generator.normal(size=17) + label for label in labels]

    def probabilities(flipped: int | None = None) -> list[float]:
        held = [label != (n == flipped) for n, label in enumerate(labels)]
        rows: list[Any] = list(features)  # in place of the evidence that they are made of
        return held_out_probabilities(
            [CalibrationExample(row, label, f"q{n}") for n, (row, label) in enumerate(zip(rows, held, strict=True))]
        )

    before = probabilities()
    assert roc_auc(np.array(before), np.array(labels)) > 0.8
    for flipped in (10, 11, 12, 13, 14):  # one of each of the five folds
        after = probabilities(flipped)
        assert [one == pytest.approx(other, abs=1e-12) for one, other in zip(before, after, strict=True)] == [
            n % 5 == flipped % 5 for n in range(60)
        ]


def test_questions_of_a_kind_of_their_own_are_counted() -> None:
    def one(id: str, kind: str) -> Question:
        return Question(id=id, text="?", answers=(), gold=(), kind=kind, part="test")

    questions = QuestionSet(
        questions=(one("1", "made of a sentence"), one("2", "why"), one("3", "fact"), one("4", "fact"))
    )
    assert list(questions.counts().items()) == [("fact", 2), ("why", 1), ("made of a sentence", 1)]


def test_words_are_counted_as_configured() -> None:
    data = EvaluationSet(name="x", documents=(plain_document("a", "Retrieving files"),), questions=(QUESTION,))
    with index_of(data, HashingEncoder(), ChunkingConfig(), sparse=SparseConfig(stemming=False)) as plain:
        assert plain.sparse.search("retrieved", 1) == []
    with index_of(data, HashingEncoder(), ChunkingConfig()) as stemmed:
        assert len(stemmed.sparse.search("retrieved", 1)) == 1


def test_a_third_of_the_made_questions_is_for_calibration(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = index.all_chunks()[0]
    made = [SyntheticQuestion(f"{n}?", "answer", chunk, 0, 9) for n in range(30)]
    monkeypatch.setattr("rag_qa.studies.corpus.make_questions", lambda chunks, n, seed: made)
    questions = made_questions(index, 0)
    assert [question.part for question in questions] == ["calibration", "test", "test"] * 10
    assert questions.questions[1].gold == (Gold(source=chunk.source, start=0, end=9, quote=chunk.text[:9]),)
    monkeypatch.setattr("rag_qa.studies.corpus.make_questions", lambda chunks, n, seed: made[1:])
    with pytest.raises(UserError) as caught:
        made_questions(index, 0)
    assert str(caught.value) == (
        "only 29 questions can be made of these documents, and 30 are needed: give more documents, or questions of "
        "your own"
    )
