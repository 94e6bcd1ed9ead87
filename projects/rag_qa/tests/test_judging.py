"""Answers judged by the model that wrote them, and language models behind the search, with a scripted one."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rag_qa.assistant import Assistant, model_of
from rag_qa.cli import main
from rag_qa.config import EvaluationConfig, GenerationConfig, RetrievalConfig
from rag_qa.document_processor.index import Index
from rag_qa.evaluation.evaluation_set import EvaluationQuestion
from rag_qa.generation.extractive import ExtractiveGenerator
from rag_qa.generation.prompted import Message, PromptedGenerator
from rag_qa.generation.risk_coverage import risk_coverage
from rag_qa.protocols import Turn
from rag_qa.retrieval.hybrid import HybridRetriever
from rag_qa.studies.answers import Answered, AnswerStudy
from rag_qa.studies.judging import judged_by
from rag_qa.types import Answer
from roadmap_shared.errors import UserError

from .command_files import facts
from .generation_fakes import KETTLE, WordEncoder, retrieved
from .small_index import SmallIndex
from .test_evaluate_command import squad

GOOD = '{"statements": [{"statement": "a", "supported": true}, {"statement": "b", "supported": false}]}'


class Scripted(PromptedGenerator):
    """Replies to each prompt with the next of its texts, and raises those that are errors."""

    name = "scripted"
    context_window = 10_000  # type: ignore[assignment]

    def __init__(self, *replies: str | Exception) -> None:
        super().__init__(GenerationConfig(), WordEncoder())
        self.replies, self.prompts = list(replies), list[str]()

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return 1

    def complete(self, messages: Sequence[Message]) -> Iterator[str]:
        assert messages[-1]["role"] == "user"
        self.prompts.append(messages[-1]["content"])
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        yield reply[:3]
        yield reply[3:]


def study(*questions: str, refused: Sequence[str] = ()) -> AnswerStudy:
    answered = tuple(
        Answered(
            question=EvaluationQuestion(id=f"id of {text}", text=text),
            answer=Answer(
                question=text,
                text=f"answer to {text}",
                statements=(),
                span=None,
                confidence=0.9,
                refused=text in refused,
                retrieved=tuple(retrieved(KETTLE)),
                generator="scripted",
            ),
            correct=True,
            scores={},
        )
        for text in questions
    )
    curve = risk_coverage([0.9] * len(answered), [True] * len(answered))
    return AnswerStudy(answered=answered, threshold=0.5, scores={}, refusal={}, curve=curve)


JUDGED = EvaluationConfig(judge=True)


def test_failures_are_counted_told_and_kept_out_of_the_means() -> None:
    judge = Scripted(GOOD, '{"questions": ["one?"]}', "no idea", UserError("the server is gone"))
    said: list[str] = []
    judged = judged_by(judge, study("one?", "two?", "no", refused=["no"]), WordEncoder().encode, JUDGED, said.append)
    assert judged is not None
    assert KETTLE in judge.prompts[0]
    assert "Answer: answer to one?" in judge.prompts[1]
    assert said == [
        "faithfulness: 0.500 (0.500 to 0.500) over 1 answers; the judge failed on 1 more",
        "relevance: 1.000 (1.000 to 1.000) over 1 answers; the judge failed on 1 more",
    ]
    means, failures = judged.figures()
    assert {name: mean.estimate for name, mean in means.items()} == pytest.approx(
        {"judged_faithfulness": 0.5, "judged_relevance": 1.0}
    )
    assert failures == {"judged_faithfulness_failed": 1, "judged_relevance_failed": 1}
    by_question = judged.by_question()
    assert set(by_question) == {"id of one?", "id of two?"}
    assert by_question["id of one?"]["faithfulness"] == {"score": 0.5, "failure": ""}
    assert by_question["id of two?"] == {
        "faithfulness": {"score": None, "failure": "no JSON: 'no idea'"},
        "relevance": {"score": None, "failure": "the judge raised UserError: the server is gone"},
    }


def test_a_judge_that_always_fails_leaves_no_mean() -> None:
    judged = judged_by(Scripted("?", "?"), study("one?"), WordEncoder().encode, JUDGED, lambda line: None)
    assert judged is not None
    assert judged.figures() == ({}, {"judged_faithfulness_failed": 1, "judged_relevance_failed": 1})


def test_nobody_is_asked_where_it_is_not_asked_for_or_there_is_no_model() -> None:
    encode = WordEncoder().encode
    assert judged_by(Scripted(), study("one?"), encode, EvaluationConfig()) is None
    extractive = ExtractiveGenerator(GenerationConfig(), WordEncoder())
    assert judged_by(extractive, study("one?"), encode, JUDGED) is None


@pytest.mark.parametrize("command", ["evaluate", "run"])
def test_judging_without_a_language_model_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [str(squad(tmp_path / "s.json"))] if command == "evaluate" else ["--run.root", str(tmp_path)]
    assert main([command, *data, "--evaluation.judge", "True"]) == 2
    message = "--evaluation.judge needs a language model: --generation.kind hf or openai"
    assert capsys.readouterr().err.endswith(f"rag-qa {command}: {message}\n")


def test_evaluate_judges_the_answers_of_its_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = facts(1)[0][1]
    judge = Scripted(*[answer] * 4, GOOD, '{"questions": ["How many boats?"]}', "?", "?")
    judge.calibrator = _Sure()  # type: ignore[assignment]
    monkeypatch.setattr("rag_qa.studies.answers.build_generator", lambda *arguments: judge)
    output = tmp_path / "out.jsonl"
    flags = ["--generation.kind", "openai", "--generation.model", "m", "--evaluation.judge", "True"]
    path = squad(tmp_path / "s.json", unanswerable=False)
    assert main(["evaluate", str(path), "--evaluation.limit", "2", "--output", str(output), *flags]) == 0
    said = capsys.readouterr().out
    assert "\nfaithfulness: 0.500 (0.500 to 0.500) over 1 answers; the judge failed on " in said
    records = [json.loads(line)["first"] for line in output.read_text().splitlines()]
    assert records[0]["judged"]["faithfulness"] == {"score": 0.5, "failure": ""}


class _Sure:
    """A calibration by which everything is answered."""

    def probability(self, evidence: object) -> float:
        return 0.9


HISTORY = [Turn("Where was Nikola Tesla born?", "In Smiljan.")]


@pytest.mark.parametrize(
    ("rewrite", "searched"),
    [
        ("none", "When did he die?"),
        ("rules", "Nikola Tesla born: When did he die?"),
        ("model", "When did Tesla die?"),
    ],
)
def test_who_makes_a_follow_up_stand_alone(rewrite: str, searched: str) -> None:
    index = SmallIndex()
    generator = Scripted("When did Tesla die?")
    assistant = Assistant(index, HybridRetriever.over(index), generator, rewrite)  # type: ignore[arg-type]
    assert assistant.standalone("When did he die?", HISTORY) == searched
    assert len(generator.prompts) == (rewrite == "model")
    assert [item.chunk.text for item in assistant.search("blue sky?")] == [
        item.chunk.text for item in assistant.retriever.search("blue sky?")
    ]


def test_a_model_that_is_to_rewrite_has_to_be_there() -> None:
    with Index.create(None, WordEncoder()) as index, pytest.raises(UserError) as caught:
        Assistant.over(index, RetrievalConfig(rewrite="model"), GenerationConfig())
    assert str(caught.value) == "--retrieval.rewrite model needs a language model: --generation.kind hf or openai"


def test_the_model_words_a_question_anew_for_several_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = Scripted("blue sky\nthe sea")
    monkeypatch.setattr("rag_qa.assistant.build_generator", lambda *arguments: generator)
    with Index.create(None, WordEncoder()) as index:
        assistant = Assistant.over(index, RetrievalConfig(multi_query=2), GenerationConfig())
        assert isinstance(assistant.retriever, HybridRetriever)
        assert assistant.retriever.stages("apple").queries == ("apple", "blue sky", "the sea")
    assert model_of(None) is None
