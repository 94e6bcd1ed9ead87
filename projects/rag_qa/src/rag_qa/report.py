"""The report of a run."""

from collections.abc import Callable
from dataclasses import dataclass

from rag_qa.config import RagConfig
from rag_qa.corpus.questions import QuestionSet
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.truncation import TruncationReport
from rag_qa.evaluation.miss_tracing import MissReport
from rag_qa.figures import recall_figure, risk_coverage_figure
from rag_qa.generation.injection_range import RangeRow
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.risk_coverage import RiskCoverage
from rag_qa.report_answers import answers_section, misses_section, samples_section
from rag_qa.run_layout import INDEX
from rag_qa.studies.answers import REFUSAL_QUESTIONS, AnswerStudy
from rag_qa.studies.corpus import Corpus
from rag_qa.studies.retrieval import NAMES, RetrievalStudy
from roadmap_shared.metrics import Interval
from roadmap_shared.report import (
    Block,
    Callout,
    Code,
    Figure,
    KeyFigure,
    KeyFigures,
    Report,
    Section,
    Table,
    Text,
    render,
)
from roadmap_shared.runs import Run


@dataclass(frozen=True)
class Findings:
    """All that the report shows."""

    config: RagConfig
    run: Run
    corpus: Corpus
    index: Index
    truncation: TruncationReport
    questions: QuestionSet
    retrieval: RetrievalStudy
    calibrator: Calibrator | None
    """Of refusal, fitted in this run; None: the one that comes with the package."""

    answers: AnswerStudy
    misses: MissReport
    attacks: list[RangeRow]
    alarms: list[tuple[str, tuple[str, ...]]]


def rag_report(found: Findings) -> str:
    """The whole page as HTML; also saves its figures in the run folder."""
    report = Report(
        title="Questions to documents",
        subtitle=f"{len(found.index.documents())} documents in {len(found.index.store.ids()):,} chunks, "
        f"{len(found.answers.answered)} test questions.",
        project="rag_qa",
        command=f"rag-qa run --config {found.run.folder / 'config.yaml'}",
        facts={
            "documents": found.corpus.origin,
            "encoder": f"{found.index.encoder_name}, {found.index.dimension} numbers a chunk",
            "answers by": found.config.generation.kind,
            "seed": str(found.run.seed),
            "seconds": round(found.run.seconds),
        },
        lead=[headline(found)],
        sections=[
            retrieval_section(found),
            answers_section(found.answers),
            refusal_section(found),
            misses_section(found.misses),
            samples_section(found.answers),
            attacks_section(found),
            corpus_section(found),
            next_section(found),
        ],
    )
    return render(report)


def headline(found: Findings) -> KeyFigures:
    """The figures at the top of the page."""
    scores, cutoffs = found.retrieval.best, found.config.evaluation.cutoffs
    ndcg, recall = f"ndcg@{cutoffs[-1]}", recall_as_read(found)
    figures = [
        KeyFigure(ndcg.replace("ndcg", "nDCG"), scores.interval(ndcg), f"of {found.retrieval.unit}"),
        KeyFigure(recall, scores.interval(recall), f"share of the {found.retrieval.unit} that are needed"),
    ]
    if "answer_f1" in found.answers.scores:
        figures.append(KeyFigure("answer F1", found.answers.scores["answer_f1"], "of the shortest words that answer"))
    if "unanswerable" in found.answers.refusal:
        figures.append(KeyFigure("refusal AUROC", found.answers.refusal["unanswerable"], "of 0.5 by chance to 1"))
    return KeyFigures(figures)


def retrieval_section(found: Findings) -> Section:
    """Every search on the same questions, overall and by kind."""
    study, config = found.retrieval, found.config.evaluation
    metrics = [f"ndcg@{config.cutoffs[-1]}", recall_as_read(found), "mrr"]
    rows = [[NAMES[name], *(scores.interval(metric) for metric in metrics)] for name, scores in study.scores.items()]
    figure = recall_figure(study.scores, config.cutoffs)
    found.run.log_figure("recall", figure)
    blocks: list[Block] = [
        Table(["search", *metrics], rows, caption="95 % intervals over the questions."),
        Figure(figure, what_to_see(recall_figure)),
    ]
    for name, comparison in study.comparisons.items():
        blocks.append(Text(f"{NAMES[study.last].capitalize()} against {NAMES[name]}. {comparison.line()}."))
    blocks.append(by_kind(found))
    return Section(
        "Which search finds the passages",
        blocks,
        intro="BM25 finds words, embeddings find meaning, and each misses what the other finds. A gold passage counts "
        "as found by the first chunk that holds all of it.",
    )


def recall_as_read(found: Findings) -> str:
    """Name of the recall at the number of passages that are read, or at the nearest one that is measured."""
    cutoffs = found.config.evaluation.cutoffs
    return f"recall@{min(cutoffs, key=lambda k: abs(k - found.config.retrieval.k))}"


