"""A small model learns to do what it is asked in plain words: before, after fine-tuning, after DPO.

The model that `run` trains writes a story below a header of fields. It has never seen a conversation. Supervised
fine-tuning shows it requests with answers; DPO then shows it, for each request, a story as asked for beside one that
differs in a single field. The story checker says what each stage obeys.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from roadmap_shared.report import Block, Table, Text
from text_generation.config.finetuning import TuningConfig
from text_generation.corpora.stories.fields import StoryFields
from text_generation.evaluation.obedience import Obedience
from text_generation.training.alignment import align
from text_generation.training.chat_data import split
from text_generation.training.chat_data_stories import story_conversations, swapped_pairs
from text_generation.training.demonstration_stages import Stage, measure_model, stage_blocks, stage_figures
from text_generation.training.sft import Tuned, finetune
from text_generation.training.sft_model import ChatModel, chat_model, load_start
from text_generation.training.sft_trainer import Workplace

Result = TypeVar("Result")
KNOWS_HOW = 0.5
"""Share of the stories below headers from which on the report says that the model can do what is asked."""

FINETUNING = TuningConfig(batch_size=16, learning_rate=1e-3, schedule="cosine", warmup_share=0.1)
ALIGNMENT = TuningConfig(batch_size=16, learning_rate=1e-4, schedule="linear", warmup_share=0.1)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is shown to the model, and how it learns it."""

    conversations: int = 900
    """Requests with stories, of which a tenth is held out for the loss."""

    pairs: int = 192
    """Preferences."""

    finetuning: TuningConfig = FINETUNING
    alignment: TuningConfig = ALIGNMENT

    beta: float = 0.1
    """DPO's weight of staying near the fine-tuned model."""

    batch_size: int = 64
    """Requests that are answered together when a stage is measured."""


@dataclass(frozen=True)
class Demonstration:
    """The three stages of one model on the same requests."""

    stages: tuple[Stage, ...]
    plan: Plan
    finetuned: Tuned
    aligned: Tuned
    n_pairs: int
    headers: Obedience | None = None
    """The model before, asked by headers, on which it was trained: what it can do when it is asked in its own way."""

    def figures(self) -> dict[str, float]:
        """Flat figures for `summary.json`."""
        return stage_figures(self.stages)

    def blocks(self) -> list[Block]:
        """What a report shows."""
        return [Text(self._story()), *stage_blocks(self.stages), self._trainings()]

    def _story(self) -> str:
        headers = ""
        if self.headers is not None:
            rate = self.headers.rate("obeyed").estimate
            headers = f" Asked by header, the model before obeys all four fields in {rate:.0%} of its stories" + (
                ": it knows how, and only does not understand the request." if rate >= KNOWS_HOW else "."
            )
        return (
            f"The model has seen headers of fields, but no conversation.{headers} Fine-tuning (SFT) shows it "
            f"{self.finetuned.n_rows:,} requests in plain words with their stories; the loss is on the stories alone. "
            f"DPO then shows {self.aligned.n_rows:,} requests with two stories each, of which one was written for "
            "another theme, hero, mood or ending. No request that is measured has a combination of fields that occurs "
            "in either."
        )

    def _trainings(self) -> Table:
        sft, dpo = self.finetuned, self.aligned
        last = dpo.history[-1] if dpo.history else {}
        rows = [
            ["SFT", sft.n_rows, len(sft.history), self.stages[1].seconds, f"nats a token {_change(sft)}"],
            [
                "DPO",
                dpo.n_rows,
                len(dpo.history),
                self.stages[2].seconds,
                f"pairs right {last.get('pairs_right', 0):.0%}",
            ],
        ]
        return Table(["training", "rows", "steps", "seconds", "what it learnt"], rows)


def demonstrate(
    source: str,
    fields: Sequence[StoryFields],
    seed: int,
    plan: Plan | None = None,
    headers: Obedience | None = None,
) -> Demonstration:
    """Fine-tune and align a copy of a model, and measure it at each stage; nothing is written.

    With the built-in model of 4 million parameters it is meant to take about a minute and a half on two CPU cores.

    Args:
        source: folder of a model that `run` has trained on built-in stories; it stays as it is.
        fields: what is asked for when a stage is measured, such as those of held-out stories.
        seed: of the requests, the pairs and the training.
        plan: how much of each.
        headers: what the same model does when it is asked by headers, for the report.

    Raises:
        UserError: the model cannot be read, or its tokenizer has no chat template.
        ValueError: there are no fields.
    """
    if not fields:
        raise ValueError("there is nothing to ask for: give the fields of held-out stories")
    plan = plan or Plan()
    without = set(fields)
    model = chat_model(*load_start(source), source)
    before = Stage("before", measure_model(model, fields, plan.batch_size))
    finetuned, seconds = _timed(lambda: _finetuned(model, plan, seed, without))
    after_sft = _stage("SFT", finetuned, seconds, fields, plan)
    pairs = swapped_pairs(plan.pairs, seed + 1, without)
    aligned, seconds = _timed(lambda: align(finetuned.model, pairs, plan.alignment, Workplace(seed), beta=plan.beta))
    after_dpo = _stage("DPO", aligned, seconds, fields, plan)
    return Demonstration((before, after_sft, after_dpo), plan, finetuned, aligned, len(pairs), headers)


def _finetuned(model: ChatModel, plan: Plan, seed: int, without: set[StoryFields]) -> Tuned:
    conversations = story_conversations(plan.conversations, seed, without)
    train, validation = split(conversations, 0.1, seed, key=lambda each: each.messages[0].content)
    return finetune(model, train, plan.finetuning, Workplace(seed), validation=validation)


def _stage(name: str, tuned: Tuned, seconds: float, fields: Sequence[StoryFields], plan: Plan) -> Stage:
    return Stage(name, measure_model(tuned.model, fields, plan.batch_size), seconds, tuple(tuned.history))


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def _change(tuned: Tuned) -> str:
    if tuned.val_before is None or tuned.val_after is None:
        return "not measured"
    return f"{tuned.val_before:.2f} → {tuned.val_after:.2f}"
