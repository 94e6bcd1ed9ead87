"""What the report says of the variants' quality."""

from collections.abc import Sequence
from typing import Literal

from model_optimization.config.sensitivity import MixedPrecisionConfig
from model_optimization.ledger.behaviour import CAPABILITIES
from model_optimization.ledger.flips import Flip, FlipStudy
from model_optimization.ledger.rows import Ledger, LedgerRow
from model_optimization.quantization.mixed_precision import MixedPrecision
from model_optimization.types import Texts
from roadmap_shared.metrics import Interval, paired_bootstrap, wilson_interval
from roadmap_shared.report import Block, Callout, Section, Table, Text

_SHOWN_FLIPS = 12
_SHOWN_CHARACTERS = 160


def ledger_table(ledger: Ledger, batches: Sequence[int]) -> Table:
    """One line a variant: size, time, quality."""
    columns = ["variant", "MB", *(name for batch in batches for name in (f"ms, {batch}", f"×, {batch}"))]
    columns += ["accuracy", "flips, %", "behaviour"]
    rows = []
    for row in ledger.rows:
        cells: list[str | float | Interval | None] = [row.name, row.size_mb]
        for batch in batches:
            latency, ratio = row.latency(batch), row.speedup(batch)
            cells += [latency.p50_ms if latency else None, ratio.estimate if ratio else None]
        flips = row.quality.flips
        cells += [
            row.quality.accuracy,
            None if flips is None else 100 * flips.share.estimate,
            row.quality.behaviour_share,
        ]
        rows.append(cells)
    formats = {name: ".1f" for name in columns if name.startswith(("MB", "ms"))}
    formats |= {name: ".2f" for name in columns if name.startswith(("×", "flips", "behaviour"))}
    best: dict[str, Literal["min", "max"]] = {name: "min" for name in columns if name.startswith(("MB", "ms"))}
    return Table(
        columns=columns,
        rows=rows,
        caption="The number behind a comma is the batch size: median milliseconds of one batch, and how many times as "
        "fast as the original. Controls have no times: they are the student's.",
        highlight_best=best,
        formats=formats,
    )


def flips_section(ledger: Ledger, shown: Sequence[LedgerRow]) -> Section:
    """How often each variant changes a label, and on which sentences those that are `shown` do."""
    rows = [
        [
            row.name,
            Interval(*(100 * end for end in (study.share.estimate, study.share.low, study.share.high))),
            study.harmful,
            study.helpful,
            None if row.quality.against_original is None else _signed(row),
        ]
        for row in ledger.rows
        if (study := row.quality.flips) is not None
    ]
    blocks: list[Block] = [
        Table(
            ("variant", "flips, %", "right → wrong", "wrong → right", "accuracy, difference"),
            rows,
            "95 % intervals; the difference of accuracies is paired by text.",
        )
    ]
    for row in shown:
        if row.quality.flips is not None:
            blocks += _sentences(row.name, row.quality.flips)
    return Section(
        "Flipped sentences",
        blocks,
        "Accuracy hides what changes: for each text that is wrong now, another may be right. Who relied on the "
        "original sees both.",
    )


def _signed(row: LedgerRow) -> str:
    comparison = row.quality.against_original
    assert comparison is not None
    return f"{comparison.difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}]"


def _sentences(name: str, study: FlipStudy) -> list[Block]:
    if not study.flips:
        return [Text(f"**{name}** gives every test text the label that the original gives.")]
    shown = study.flips[:_SHOWN_FLIPS]
    return [
        Table(
            ("text", "is", "original", "variant"),
            [[_short(flip), flip.target, *_said(flip)] for flip in shown],
            f"Texts on which {name} differs, {len(shown)} of {len(study.flips)}, those first on which both are sure. "
            "Those of all variants are in flips.jsonl.",
        )
    ]


def _short(flip: Flip) -> str:
    text = flip.text
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1].rstrip() + "…"


def _said(flip: Flip) -> tuple[str, str]:
    return f"{flip.before} {flip.confidence_before:.2f}", f"{flip.after} {flip.confidence_after:.2f}"