def what_to_see(figure: Callable[..., object]) -> str:
    """The part of a figure's docstring that is for the reader of the report."""
    text = " ".join((figure.__doc__ or "").partition("What to see: ")[2].split())
    return text[:1].upper() + text[1:]


def by_kind(found: Findings) -> Table:
    """Recall of each search by kind of question."""
    kinds = {question.id: question.kind for question in found.questions}
    rows = []
    ids = found.retrieval.best.question_ids
    recall = recall_as_read(found)
    for kind in dict.fromkeys(kinds[id] for id in ids):
        own = [i for i, id in enumerate(ids) if kinds[id] == kind]
        values = [float(scores.values[recall][own].mean()) for scores in found.retrieval.scores.values()]
        rows.append([kind, len(own), *values])
    return Table(
        ["kind of question", "questions", *(NAMES[name] for name in found.retrieval.scores)],
        rows,
        caption=f"{recall}. A paraphrase shares no content word with its passage; a keyword question names an "
        "identifier.",
        formats={NAMES[name]: ".2f" for name in found.retrieval.scores},
    )


def refusal_section(found: Findings) -> Section:
    """Whether the confidence tells questions with an answer from those without."""
    study = found.answers
    figure = risk_coverage_figure(study.curve, study.threshold)
    found.run.log_figure("risk_coverage", figure)
    rows = [[REFUSAL_QUESTIONS[name], interval] for name, interval in study.refusal.items()]
    outcomes = study.outcomes()
    return Section(
        "Knowing when there is no answer",
        [
            Table(["answerable questions against", "AUROC of the confidence"], rows),
            Table(
                ["questions", "answered rightly", "answered wrongly", "refused"],
                [[name, *counts] for name, counts in outcomes.items() if sum(counts)],
                caption=f"At a confidence of {study.threshold:g}.",
            ),
            Figure(figure, f"{what_to_see(risk_coverage_figure)} {surest_half(study.curve)}"),
        ],
        intro=f"A logistic regression over what was retrieved. {fitted_on(found.calibrator)}",
    )


def surest_half(curve: RiskCoverage) -> str:
    """What caution buys, in a sentence."""
    half = min(range(len(curve.coverage)), key=lambda i: abs(curve.coverage[i] - 0.5))
    return (
        f"Of the surest {curve.coverage[half]:.0%} of the answers {curve.risk[half]:.0%} are wrong, of all "
        f"{curve.risk[-1]:.0%}."
    )


def fitted_on(calibrator: Calibrator | None) -> str:
    """Where the calibration of refusal comes from, in a sentence."""
    if calibrator is None:
        return "It is the one that comes with the package: there are too few questions to fit one to these documents."
    return (
        f"It is fitted on {calibrator.n_examples} examples: questions with their passages, and the same questions with "
        "the passages taken away. None of them is in the test."
    )


def attacks_section(found: Findings) -> Section:
    """What planted instructions reach."""
    rows = [
        [
            row.generator,
            row.defence,
            row.n,
            row.n_read,
            Interval(row.n_succeeded / row.n, row.low, row.high),
            row.n_right,
        ]
        for row in found.attacks
    ]
    blocks: list[Block] = [
        Table(
            ["generator", "defence", "attacks", "came through the reader", "success", "still the true figure"],
            rows,
            caption="Attacks planted in PDF, DOCX and HTML, visible and hidden. `obedient` is a test double that "
            "follows every instruction it sees: the worst case. `heeds delimiters` follows those outside of marked "
            "text alone. Defences: `delimit` puts retrieved text between marks, `datamark` marks each blank in it, "
            "`filter` takes out sentences that read like instructions, `layered` is `delimit` and `filter`.",
        ),
        Text(f"Harmless sentences that the detector takes for instructions: {len(found.alarms)}."),
    ]
    return Section("Instructions hidden in documents", blocks)


def corpus_section(found: Findings) -> Section:
    """Chunks, and what the encoder sees of them."""
    chunking = found.config.chunking
    counts = ", ".join(f"{count} {kind}" for kind, count in found.questions.counts().items())
    blocks: list[Block] = [
        Text(f"Splitter `{chunking.splitter}`, up to {chunking.size} tokens, {chunking.overlap} of them shared."),
        Text(f"{found.truncation.line()}."),
        Text(f"Questions: {counts}."),
    ]
    if found.questions.dropped:
        ids = ", ".join(one.id for one in found.questions.dropped)
        blocks.append(Callout(f"Left out, their passages are not in this version of the documents: {ids}.", "warning"))
    return Section("The documents and the questions", blocks)


def next_section(found: Findings) -> Section:
    """Commands to go on with."""
    index = found.run.folder / INDEX
    return Section(
        "What to try next",
        [
            Code(f'rag-qa ask "What does the with statement do?" --index {index}'),
            Code(f'rag-qa search "context manager" --index {index}'),
            Code("make project-4 ARGS='--chunking.splitter sentence --chunking.size 96'"),
            Code("make project-4 ARGS='--retrieval.mode sparse'"),
            Code('rag-qa ingest MY-DOCUMENTS && rag-qa ask "…"'),
        ],
    )
