"""`text-generation align`."""

from collections.abc import Collection
from typing import Any

from roadmap_shared.runs import Run, start_run
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.coding.problems import built_in_problems, load_problems
from text_generation.coding.sandbox import Sandbox
from text_generation.coding.verifier import Verifier
from text_generation.config.decoding import DecodingConfig
from text_generation.config.finetuning import AlignConfig
from text_generation.corpora.stories.fields import StoryFields
from text_generation.corpora.types import Reject, rejected_line
from text_generation.evaluation.obedience import STORY_TOKENS
from text_generation.run_layout import PROJECT
from text_generation.training.alignment import align
from text_generation.training.alignment_grpo import align_by_reward
from text_generation.training.chat_data import Preference, Row, read_preferences
from text_generation.training.chat_data_stories import fresh_fields, reward_rows, sampled_pairs, swapped_pairs
from text_generation.training.demonstration_stages import Stage, measure_model
from text_generation.training.rewards import (
    RewardFunction,
    code_reward,
    problem_rows,
    read_story_requests,
    story_reward,
)
from text_generation.training.sft import Tuned, put_on_device
from text_generation.training.sft_command import MEASURED_BATCH, MEASURED_SEED, RESUMABLE_CHANGES, with_place_of_model
from text_generation.training.sft_model import ChatModel, load_chat_model
from text_generation.training.sft_report import tuning_report, tuning_summary
from text_generation.training.sft_trainer import Workplace


def run_align(config: AlignConfig) -> dict[str, Any]:
    """Read, align by DPO or GRPO, measure and report; returns the summary.

    Raises:
        UserError: the model or the data cannot be read or used, the sandbox offers too little protection, or training
            diverged.
    """
    config = with_place_of_model(config)
    with start_run(config, project=PROJECT, command="align", resumable_changes=RESUMABLE_CHANGES) as run:
        model = load_chat_model(config.model, config.adapter, config.run.root)
        asked = fresh_fields(config.stories, MEASURED_SEED)
        put_on_device(model, config.trainer, config.adapter)
        stages = [Stage("before", measure_model(model, asked, MEASURED_BATCH))] if asked else []
        by = by_preferences if config.method == "dpo" else by_rewards
        tuned, rejects, origin = by(model, config, run, asked)
        if asked:
            stages.append(Stage(config.method.upper(), measure_model(tuned.model, asked, MEASURED_BATCH)))
        page = tuning_report(config, run, tuned, stages, rejects, origin)
        return run.finish(tuning_summary(tuned, stages, len(rejects)), page)


def by_preferences(
    model: ChatModel, config: AlignConfig, run: Run, without: Collection[StoryFields]
) -> tuple[Tuned, list[Reject], str]:
    """DPO: (result, rows that are no preferences, where they come from)."""
    pairs, rejects, origin = preference_data(model, config, without)
    if rejects:
        print(f"{config.data.path}: {rejected_line(rejects)}")
    place = Workplace.of(run)
    tuned = align(model, pairs, config.trainer, place, beta=config.beta, adapter=config.adapter, folder=run.folder)
    return tuned, rejects, origin


def preference_data(
    model: ChatModel, config: AlignConfig, without: Collection[StoryFields] = ()
) -> tuple[list[Preference], list[Reject], str]:
    """(pairs, rows that are none, where they come from)."""
    data = config.data
    if data.path is not None:
        pairs, rejects = read_preferences(data.path, data.max_rows)
        return pairs, rejects, f"{len(pairs):,} pairs of {data.path.name}"
    if data.built_in == "swapped":
        pairs = swapped_pairs(data.pairs, data.split_seed, without)
        return pairs, [], f"{len(pairs):,} pairs of stories that differ in one field, by a grammar"
    backend = HuggingFaceBackend(model.network, model.tokenizer, name=model.name, batch_size=MEASURED_BATCH)
    decoding = DecodingConfig(temperature=1.0, max_new_tokens=min(STORY_TOKENS, model.context // 2))
    pairs = sampled_pairs(
        backend, data.pairs, data.split_seed, samples=data.samples, decoding=decoding, without=without
    )
    print(f"{len(pairs):,} of {data.pairs:,} requests gave a pair: the others' answers all obey, or all do not")
    return pairs, [], f"{len(pairs):,} pairs of the model's own answers, told apart by the story checker"


def by_rewards(
    model: ChatModel, config: AlignConfig, run: Run, without: Collection[StoryFields]
) -> tuple[Tuned, list[Reject], str]:
    """GRPO: (result, rows that hold no prompt, where they come from)."""
    rows, reward, rejects, origin = reward_data(config, without)
    if rejects:
        print(f"{config.data.path or config.problems.path}: {rejected_line(rejects)}")
    place = Workplace.of(run)
    tuned = align_by_reward(
        model, rows, reward, config.grpo, config.trainer, place, adapter=config.adapter, folder=run.folder
    )
    return tuned, rejects, origin


def reward_data(
    config: AlignConfig, without: Collection[StoryFields] = ()
) -> tuple[list[Row], RewardFunction, list[Reject], str]:
    """(rows with prompts, the reward of their answers, rows that hold none, where they come from)."""
    if config.grpo.reward == "code":
        path = config.problems.path
        found = built_in_problems() if path is None else load_problems(path)
        problems = found.problems[: config.problems.limit]
        rejects = [Reject(f"{found.name}:{rejected.line}", rejected.reason) for rejected in found.rejected]
        reward = code_reward(Verifier(Sandbox(config.sandbox)), problems)
        return problem_rows(problems), reward, rejects, f"{len(problems)} programming problems ({found.name})"
    if config.data.path is not None:
        rows, rejects = read_story_requests(config.data.path, config.data.max_rows)
        return rows, story_reward, rejects, f"{len(rows):,} requests of {config.data.path.name}"
    rows = list(reward_rows(config.data.pairs, config.data.split_seed, without))
    return rows, story_reward, [], f"{len(rows):,} requests for stories in plain words"
