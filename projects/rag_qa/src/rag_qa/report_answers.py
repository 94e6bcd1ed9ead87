"""The parts of the report about answers: scores, failures by stage, samples."""

from rag_qa.evaluation.miss_tracing import Miss, MissReport, Stage
from rag_qa.studies.answers import SCORES, AnswerStudy
from roadmap_shared.report import Block, Sample, Section, Table, Text

N_MISSES, N_SAMPLES = 3, 6
STAGES = (
    "sparse, dense: that search did not have the passage among its candidates, and the other did not make up for it; "
    "search: neither had it; fusion: it was found, and ranked behind the passages that are read; answering: it was "
    "read."
)


def answers_section(study: AnswerStudy) -> Section:
    """Means over the answerable questions."""
    rows = [[SCORES[name], study.scores[name]] for name in SCORES if name in study.scores]
    n = sum(one.question.answerable for one in study.answered)
    return Section(
        "How good the answers are",
        [Table([f"of {n} answerable questions", "share"], rows)],
        intro="Measured before anything is refused. The first line bounds all others: what was not retrieved cannot be "
        "answered.",
    )


def misses_section(misses: MissReport) -> Section:
    """Failures by the stage that lost the answer, and some of them."""
    counts = [[str(stage), count] for stage, count in misses.counts().items() if count]
    blocks: list[Block] = [Text(f"{misses.line()}. {where_to_work(misses)}")]
    if counts:
        blocks.append(Table(["lost in", "questions"], counts, caption=STAGES))
        by_stage: dict[str, list[Miss]] = {}
        for miss in misses.misses:
            by_stage.setdefault(miss.stage, []).append(miss)
        shown = [miss for group in by_stage.values() for miss in group[-N_MISSES:]]
        rows = [[miss.question, str(miss.stage), miss.detail] for miss in shown]
        blocks.append(
            Table(
                ["question", "lost in", "what happened"],
                rows,
                caption=f"Up to {N_MISSES} of each stage; all are in misses.jsonl.",
            )
        )
    return Section(
        "Why did I miss it?",
        blocks,
        intro="Each question that was answered wrongly or, though it has an answer, refused, traced to the first stage "
        "that lost the passage with the answer. A better generator mends only the last of them.",
    )


def where_to_work(misses: MissReport) -> str:
    """What a better search and a better generator could mend at most; empty where nothing failed."""
    counts = misses.counts()
    answering = counts[Stage.ANSWERING]
    before = sum(counts.values()) - answering
    if not before + answering:
        return ""
    return f"A better search could mend at most {before} of them, a better generator {answering}."


def samples_section(study: AnswerStudy) -> Section:
    """Some answers: right, wrong, and refused."""
    blocks: list[Block] = []
    for label, wanted in (
        ("right", lambda one: one.correct and one.answer.confidence >= study.threshold),
        ("wrong", lambda one: not one.correct and one.answer.confidence >= study.threshold),
        ("refused", lambda one: one.answer.confidence < study.threshold),
    ):
        for one in [one for one in study.answered if wanted(one)][-N_SAMPLES // 3 :]:
            lines = []
            for statement in one.answer.statements:
                places = "; ".join(f"{c.source} [{c.start}, {c.end})" for c in statement.citations)
                lines.append(f"{' '.join(statement.text.split())}\n    -> {places}")
            if one.question.answers:
                lines.append(f"accepted: {' / '.join(one.question.answers)}")
            else:
                lines.append("accepted: the documents do not say")
            blocks.append(
                Sample(
                    "\n".join(lines),
                    label=f"{label}, confidence {one.answer.confidence:.2f}",
                    prompt=f"{one.question.text}\n",
                )
            )
    return Section("Samples", blocks, intro="Of the refused ones, what would have been answered.")
