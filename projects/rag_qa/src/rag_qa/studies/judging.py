"""Answers judged by a language model: faithfulness and relevance, with the judge's failures beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rag_qa.assistant import model_of
from rag_qa.config import EvaluationConfig, GenerationConfig
from rag_qa.evaluation.judged import Encode, Judge, JudgedReport, Judgement, judge_faithfulness, judge_relevance
from rag_qa.protocols import AnswerGenerator
from rag_qa.studies.answers import Answered, AnswerStudy
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import Interval
from roadmap_shared.progress import progress


@dataclass(frozen=True, kw_only=True)
class JudgedStudy:
    """Judgements of all answers that were given."""

    question_ids: tuple[str, ...]
    reports: Mapping[str, JudgedReport]
    """`faithfulness` and `relevance`; their judgements in the order of `question_ids`."""

    def figures(self) -> tuple[dict[str, Interval], dict[str, int]]:
        """Means over the answers that were judged, and for each metric the number of those that were not."""
        means = {f"judged_{name}": mean for name, report in self.reports.items() if (mean := report.interval())}
        return means, {f"judged_{name}_failed": report.n_failed for name, report in self.reports.items()}

    def by_question(self) -> dict[str, dict[str, Any]]:
        """Score and failure of each metric, by question id."""
        records: dict[str, dict[str, Any]] = {id: {} for id in self.question_ids}
        for name, report in self.reports.items():
            for id, judgement in zip(self.question_ids, report.judgements, strict=True):
                records[id][name] = {"score": judgement.score, "failure": judgement.failure}
        return records


def check_judge(evaluation: EvaluationConfig, generation: GenerationConfig) -> None:
    """Raise UserError where answers are to be judged and there is no language model to do so."""
    if evaluation.judge and generation.kind == "extractive":
        raise UserError("--evaluation.judge needs a language model: --generation.kind hf or openai")


def judged_by(
    generator: AnswerGenerator,
    study: AnswerStudy,
    encode: Encode,
    config: EvaluationConfig,
    say: Callable[[str], None] = print,
) -> JudgedStudy | None:
    """The answers as the model that wrote them judges them, which is told; None where that is not asked for."""
    judge = model_of(generator)
    if not config.judge or judge is None:
        return None
    judged = judge_answers(study, judge, encode)
    for report in judged.reports.values():
        say(report.line())
    return judged


def judge_answers(study: AnswerStudy, judge: Judge, encode: Encode) -> JudgedStudy:
    """Judge each answer that is not a refusal: its statements by the passages, and itself by the question.

    Args:
        study: answers.
        judge: prompt to the model's reply; whatever it raises counts as a failure.
        encode: texts to unit vectors.
    """
    given = [one for one in study.answered if not one.answer.refused]
    found: dict[str, list[Judgement]] = {"faithfulness": [], "relevance": []}
    for one in progress(given, "judging", "answer"):
        found["faithfulness"].append(_faithful(judge, one))
        found["relevance"].append(judge_relevance(judge, encode, one.question.text, one.answer.text))
    return JudgedStudy(
        question_ids=tuple(one.question.id for one in given),
        reports={name: JudgedReport(metric=name, judgements=tuple(rows)) for name, rows in found.items()},
    )


def _faithful(judge: Judge, one: Answered) -> Judgement:
    passages = [item.chunk.text for item in one.answer.retrieved]
    return judge_faithfulness(judge, one.question.text, one.answer.text, passages)
