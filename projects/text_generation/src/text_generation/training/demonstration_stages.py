"""Stages of one model, each asked for the same stories in plain words: how often it obeys, and what changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from matplotlib.figure import Figure as Drawing

from roadmap_shared.metrics import PairedComparison, paired_bootstrap
from roadmap_shared.report import PALETTE, Block, Figure, Sample, Table, figure_style
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.types import Backend
from text_generation.config.decoding import GREEDY, DecodingConfig
from text_generation.corpora.stories.fields import StoryFields
from text_generation.corpora.story_checker import check_story
from text_generation.evaluation.obedience import CHECKS, STORY_TOKENS, Obedience
from text_generation.training.chat_data_stories import request, story_prompt
from text_generation.training.sft_model import ChatModel

ASKED = "measured"
"""Seeds the wording of the requests that are measured on."""

SHOWN_CHECKS = ("hero", "theme", "mood", "ending", "obeyed")


@dataclass(frozen=True)
class Stage:
    """A model at one point of its training."""

    name: str
    """before, SFT or DPO."""

    obedience: Obedience
    seconds: float = 0.0
    """Of the training that led here, measuring left aside."""

    history: tuple[dict[str, float], ...] = ()
    """Figures of each step of that training."""


def measure_requests(
    backend: Backend, fields: Sequence[StoryFields], decoding: DecodingConfig = GREEDY, seed: int = 0
) -> Obedience:
    """Ask in plain words for one story of each combination of fields and check the answers."""
    prompts = [story_prompt(each, ASKED) for each in fields]
    room = backend.context_window - max(backend.count_tokens(prompt) for prompt in prompts)
    answers = backend.generate(prompts, replace(decoding, max_new_tokens=min(STORY_TOKENS, room)), seed)
    stories = tuple(answer.text.strip() for answer in answers)
    checks = tuple(check_story(story, each) for story, each in zip(stories, fields, strict=True))
    return Obedience(tuple(fields), stories, checks)


def measure_model(model: ChatModel, fields: Sequence[StoryFields], batch_size: int) -> Obedience:
    """The same of a model in memory."""
    return measure_requests(
        HuggingFaceBackend(model.network, model.tokenizer, name=model.name, batch_size=batch_size), fields
    )


def gain(before: Stage, after: Stage, check: str) -> PairedComparison:
    """By how much the share of stories that meet a check has grown, over the same requests."""
    shares = [[float(getattr(each, check)) for each in stage.obedience.checks] for stage in (before, after)]
    return paired_bootstrap(*shares)


def stage_figures(stages: Sequence[Stage]) -> dict[str, float]:
    """Flat figures for a summary: `requests_obeyed_before`, `requests_obeyed_sft_low`, `requests_ending_dpo`, …"""
    figures: dict[str, float] = {}
    for stage in stages:
        for check in SHOWN_CHECKS:
            rate, key = stage.obedience.rate(check), f"requests_{check}_{stage.name.lower()}"
            figures |= {key: rate.estimate, f"{key}_low": rate.low, f"{key}_high": rate.high}
    return figures


def stage_blocks(stages: Sequence[Stage]) -> list[Block]:
    """Tables, a figure, and one request answered at every stage."""
    figure = obedience_figure(stages)
    n = len(stages[0].obedience.fields)
    rows: list[list[Any]] = [
        [check, *(stage.obedience.rate(check) for stage in stages)] for check in (*CHECKS, "obeyed")
    ]
    blocks: list[Block] = [
        Table(
            ["demand", *(stage.name for stage in stages)],
            rows,
            caption=f"Share of {n} greedy answers to held-out requests in plain words; 95 % Wilson intervals.",
        ),
        Figure(figure, "The four fields, and all of them together.", alt="Dots with intervals, one for each stage."),
    ]
    if len(stages) > 1:
        blocks.append(gain_table(stages))
    fields = stages[0].obedience.fields[0]
    for stage in stages:
        missed = "; ".join(stage.obedience.checks[0].reasons.values())
        label = f"{stage.name}: {f'misses: {missed}' if missed else 'meets every demand'}"
        blocks.append(Sample(stage.obedience.stories[0], label=label, prompt=f"{request(fields, ASKED)}\n\n"))
    return blocks


def gain_table(stages: Sequence[Stage]) -> Table:
    """What each training changed, as paired differences."""
    rows: list[list[Any]] = []
    for before, after in pairwise(stages):
        for check in SHOWN_CHECKS:
            found = gain(before, after, check)
            change = f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
            rows.append([f"{before.name} → {after.name}", check, change, f"{found.probability_b_better:.0%}"])
    return Table(
        ["training", "demand", "change of the share", "better with probability"],
        rows,
        caption="Paired bootstrap over the same requests.",
    )


@figure_style()
def obedience_figure(stages: Sequence[Stage]) -> Drawing:
    """Rates with their intervals, side by side."""
    figure = Drawing(figsize=(7.2, 3.2))
    axis = figure.subplots()
    width = 0.8 / len(stages)
    for number, stage in enumerate(stages):
        rates = [stage.obedience.rate(check) for check in SHOWN_CHECKS]
        middles = [rate.estimate for rate in rates]
        low = [rate.estimate - rate.low for rate in rates]
        high = [rate.high - rate.estimate for rate in rates]
        places = [place + (number - (len(stages) - 1) / 2) * width for place in range(len(SHOWN_CHECKS))]
        axis.errorbar(
            places,
            middles,
            yerr=[low, high],
            fmt="o",
            color=PALETTE[number % len(PALETTE)],
            label=stage.name,
            capsize=3,
        )
    axis.set_xticks(range(len(SHOWN_CHECKS)), SHOWN_CHECKS)
    axis.set_ylim(-0.03, 1.03)
    axis.set_ylabel("share of the stories")
    axis.grid(True, axis="y")
    axis.legend()
    return figure
