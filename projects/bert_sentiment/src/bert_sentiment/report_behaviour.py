"""The report's section on behavioural tests and small changes of the texts."""

from collections.abc import Iterator

from bert_sentiment.evaluation.behaviour import Outcome
from bert_sentiment.evaluation.metrics import Evaluation
from roadmap_shared.report import Block, Section, Table


def behaviour_section(evaluation: Evaluation) -> Section:
    """Behavioural tests with failing examples, and what small changes of the texts do."""
    kinds = {"MFT": "minimum function", "INV": "invariance", "DIR": "direction"}
    rows = [
        [row.capability, kinds.get(row.test, row.test), row.n, row.failure_rate]
        for row in evaluation.behaviour.rows()
        if row.n
    ]
    failures = [[_cell(outcome), _expected(outcome), _answer(outcome)] for outcome in examples_of_failures(evaluation)]
    blocks: list[Block] = [
        Table(
            ["capability", "test", "cases", "failure rate"],
            rows,
            caption="Behavioural tests in the style of CheckList (Ribeiro et al. 2020); 95 % Wilson intervals.",
        )
    ]
    if failures:
        blocks.append(Table(["text", "expected", "predicted"], failures, caption="One failure of each kind."))
    blocks.append(
        Table(
            ["change", "texts changed", "accuracy", "predictions flipped"],
            [[row.perturbation, row.n_changed, row.accuracy, row.flipped] for row in evaluation.robustness],
            caption="The test texts with small changes; flipped: share of the changed texts whose label changes.",
        )
    )
    return Section("How it behaves", blocks)


def examples_of_failures(evaluation: Evaluation) -> Iterator[Outcome]:
    """The first failing case of each capability and test."""
    seen = set()
    for outcome in evaluation.behaviour.failures:
        if (key := (outcome.case.capability, outcome.case.test)) not in seen:
            seen.add(key)
            yield outcome


def _cell(outcome: Outcome) -> str:
    return " → ".join(dict.fromkeys([outcome.case.text, *outcome.case.variants[:1]]))


def _expected(outcome: Outcome) -> str:
    case = outcome.case
    if case.test == "INV":
        return "the same for both"
    labels = " or ".join(case.expect)
    return labels if case.test == "MFT" else f"{labels}: {case.direction.replace('_', ' ')}"


def _answer(outcome: Outcome) -> str:
    watched = outcome.case.expect[0] if outcome.case.test == "DIR" else ""
    answers = []
    for prediction in outcome.predictions[:2]:
        label = watched if watched in prediction.probabilities else prediction.label
        answers.append(f"{label} {prediction.probabilities[label]:.2f}")
    return " → ".join(answers)
