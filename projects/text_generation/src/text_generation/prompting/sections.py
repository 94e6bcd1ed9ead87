"""Report sections of the prompt studies: results in, blocks of `roadmap_shared.report` out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from roadmap_shared.metrics import Interval
from roadmap_shared.report import Block, Callout, Section, Table, Text
from roadmap_shared.report.blocks import Cell
from text_generation.prompting.ab_test import ABResult, Comparison, Measure
from text_generation.prompting.injection import FEWEST_CASES, DefenceResult, LabResult
from text_generation.prompting.injection_detector import Detector
from text_generation.prompting.search_types import SearchResult
from text_generation.prompting.self_consistency import Vote, shares_right

if TYPE_CHECKING:
    from text_generation.prompting.constrained_cost import ConstraintCost

FEW_CASES = 30
"""Cases below which a percentile bootstrap interval is too narrow (`bootstrap_interval`)."""


MEASURES: Mapping[Measure, tuple[str, str]] = {
    "score": ("score", "1 is right; 95 % intervals, Wilson's where each answer is right or wrong, else bootstrap"),
    "nats_per_byte": ("nats a byte", "of the reference answer, fewer are better; 95 % bootstrap intervals"),
}
"""How a report calls a measure, and what it says of it."""


def ab_section(result: ABResult, rejected: str = "") -> Section:
    """A table a measure: every template's mean, and how it does beside the first."""
    blocks: list[Block] = [
        _measure_table(result, measure) for measure in MEASURES if result.scores[0].values(measure) is not None
    ]
    blocks.append(
        Text(
            "A template is called better where the 95 % interval of the paired difference leaves out 0. The "
            "log-likelihood asks how probable the prompt makes the **reference** answer; it tells templates apart "
            "where a model's own answers are all wrong. It is unfair to a template that asks for reasoning before "
            "the answer."
        )
    )
    if result.n_cases < FEW_CASES:
        blocks.append(Callout(f"With {result.n_cases} cases the bootstrap intervals are too narrow.", "warning"))
    if rejected:
        blocks.append(Callout(rejected, "warning"))
    return Section("Templates compared", blocks)


def _measure_table(result: ABResult, measure: Measure) -> Table:
    name, remark = MEASURES[measure]
    compared = {comparison.b: comparison for comparison in result.comparisons if comparison.measure == measure}
    rows = [
        [f"{of.template.name} {of.template.version}", of.mean(measure), *_beside(compared.get(of.template.name))]
        for of in result.scores
    ]
    return Table(
        ["template", name, "difference", "better in", "ties", "verdict"],
        rows,
        caption=f"Mean {name} over {result.n_cases} cases ({remark}). Each template beside the first on the same "
        "cases: paired difference of the means, and share of the cases in which it is better, a tie counting one half.",
    )


def _beside(comparison: Comparison | None) -> list[Cell]:
    """The cells of a template beside the first; none for the first itself."""
    if comparison is None:
        return [None, None, None, "the first"]
    difference, told = comparison.difference, comparison.verdict
    return [
        Interval(difference.difference, difference.low, difference.high),
        comparison.b_better,
        comparison.n_ties,
        {f"{comparison.b} better": "better", f"{comparison.a} better": "worse"}.get(told, told),
    ]


def votes_section(votes: Sequence[Vote], references: Sequence[str]) -> Section:
    """Self-consistency: how often the vote is right, beside a single sample."""
    right = shares_right(votes, references)
    gain = right.gain
    rows: list[list[Cell]] = [
        ["prompts", len(votes)],
        ["samples of each", votes[0].n_samples],
        ["right by vote", right.by_vote],
        ["right by one sample, on average", right.by_one_sample],
        ["gain", Interval(gain.difference, gain.low, gain.high)],
        ["votes that ended in a tie", sum(bool(vote.tied) for vote in votes)],
        ["samples without an answer", sum(vote.n_without_answer for vote in votes)],
    ]
    caption = (
        "95 % intervals over the prompts: of shares Wilson's where each prompt scores 0 or 1, else bootstrap; of the "
        "gain, paired bootstrap."
    )
    remark = Text("Of answers with equally many votes, the one that was given first counts (Wang et al. 2023).")
    return Section("Self-consistency", [Table(["", "value"], rows, caption=caption), remark])


def search_section(result: SearchResult) -> Section:
    """The winner of a prompt search, and what it gained on held-out cases."""
    gain = result.gain
    rows: list[list[Cell]] = [
        [name, of.instruction or "(none)", of.n_examples, of.source, score]
        for name, of, score in (
            ("baseline", result.baseline, result.baseline_score),
            ("winner", result.winner, result.winner_score),
        )
    ]
    rounds: list[list[Cell]] = [
        [number, of.generation + 1, len(of.means), of.n_cases, of.means[0][0].instruction or "(none)", of.means[0][1]]
        for number, of in enumerate(result.rounds, start=1)
    ]
    blocks: list[Block] = [
        Table(
            ["", "instruction", "examples", "source", "held-out score"],
            rows,
            caption=f"{result.calls} of {result.budget} calls, {result.n_held_out} held-out cases; 95 % "
            "intervals (Wilson's where each answer is right or wrong, else bootstrap).",
        ),
        Text(
            f"Gain on the held-out cases: **{gain.difference:.4f}** [{gain.low:.4f}, {gain.high:.4f}]. On the search "
            f"cases the winner scored {result.search_score:.4f}; it was picked for that number, which is therefore "
            "too high."
        ),
        Table(
            ["round", "generation", "candidates", "cases", "leader", "its score"], rounds, caption="Successive halving."
        ),
    ]
    if gain.low <= 0 <= gain.high:
        blocks.append(Callout("The interval of the gain holds 0: the winner cannot be told apart from the baseline."))
    return Section("Prompt search", blocks)


