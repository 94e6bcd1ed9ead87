"""What `rag-qa evaluate` and `rag-qa calibrate` print: tables of figures with their intervals."""

from collections.abc import Iterator, Mapping, Sequence

from rag_qa.commands.printing import harmless
from rag_qa.commands.terminal import aligned, columns, fitted, remarked, wrapped
from rag_qa.config import EvaluateConfig
from rag_qa.evaluation.comparison import Comparison
from rag_qa.evaluation.miss_tracing import MissReport
from rag_qa.studies.answers import REFUSAL_QUESTIONS, SCORES, AnswerStudy
from rag_qa.studies.measuring import Measured
from rag_qa.studies.retrieval import NAMES, RetrievalStudy
from roadmap_shared.metrics import Interval

_SHOWN = 70
_MISSES = 5
"""Failed questions that are shown."""


def measured_lines(measured: Measured, config: EvaluateConfig) -> Iterator[str]:
    """Every search, the answers, the refusals, and where failures come from."""
    yield from retrieval_lines(measured.retrieval, config)
    if measured.answers is None:
        why = "not asked for" if not config.answers else "the questions come without answers"
        yield f"answers: {why}"
        return
    yield from answer_lines(measured.answers)
    if measured.misses is not None:
        yield from miss_lines(measured.misses)


def miss_lines(report: MissReport) -> Iterator[str]:
    """Where questions were lost, and some of them."""
    yield f"\nlost: {report.line()}"
    for miss in report.misses[:_MISSES]:
        yield wrapped(f"{harmless(miss.question)} ({miss.detail})", "    ", f"  {miss.stage}: ", columns())
    if len(report.misses) > _MISSES:
        yield f"  and {len(report.misses) - _MISSES} more: --output writes all of them"


def retrieval_lines(study: RetrievalStudy, config: EvaluateConfig) -> list[str]:
    """One row a search."""
    settings = config.evaluation
    metrics = [f"ndcg@{settings.cutoffs[-1]}", *(f"recall@{k}" for k in settings.cutoffs[-2:]), "mrr"]
    n = len(study.best.question_ids)
    rows = [[f"{n} questions, {study.unit}", *metrics]]
    for name, scores in study.scores.items():
        intervals = (
            scores.interval(metric, confidence=settings.confidence, n_resamples=settings.n_resamples)
            for metric in metrics
        )
        rows.append([NAMES[name], *map(shown, intervals)])
    return ["", *fitted(rows, columns())]


def answer_lines(study: AnswerStudy) -> list[str]:
    """Scores of answers, and how well refusals are placed."""
    n = sum(one.question.answerable for one in study.answered)
    rows = [[f"{n} questions with an answer", "share", ""]]
    rows += [[name, shown(study.scores[name]), SCORES[name]] for name in SCORES if name in study.scores]
    refusals = [["refusal: answerable questions against", "AUROC"]]
    refusals += [[REFUSAL_QUESTIONS[name], shown(interval)] for name, interval in study.refusal.items()]
    counts = [[f"at a confidence of {study.threshold:g}", "right", "wrong", "refused"]]
    counts += [[name, *map(str, row)] for name, row in study.outcomes().items() if sum(row)]
    return ["", *remarked(rows, columns()), *(table(refusals) if study.refusal else []), *table(counts)]


def comparison_lines(comparison: Comparison, texts: Mapping[str, str]) -> Iterator[str]:
    """Means, difference with its interval, wins and losses, and the questions that changed most."""
    yield f"\n{comparison.line()}"
    yield "the interval excludes 0" if comparison.certain else "the interval holds 0: the difference may be chance"
    for change in comparison.changed:
        text = " ".join(harmless(texts[change.question_id]).split())
        text = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
        yield f"  {change.a:.3f} -> {change.b:.3f}  {harmless(change.question_id)}: {text}"


def shown(interval: Interval) -> str:
    """An estimate and its interval in a few signs."""
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their columns below each other, and an empty line before them."""
    return ["", *aligned(rows)]
