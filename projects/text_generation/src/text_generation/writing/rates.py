"""Does the assistant help? How often its stories do what was asked, beside stories written in one go."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roadmap_shared.metrics import Interval, PairedComparison, paired_bootstrap, share_interval
from roadmap_shared.report import Block, Callout, Sample, Section, Table, Text
from roadmap_shared.report.blocks import Cell
from text_generation.creative_writing_assistant import CreativeWritingAssistant, Story
from text_generation.writing.brief import Brief
from text_generation.writing.constraints import CONSTRAINTS, ConstraintCheck

ALL_MET = "all"
FEW_STORIES = 30
"""Stories below which the bootstrap interval of a difference is too narrow (`bootstrap_interval`)."""

_SHOWN_STORIES = 2


@dataclass(frozen=True)
class Rate:
    """How often one demand is met without and with the assistant."""

    name: str
    """A name of `CONSTRAINTS`, or `ALL_MET`."""

    baseline: Interval
    assistant: Interval
    difference: PairedComparison
    """Assistant minus baseline, over the same briefs."""


@dataclass(frozen=True)
class AssistantRates:
    """Stories with and without the assistant, for the same briefs in the same order."""

    stories: tuple[Story, ...]
    baselines: tuple[str, ...]
    rates: tuple[Rate, ...]
    """That of all demands together first."""

    @property
    def n_revised(self) -> int:
        """Stories whose revision is not the draft itself."""
        return sum(story.texts["revision"] != story.texts["draft"] for story in self.stories)

    def rate(self, name: str) -> Rate:
        """The rate of a demand, or of `ALL_MET`."""
        return next(rate for rate in self.rates if rate.name == name)

    def json_lines(self) -> str:
        """One line a brief: what was asked, both stories, what each misses."""
        rows = [
            {
                **story.brief.record(),
                "story": story.text,
                "missed": story.check.reasons,
                "baseline": baseline,
            }
            for story, baseline in zip(self.stories, self.baselines, strict=True)
        ]
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def summary(self) -> dict[str, Any]:
        """Flat figures for `summary.json`."""
        figures: dict[str, Any] = {}
        for rate in self.rates:
            key = f"assistant_{rate.name}"
            figures |= {
                key: rate.assistant.estimate,
                f"{key}_low": rate.assistant.low,
                f"{key}_high": rate.assistant.high,
                f"baseline_{key}": rate.baseline.estimate,
                f"{key}_gain": rate.difference.difference,
                f"{key}_gain_low": rate.difference.low,
                f"{key}_gain_high": rate.difference.high,
            }
        return figures


def measure_assistant(assistant: CreativeWritingAssistant, briefs: Sequence[Brief], seed: int = 0) -> AssistantRates:
    """Write every brief with the assistant and in one go, in batches, and compare.

    Raises:
        UserError: see `CreativeWritingAssistant.write`.
    """
    return rates_of(assistant, assistant.write_many(briefs, seed), assistant.baseline_many(briefs, seed))


def rates_of(assistant: CreativeWritingAssistant, stories: Sequence[Story], baselines: Sequence[str]) -> AssistantRates:
    """Compare stories with baselines for the same briefs."""
    plain = [assistant.check(text, story.brief) for text, story in zip(baselines, stories, strict=True)]
    return AssistantRates(tuple(stories), tuple(baselines), compare(plain, [story.check for story in stories]))


def compare(baseline: Sequence[ConstraintCheck], assistant: Sequence[ConstraintCheck]) -> tuple[Rate, ...]:
    """The rate of each demand without and with the assistant, with 95 % Wilson intervals; the difference's is a
    paired bootstrap's: the same briefs are drawn for both (Koehn 2004)."""
    rates: list[Rate] = []
    for name in (ALL_MET, *(name for name in CONSTRAINTS if name in assistant[0].met)):
        before, after = ([_met(check, name) for check in checks] for checks in (baseline, assistant))
        rates.append(Rate(name, share_interval(before), share_interval(after), paired_bootstrap(before, after)))
    return tuple(rates)


def writing_section(measured: AssistantRates, cost: str = "") -> Section:
    """The rates as a section of a report. `cost`: a sentence on what the assistant spends more than the baseline."""
    rows: list[list[Cell]] = [
        [
            rate.name,
            rate.baseline,
            rate.assistant,
            Interval(rate.difference.difference, rate.difference.low, rate.difference.high),
            _verdict(rate.difference),
        ]
        for rate in measured.rates
    ]
    n = len(measured.stories)
    blocks: list[Block] = [
        Table(
            ["demand", "in one go", "with the assistant", "difference", "verdict"],
            rows,
            caption=f"Share of {n} stories that meet each demand, with 95 % Wilson intervals; that of the "
            "difference is a paired bootstrap's over the briefs.",
        ),
        Text(
            f"Outline, draft, critique and revision; {measured.n_revised} of {n} stories were revised. {cost}".rstrip()
            + "\n\nThe checker that judges here is the one that the assistant consults, so this says how often it gets "
            "what was asked, and nothing about how good the stories are: for that, have people rate them "
            "(`text-generation rate`)."
        ),
        *(
            Sample(story.text, label=f"{story.brief.theme}, {story.brief.hero}: {_told(story.check)}")
            for story in measured.stories[:_SHOWN_STORIES]
        ),
    ]
    if n < FEW_STORIES:
        blocks.append(Callout(_remark_on_few(n), "warning"))
    return Section("Creative writing assistant", blocks)


def lines(measured: AssistantRates) -> list[str]:
    """The rates for the terminal."""
    rows = [("demand", "in one go", "assistant", "difference [95 %]")]
    for rate in measured.rates:
        gain = rate.difference
        interval = f"{gain.difference:+.0%} [{gain.low:+.0%}, {gain.high:+.0%}]"
        rows.append((rate.name, f"{rate.baseline.estimate:.0%}", f"{rate.assistant.estimate:.0%}", interval))
    n = len(measured.stories)
    remark = [_remark_on_few(n)] if n < FEW_STORIES else []
    return [*(f"{name:<10}{before:>10}{after:>11}   {gain}" for name, before, after, gain in rows), *remark]


def _remark_on_few(n: int) -> str:
    return f"With {n} stories the intervals of the differences are too narrow."


def _met(check: ConstraintCheck, name: str) -> float:
    return float(check.passed if name == ALL_MET else check.met[name])


def _verdict(difference: PairedComparison) -> str:
    if difference.low <= 0 <= difference.high:
        return "cannot be told apart"
    return "better" if difference.difference > 0 else "worse"


def _told(check: ConstraintCheck) -> str:
    return "; ".join(check.reasons.values()) or "every demand is met"
