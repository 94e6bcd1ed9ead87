"""Alignment with preferences, by DPO, and with rewards, by GRPO, through TRL's trainers."""

import copy
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from roadmap_shared.errors import UserError
from text_generation.backends.types import Message
from text_generation.config.finetuning import AdapterConfig, TuningConfig
from text_generation.corpora.types import Reject
from text_generation.training.chat_data import Preference, Row, rejected_line
from text_generation.training.sft import Tuned, put_on_device, row_length
from text_generation.training.sft_model import ChatModel, lora_config, save_tuned
from text_generation.training.sft_trainer import (
    SilentTrainer,
    Workplace,
    output_folder,
    run_trainer,
    training_settings,
)


class QuietDPOTrainer(SilentTrainer, DPOTrainer):
    """TRL's trainer; its `_BaseTrainer` would report to the hub."""


def align(
    model: ChatModel,
    preferences: Sequence[Preference],
    config: TuningConfig,
    place: Workplace,
    *,
    beta: float = 0.1,
    adapter: AdapterConfig | None = None,
    folder: Path | None = None,
) -> Tuned:
    """Direct preference optimisation (Rafailov et al. 2023); its loss is `alignment_loss.dpo_loss`.

    The model at the start is the reference: a copy of it, or the network without its adapter.

    Args:
        model: trained in place where all its weights are. One that has been fine-tuned on such answers before: DPO
            shifts probability between answers that the model gives already.
        preferences: pairs of answers.
        config: optimisation; a tenth of the learning rate of fine-tuning is usual.
        place: checkpoints, figures, seed, and whether to go on from a checkpoint.
        beta: weight of staying near the reference.
        adapter: which weights are trained; None trains all.
        folder: where the result is written; None keeps it in memory only.

    Raises:
        UserError: no pair fits into the context, or the loss is no number any more.
    """
    adapter = adapter or AdapterConfig()
    rows, left_out = preference_rows(model, preferences, row_length(model, config))
    if not rows:
        reason = f": {rejected_line(left_out)}" if left_out else ""
        raise UserError(f"there is no pair of answers to align with{reason}")
    if left_out:
        print(rejected_line(left_out))
    put_on_device(model, config, adapter)
    trained = train_pairs(model, rows, config, place, adapter, beta)
    if folder is not None:
        trained, folder = save_tuned(trained, model.tokenizer, folder, merge=adapter.merge)
    aligned = ChatModel(trained, model.tokenizer, model.template, model.name)
    return Tuned(aligned, folder, len(rows), tuple(left_out), place.history)


def preference_rows(
    model: ChatModel, preferences: Sequence[Preference], max_length: int
) -> tuple[list[Row], list[Reject]]:
    """Pairs in TRL's form. A pair of which an answer is too long is left out: cut, both may be the same."""
    rows: list[Row] = []
    left_out: list[Reject] = []
    for pair in preferences:
        answers = [Message("assistant", text) for text in (pair.chosen, pair.rejected)]
        try:
            longest = max(len(model.encode((*pair.prompt, answer))[0]) for answer in answers)
        except UserError as error:
            left_out.append(Reject(pair.source, str(error)))
            continue
        if longest > max_length:
            left_out.append(Reject(pair.source, f"{longest} tokens, more than {max_length}"))
            continue
        chosen, rejected = ([asdict(answer)] for answer in answers)
        rows.append({"prompt": [asdict(turn) for turn in pair.prompt], "chosen": chosen, "rejected": rejected})
    return rows, left_out


def train_pairs(
    model: ChatModel,
    rows: Sequence[Row],
    config: TuningConfig,
    place: Workplace,
    adapter: AdapterConfig,
    beta: float,
) -> Any:
    """The network after DPO on rows that are ready; for LoRA it is wrapped by peft."""
    with output_folder(place) as folder:
        settings = training_settings(config, place, folder)
        # With an adapter, the network without it is the reference.
        reference = copy.deepcopy(model.network).eval() if adapter.method == "full" else None

        def make() -> QuietDPOTrainer:
            return QuietDPOTrainer(
                model=model.network,
                ref_model=reference,
                args=DPOConfig(**settings, beta=beta, loss_type=["sigmoid"], max_length=None),
                train_dataset=Dataset.from_list(list(rows)),
                processing_class=model.tokenizer,
                peft_config=lora_config(model.network, adapter),
            )

        return run_trainer(make, place, config, "aligning")
