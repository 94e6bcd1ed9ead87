"""Supervised fine-tuning on conversations (Ouyang et al. 2022, "InstructGPT", section 3.5): next-token prediction with
the loss on the answers alone, through TRL's SFTTrainer.

What a row of training is, and which of its tokens count, is made here, so that it can be read and tested:

```
<|user|> Who is Mira ? <|end|> <|assistant|>  An  otter .  <|end|>
  -100   -100 …                    -100        An  otter .  <|end|>      labels
```

The token that ends an answer counts: without it the model would not learn to stop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import PreTrainedModel
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from roadmap_shared.errors import UserError
from text_generation.backends.hf_loading import find_device
from text_generation.config.finetuning import AdapterConfig, TuningConfig
from text_generation.corpora.types import Reject, rejected_line
from text_generation.training.chat_data import Conversation
from text_generation.training.sft_model import ChatModel, lora_config, save_tuned
from text_generation.training.sft_trainer import (
    SilentTrainer,
    Workplace,
    output_folder,
    run_trainer,
    training_settings,
)

IGNORED = -100
"""Label of a token that does not count."""

Row = dict[str, list[int]]


@dataclass(frozen=True)
class Tuned:
    """A model after training."""

    model: ChatModel
    folder: Path | None
    """Where to load it from; None where it was not to be kept."""

    n_rows: int
    """Rows, conversations or pairs, that it was trained on."""

    left_out: tuple[Reject, ...]
    """What was too long, or did not fit the template."""

    history: Sequence[dict[str, float]] = ()
    """Figures of each step."""

    val_before: float | None = None
    """Nats per answer token on held-out conversations, before and after; None where none were held out."""

    val_after: float | None = None


@dataclass(frozen=True)
class TrainingRows:
    """Conversations as token ids and labels, and those that do not fit."""

    rows: list[Row] = field(default_factory=list)
    left_out: list[Reject] = field(default_factory=list)


class QuietSFTTrainer(SilentTrainer, SFTTrainer):
    """TRL's trainer; its `_BaseTrainer` would report to the hub."""


def finetune(
    model: ChatModel,
    conversations: Sequence[Conversation],
    config: TuningConfig,
    place: Workplace,
    *,
    adapter: AdapterConfig | None = None,
    validation: Sequence[Conversation] = (),
    folder: Path | None = None,
) -> Tuned:
    """Fine-tune on the answers of conversations.

    Args:
        model: trained in place where all its weights are.
        conversations: to learn.
        config: optimisation.
        place: checkpoints, figures, seed, and whether to go on from a checkpoint.
        adapter: which weights are trained; None trains all.
        validation: conversations on which the loss is measured before and after.
        folder: where the result is written; None keeps it in memory only.

    Raises:
        UserError: no conversation fits into the context, or the loss is no number any more.
    """
    adapter = adapter or AdapterConfig()
    length = row_length(model, config)
    found = training_rows(model, conversations, length)
    if not found.rows:
        reason = f": {rejected_line(found.left_out)}" if found.left_out else ""
        raise UserError(f"there is no conversation to train on{reason}")
    if found.left_out:
        print(rejected_line(found.left_out))
    held_out = training_rows(model, validation, length).rows
    batch_size = config.batch_size // config.accumulation_steps
    put_on_device(model, config, adapter)
    before = answer_loss(model.network, held_out, batch_size) if held_out else None
    trained = train_rows(model, found.rows, config, place, adapter)
    if folder is not None:
        trained, folder = save_tuned(trained, model.tokenizer, folder, merge=adapter.merge)
    after = answer_loss(trained, held_out, batch_size) if held_out else None
    tuned = ChatModel(trained, model.tokenizer, model.template, model.name)
    return Tuned(tuned, folder, len(found.rows), tuple(found.left_out), place.history, before, after)


def row_length(model: ChatModel, config: TuningConfig) -> int:
    """Tokens of a row at most.

    Raises:
        UserError: more are asked for than the model's context holds.
    """
    if config.max_length is None:
        return model.context
    if config.max_length > model.context:
        raise UserError(
            f"--trainer.max_length {config.max_length} is above the {model.context} of {model.name}'s context"
        )
    return config.max_length


def training_rows(model: ChatModel, conversations: Sequence[Conversation], max_length: int) -> TrainingRows:
    """Token ids and labels. A conversation that is too long is left out, not cut: a cut answer would teach the model
    not to end its own."""
    found = TrainingRows()
    for conversation in conversations:
        try:
            ids, marks = model.encode(conversation.messages)
        except UserError as error:
            found.left_out.append(Reject(conversation.source, str(error)))
            continue
        if len(ids) > max_length:
            reason = f"{len(ids)} tokens, more than {max_length}"
            found.left_out.append(Reject(conversation.source, reason))
        else:
            found.rows.append({"input_ids": ids, "labels": answer_labels(ids, marks)})
    return found


def answer_labels(ids: Sequence[int], marks: Sequence[bool]) -> list[int]:
    """The token ids where they belong to an answer, `IGNORED` elsewhere."""
    return [token if mark else IGNORED for token, mark in zip(ids, marks, strict=True)]


def train_rows(
    model: ChatModel, rows: Sequence[Row], config: TuningConfig, place: Workplace, adapter: AdapterConfig
) -> Any:
    """The network after training on rows that are ready; for LoRA it is wrapped by peft."""
    with output_folder(place) as folder:
        settings = training_settings(config, place, folder)

        def make() -> QuietSFTTrainer:
            return QuietSFTTrainer(
                model=model.network,
                args=SFTConfig(
                    **settings,
                    max_length=row_length(model, config),
                    packing=config.packing,
                    # Best-fit decreasing cuts no conversation; each keeps its own positions and its own attention.
                    packing_strategy="bfd",
                ),
                train_dataset=Dataset.from_list(list(rows)),
                processing_class=model.tokenizer,
                peft_config=lora_config(model.network, adapter),
            )

        return run_trainer(make, place, config, "fine-tuning")


def put_on_device(model: ChatModel, config: TuningConfig, adapter: AdapterConfig) -> None:
    """Move the network to where it is trained; a frozen base is kept in bfloat16 where training computes in it."""
    if adapter.method == "qlora":
        return
    network: Any = model.network
    network.to(find_device(config.device, "--trainer.device"))
    if adapter.method == "lora" and config.precision == "bf16":
        network.to(torch.bfloat16)


@torch.inference_mode()
def answer_loss(network: PreTrainedModel, rows: Sequence[Row], batch_size: int) -> float:
    """Mean cross-entropy in nats per answer token: what supervised fine-tuning makes smaller."""
    was_training, total, n_tokens = network.training, 0.0, 0
    network.eval()
    try:
        for start in range(0, len(rows), batch_size):
            ids, mask, labels = padded(rows[start : start + batch_size])  # (B, T) each
            found: Any = network(
                input_ids=ids.to(network.device), attention_mask=mask.to(network.device), use_cache=False
            )
            logits, targets = found.logits[:, :-1].float(), labels[:, 1:].to(network.device)
            total += F.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
            ).item()
            n_tokens += int((targets != IGNORED).sum())
    finally:
        network.train(was_training)
    return total / n_tokens


def padded(rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(B, T) token ids, attention mask and labels, filled up on the right."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for index, row in enumerate(rows):
        size = len(row["input_ids"])
        ids[index, :size] = torch.tensor(row["input_ids"])
        labels[index, :size] = torch.tensor(row["labels"])
        mask[index, :size] = 1
    return ids, mask, labels
