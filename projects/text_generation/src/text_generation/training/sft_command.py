"""`text-generation finetune`."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from roadmap_shared.config import config_source
from roadmap_shared.runs import start_run
from text_generation.config.finetuning import AlignConfig, ChatDataConfig, FinetuneConfig
from text_generation.corpora.stories.fields import StoryFields
from text_generation.corpora.types import Reject, rejected_line
from text_generation.run_layout import PROJECT
from text_generation.training.chat_data import Conversation, read_conversations, split
from text_generation.training.chat_data_stories import fresh_fields, story_conversations
from text_generation.training.demonstration_stages import Stage, measure_model
from text_generation.training.sft import finetune, put_on_device
from text_generation.training.sft_model import load_chat_model, start_source
from text_generation.training.sft_report import tuning_report, tuning_summary
from text_generation.training.sft_trainer import Workplace

Config = TypeVar("Config", FinetuneConfig, AlignConfig)
RESUMABLE_CHANGES = ("trainer.threads", "trainer.device", "trainer.checkpoint_every", "adapter.merge", "stories")
"""Settings that may differ when a run is resumed: they change no weight."""

MEASURED_SEED = 1_000_003
"""Draws the requests that models are measured on, the same for every run."""

MEASURED_BATCH = 32


def run_finetune(config: FinetuneConfig) -> dict[str, Any]:
    """Read, fine-tune, measure and report; returns the summary.

    Raises:
        UserError: the model or the data cannot be read or used, or training diverged.
    """
    config = with_place_of_model(config)
    with start_run(config, project=PROJECT, command="finetune", resumable_changes=RESUMABLE_CHANGES) as run:
        model = load_chat_model(config.model, config.adapter, config.run.root)
        asked = fresh_fields(config.stories, MEASURED_SEED)
        conversations, rejects, origin = chat_data(config.data, asked)
        if rejects:
            print(f"{config.data.path}: {rejected_line(rejects)}")
        train, validation = split(conversations, config.data.validation_share, config.data.split_seed, question)
        put_on_device(model, config.trainer, config.adapter)
        stages = [Stage("before", measure_model(model, asked, MEASURED_BATCH))] if asked else []
        tuned = finetune(
            model,
            train,
            config.trainer,
            Workplace.of(run),
            adapter=config.adapter,
            validation=validation,
            folder=run.folder,
        )
        if asked:
            stages.append(Stage("SFT", measure_model(tuned.model, asked, MEASURED_BATCH)))
        page = tuning_report(config, run, tuned, stages, rejects, origin)
        return run.finish(tuning_summary(tuned, stages, len(rejects)), page)


def with_place_of_model(config: Config) -> Config:
    """The config with the model's own folder for its name: `runs/text_generation/latest/model` would mean another one
    as soon as this run has begun, and again when it is resumed."""
    found = replace(config, model=replace(config.model, name=start_source(config.model, config.run.root)))
    # Where a config came from is no field of it, and is not copied with them.
    object.__setattr__(found, "_config_source", config_source(config))
    return found


def chat_data(
    config: ChatDataConfig, without: Collection[StoryFields] = ()
) -> tuple[Sequence[Conversation], list[Reject], str]:
    """(conversations, rows that are none, where they come from)."""
    if config.path is not None:
        conversations, rejects = read_conversations(config.path, config.max_rows)
        return conversations, rejects, f"{len(conversations):,} conversations of {config.path.name}"
    count = min(config.stories, config.max_rows or config.stories)
    origin = f"{count:,} requests for stories in plain words, answered by a grammar (seed {config.split_seed})"
    return story_conversations(count, config.split_seed, without), [], origin


def question(conversation: Conversation) -> str:
    """Everything before the last answer: conversations that are alike in it stay on one side of a split."""
    return "\n".join(message.content for message in conversation.messages[:-1])