def constraint_section(cost: "ConstraintCost", what: str) -> Section:
    """What a constraint brings and what it costs. `what`: "JSON Schema", "Python functions"."""
    columns = ["", "valid as it stands", "ended within the limit", "tokens/s", "nats per token"]
    rows: list[list[Cell]] = []
    for name, texts, valid, cut_valid in (
        ("free", cost.free, cost.free_valid, cost.free_cut_valid),
        ("constrained", cost.constrained, cost.constrained_valid, cost.constrained_cut_valid),
    ):
        ended = [text.complete for text in texts]
        rows.append([name, _of(valid), _of(ended), cost.tokens_per_second(texts), cost.nats_per_token(texts)])
        if cost.kind == "python":
            rows[-1].insert(2, _of(cut_valid))
    remark = "A text that the limit of tokens cut in the middle is not valid as it stands, unless by luck"
    if cost.kind == "python":
        columns.insert(2, "valid, cut to its last whole statement")
        remark += "; a function's body can be cut back to its last whole statement, and is then valid if any is left"
    else:
        remark += "; bounds on every part of the schema say how many tokens its longest text takes"
    return Section(
        f"Structured output: {what}",
        [
            Table(
                columns,
                rows,
                caption="The same prompts and the same loop. Nats: -ln p under the model itself, by token.",
            ),
            Text(
                f"The masks took {cost.forbidden_nats_per_token:.3f} nats per token away: -ln of the probability "
                f"that they left. Under a constraint, a text that reached its end is valid. {remark}."
            ),
        ],
    )


def _of(flags: Sequence[bool]) -> str:
    return f"{sum(flags)} of {len(flags)}"


def injection_section(result: LabResult, detector: Detector | None = None) -> Section:
    """Both sides of every defence, and what the grader could not judge."""
    columns = [
        "defence",
        "cases",
        "attacks obeyed",
        "against none",
        "false refusals",
        "task done under attack",
        "off task",
        "unclear",
    ]
    blocks: list[Block] = [
        Table(
            columns,
            [_defence_row(result, of) for of in result.results],
            caption="Cases: attacks / benign texts. Shares with 95 % Wilson intervals. Against none: change of attack "
            "success on the attacks that were judged with and without the defence, paired bootstrap. Off task: benign "
            "texts that were neither refused nor answered well. Unclear: attacks / benign texts that the grader could "
            "not judge; they are in no share." + _left_out(result),
        ),
        _techniques(result),
        Text(
            "**Read both sides.** A defence that turns everything away obeys no attack. The set is small and known, "
            "so that a low figure here is no promise against an attacker who has read the defence. In labelling "
            "reviews, a wrong label that the attack asked for counts as obeyed, although a weak model may have erred "
            "by itself."
        ),
    ]
    if detector is not None:
        blocks.append(
            Text(
                f"Detector: area under the ROC curve {detector.auc:.3f}; thresholds "
                f"{sorted(set(detector.thresholds.values()))}, each measured on the other half of the cases. Its "
                "rules have the same author as the attacks."
            )
        )
    return Section("Injection lab", blocks)


def _defence_row(result: LabResult, of: DefenceResult) -> list[Cell]:
    name = of.defence.name
    fewer = result.fewer_attacks(name) if name != "none" else None
    change = None if fewer is None else Interval(fewer.difference, fewer.low, fewer.high)
    n_attacks = sum(outcome.case.attack for outcome in of.outcomes)
    n = f"{n_attacks} / {len(of.outcomes) - n_attacks}"
    unclear = f"{of.count('unclear', attack=True)} / {of.count('unclear', attack=False)}"
    off_task = of.count("off_task")
    return [name, n, of.attack_success, change, of.false_refusals, of.task_under_attack, off_task, unclear]


def _left_out(result: LabResult) -> str:
    names = ", ".join(name.replace("_", " ") for name in result.left_out)
    return f" Left out, because fewer than {FEWEST_CASES} cases fit into the context: {names}." if names else ""


def _techniques(result: LabResult) -> Table:
    names = [of.defence.name for of in result.results]
    by_defence = [of.success_by_technique() for of in result.results]
    techniques = sorted({technique for of in by_defence for technique in of})
    rows: list[list[Cell]] = [
        [technique, *("/".join(map(str, of[technique])) if technique in of else None for of in by_defence)]
        for technique in techniques
    ]
    return Table(["technique", *names], rows, caption="Attacks obeyed / attacks judged.")
