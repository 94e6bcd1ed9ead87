"""Alignment with rewards by GRPO (Shao et al. 2024, "DeepSeekMath", section 4.1), through TRL's GRPOTrainer.

For each prompt a group of answers is drawn. An answer's advantage is its reward less the group's mean, over the
group's standard deviation; no value network is trained. A group whose answers all get the same reward teaches nothing.
TRL sums the loss over tokens as DAPO does (Yu et al. 2025, section 3.3), so that long answers count by their length.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from roadmap_shared.errors import UserError
from text_generation.config.finetuning import AdapterConfig, RewardConfig, TuningConfig
from text_generation.corpora.types import Reject, rejected_line
from text_generation.training.chat_data import Row
from text_generation.training.rewards import RewardFunction
from text_generation.training.sft import Tuned, put_on_device
from text_generation.training.sft_model import ChatModel, lora_config, save_tuned, tuning_warnings
from text_generation.training.sft_trainer import (
    SilentTrainer,
    Workplace,
    output_folder,
    run_trainer,
    training_settings,
)

_REFERENCE = "reference"


class QuietGRPOTrainer(SilentTrainer, GRPOTrainer):
    """TRL's trainer; its `_BaseTrainer` would report to the hub."""


def align_by_reward(
    model: ChatModel,
    rows: Sequence[Row],
    reward: RewardFunction,
    grpo: RewardConfig,
    config: TuningConfig,
    place: Workplace,
    *,
    adapter: AdapterConfig | None = None,
    folder: Path | None = None,
) -> Tuned:
    """Make answers with a higher reward more probable.

    Args:
        model: trained in place where all its weights are. One that gets some reward already.
        rows: each with a prompt, a sequence of messages, and the columns that the reward needs.
        reward: what is made larger.
        grpo: size of the groups and how answers are drawn.
        config: optimisation; its batch size counts answers.
        place: checkpoints, figures, seed, and whether to go on from a checkpoint.
        adapter: which weights are trained; None trains all.
        folder: where the result is written; None keeps it in memory only.

    Raises:
        UserError: no prompt leaves room for an answer, or the loss is no number any more.
    """
    adapter = adapter or AdapterConfig()
    fitting, left_out = fitting_rows(model, rows, model.context - grpo.max_new_tokens)
    if not fitting:
        reason = f": {rejected_line(left_out)}" if left_out else ""
        raise UserError(f"there is no prompt to answer{reason}")
    if left_out:
        print(rejected_line(left_out))
    put_on_device(model, config, adapter)
    trained = train_by_reward(model, fitting, reward, grpo, config, place, adapter)
    if folder is not None:
        trained, folder = save_tuned(trained, model.tokenizer, folder, merge=adapter.merge)
    aligned = ChatModel(trained, model.tokenizer, model.template, model.name)
    return Tuned(aligned, folder, len(fitting), tuple(left_out), place.history)


def fitting_rows(model: ChatModel, rows: Sequence[Row], max_length: int) -> tuple[list[Row], list[Reject]]:
    """Rows in TRL's form, and those whose prompt leaves too little room for an answer."""
    fitting: list[Row] = []
    left_out: list[Reject] = []
    for number, row in enumerate(rows, start=1):
        turns = [asdict(turn) for turn in row["prompt"]]
        found: Any = model.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)
        length = len(found["input_ids"])
        if length > max_length:
            source = str(row.get("source", row.get("task_id", f"row {number}")))
            left_out.append(Reject(source, f"a prompt of {length} tokens, more than {max_length}"))
        else:
            fitting.append({**{name: value for name, value in row.items() if name != "source"}, "prompt": turns})
    return fitting, left_out


def train_by_reward(
    model: ChatModel,
    rows: Sequence[Row],
    reward: RewardFunction,
    grpo: RewardConfig,
    config: TuningConfig,
    place: Workplace,
    adapter: AdapterConfig,
) -> Any:
    """The network after GRPO on rows that are ready; for LoRA it is wrapped by peft."""
    with output_folder(place) as folder:
        settings = training_settings(config, place, folder)
        if grpo.kl and adapter.method == "full":
            # TRL reads the reference from where the network says that it comes from.
            reference = Path(folder) / _REFERENCE
            if not reference.is_dir():
                with tuning_warnings():
                    model.network.save_pretrained(reference)
            model.network.config.name_or_path = str(reference)

        def make() -> QuietGRPOTrainer:
            return QuietGRPOTrainer(
                model=model.network,
                reward_funcs=[reward],  # pyright: ignore[reportArgumentType]
                args=GRPOConfig(
                    **settings,
                    num_generations=grpo.generations,
                    max_completion_length=grpo.max_new_tokens,
                    temperature=grpo.temperature,
                    beta=grpo.kl,
                ),
                train_dataset=Dataset.from_list(list(rows)),
                processing_class=model.tokenizer,
                peft_config=lora_config(model.network, adapter),
            )

        return run_trainer(make, place, config, "aligning by reward")