def behaviour_section(ledger: Ledger) -> Section:
    """Which abilities a variant lost, and on which pairs."""
    judged = [row for row in ledger.rows if row.quality.behaviour is not None]
    title = "Behaviour"
    if not judged:
        return Section(
            title,
            [Callout("The labels are not those of sentiment: the authored pairs say nothing of this classifier.")],
        )
    rows = [
        [row.name, *(one.passed.estimate for one in row.quality.behaviour or ()), row.quality.behaviour_share]
        for row in judged
    ]
    numbers = [*CAPABILITIES, "mean"]
    blocks: list[Block] = [
        Table(("variant", *numbers), rows, formats=dict.fromkeys(numbers, ".2f")),
        *_unlearned(judged[0], judged[1:]),
    ]
    return Section(
        title,
        blocks,
        "Share of authored pairs that are right: a negation turns the label, the side that wins a contrast decides, an "
        "intensifier makes no text less sure, an emoji decides. An encoder whose vocabulary has no emoji reads each of "
        "them as the same unknown word, and cannot pass the last column.",
    )


def _unlearned(original: LedgerRow, others: Sequence[LedgerRow]) -> list[Block]:
    """Pairs that the original tells apart, and a variant does not."""
    known = {_pair(line) for one in original.quality.behaviour or () for line in one.failures}
    lines = []
    for row in others:
        new = [line for one in row.quality.behaviour or () for line in one.failures if _pair(line) not in known]
        if new:
            lines.append(f"- **{row.name}** ({len(new)}): {new[0]}")
    if not lines:
        return []
    return [
        Text("Pairs that only the variant gets wrong, with their number and the first of them:\n\n" + "\n".join(lines))
    ]


def _pair(failure: str) -> tuple[str, ...]:
    """The two texts of a failure, without what was said of them."""
    return tuple(part.rpartition(" → ")[0] for part in failure.split(" / "))


def mixed_section(mixed: MixedPrecision, goal: MixedPrecisionConfig) -> Section:
    """Which matrices stay in fp32, and how that was found."""
    share = wilson_interval(mixed.flips, mixed.n)
    rows = [
        [
            number,
            len(trial.excluded),
            trial.excluded[-1] if trial.excluded else "",
            100 * trial.flips / mixed.n,
            trial.accuracy,
            "yes" if trial.meets_goal else "no",
        ]
        for number, trial in enumerate(mixed.trials, 1)
    ]
    return Section(
        "What stays in fp32",
        [
            Table(
                ("trial", "matrices in fp32", "added", "flips, %", "accuracy", "meets the goal"),
                rows,
                f"On {mixed.n:,} validation texts; the goal: at most {goal.max_flips:.1%} flips and "
                f"{goal.max_accuracy_loss:.1%} of the texts lost.",
                formats={"flips, %": ".2f", "accuracy": ".4f"},
            ),
            Text(
                f"{mixed.summary.capitalize()}. On so few texts that share may be anything from {share.low:.1%} to "
                f"{share.high:.1%} (95 %): a goal that is met here may be missed on other texts, by chance alone."
            ),
        ],
        "A few matrices cause most of the damage. They are found by quantising one at a time, and left out one after "
        "the other until the goal is met.",
    )


def student_section(ledger: Ledger, test: Texts) -> Section:
    """Whether the teacher helped: the student beside its controls."""
    student, plain, fresh = (ledger.row(name) for name in ("student", "student_labels_only", "student_random_start"))
    title = "Did distillation help?"
    if student is None:
        return Section(title, [Text("No student was made.")])
    blocks: list[Block] = []
    for control, what in ((plain, "the teacher's answers add"), (fresh, "the teacher's answers and weights add")):
        if control is None:
            continue
        right = [row.quality.logits.argmax(1) == test.targets for row in (control, student)]
        found = paired_bootstrap(*right)
        blocks.append(
            Text(
                f"Against **{control.name}**: {what} {100 * found.difference:+.1f} points "
                f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]; the student is better in "
                f"{found.probability_b_better:.0%} of the resamples. "
                + (
                    "The interval excludes 0."
                    if found.low > 0 or found.high < 0
                    else "The interval does not exclude 0."
                )
            )
        )
    blocks.append(
        Callout(
            "One training each: another seed would move these figures, too. "
            "`model-optimization distil --controls.seeds 5` trains several, and tells their spread."
        )
    )
    return Section(
        title,
        blocks,
        "A student may owe what it can to the teacher's answers, to the weights that it started from, or to the labels "
        "alone. The controls take the same steps without the one or the other.",
    )


def recipes_section(ledger: Ledger) -> Section:
    """How each variant was made."""
    rows = [[row.name, row.info.parent or "", row.summary, " ".join(row.info.notes)] for row in ledger.rows]
    return Section("How they were made", [Table(("variant", "made from", "what it is", "mind"), rows)])
