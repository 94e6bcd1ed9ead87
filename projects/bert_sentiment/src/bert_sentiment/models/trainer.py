"""Fine-tuning with transformers' Trainer, with what it leaves to its user: learning rates by depth, class weights,
buckets that are the same for any number of processes, early stopping that cannot be off by mistake, safe resumption.

`torchrun --nproc-per-node N` or `accelerate launch` spreads it over several processes; `batch_size` is global.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import torch
import torch.nn.functional as F
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import EvalPrediction, PreTrainedTokenizerBase, Trainer

from bert_sentiment.config import TrainerConfig
from bert_sentiment.data.preprocessor import pad, token_ids
from bert_sentiment.data.types import SentimentDataset, Splits
from bert_sentiment.models.batches import BucketSampler
from bert_sentiment.models.bert_classifier import SentimentModel, quiet_transformers
from bert_sentiment.models.callbacks import EarlyStopping, RunLogger, SealCheckpoints, StepClock, StopOnInterrupt
from bert_sentiment.models.checkpoints import load_trained, newest_whole_checkpoint, save_trained, trains_a_part
from bert_sentiment.models.devices import find_device
from bert_sentiment.models.learning_rates import parameter_groups
from bert_sentiment.models.training_settings import METRICS, training_arguments
from roadmap_shared.errors import UserError
from roadmap_shared.interruption import finish_step_on_interrupt
from roadmap_shared.metrics import evaluate_modules
from roadmap_shared.runs import Run


@dataclass(frozen=True)
class TrainingResult:
    """How a training went: the step of the weights that were kept, and their validation metric."""

    best_step: int
    best_metric: float
    steps: int
    epochs: float
    seconds_per_step: float = field(default=float("nan"), compare=False)
    """Of the median step since the start or the resumption, on the main process."""


class TokenizedTexts(Dataset[dict[str, Any]]):
    """Token ids and labels, in a fixed order."""

    def __init__(self, model: SentimentModel, dataset: SentimentDataset, *, sort: bool = False) -> None:
        sequences = token_ids(dataset.texts, model.tokenizer, model.preprocessing)
        order = sorted(range(len(dataset)), key=lambda index: -len(sequences[index])) if sort else range(len(dataset))
        self.items = [{"input_ids": sequences[index], "labels": dataset.targets[index]} for index in order]

    @property
    def lengths(self) -> list[int]:
        return [len(item["input_ids"]) for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


def train(
    model: SentimentModel, splits: Splits, config: TrainerConfig, run: Run, max_steps: int | None = None
) -> TrainingResult:
    """Fine-tune `model` in place; it ends with the weights of the best evaluation.

    Checkpoints go into the run folder; a resumed run goes on from the newest whole one. Ctrl-C finishes the step, saves
    and raises KeyboardInterrupt.

    Args:
        model: with all weights to train, or with a fine-tuning method that says which (`apply_method`).
        splits: the test part is not used.
        run: where to; its seed orders the texts and draws the dropout.
        max_steps: steps after which training ends even if `config.epochs` are not over.

    Raises:
        UserError: the loss became infinite or not a number, the batch cannot be shared out evenly, or the device has
            no such precision.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    folder, checkpoint = agree_on_folders(config, run)
    trained_on = TokenizedTexts(model, splits.train)
    weights = class_weights(splits.train.targets, len(splits.labels)) if config.class_weights == "balanced" else None
    clock = StepClock()
    with finish_step_on_interrupt() as interrupted, quiet_transformers():
        trainer = SentimentTrainer(
            config=config,
            class_weights=weights,
            seed=run.seed,
            network=model.network,
            args=training_arguments(config, len(trained_on), run.seed, folder, max_steps),
            train_dataset=trained_on,
            eval_dataset=TokenizedTexts(model, splits.validation, sort=True),
            data_collator=partial(collate, tokenizer=model.tokenizer),
            compute_metrics=compute_metrics,
            callbacks=[
                RunLogger(run),
                SealCheckpoints(),
                EarlyStopping(METRICS[config.metric], config.patience),
                StopOnInterrupt(interrupted),
                clock,
            ],
        )
        # The Trainer's own table and bar; ours goes to the run and to stderr.
        for shown in list(trainer.callback_handler.callbacks):
            if type(shown).__name__ in ("PrinterCallback", "ProgressCallback"):
                trainer.remove_callback(type(shown))
        trainer.train(resume_from_checkpoint=checkpoint)
        if interrupted():
            raise KeyboardInterrupt
        # Without mixed precision again, in place: what is measured next is what is saved.
        trainer.accelerator.unwrap_model(model.network, keep_fp32_wrapper=False)
    state = trainer.state
    return TrainingResult(
        best_step=state.best_global_step or state.global_step,
        best_metric=float("nan") if state.best_metric is None else float(state.best_metric),
        steps=state.global_step,
        epochs=float(state.epoch or 0),
        seconds_per_step=clock.median,
    )


def agree_on_folders(config: TrainerConfig, run: Run) -> tuple[str, str | None]:
    """Where checkpoints go, and the one to resume from. Rank 0 knows, and tells the other processes."""
    found: list[Any] = [None, None]
    if run.is_main:
        newest = newest_whole_checkpoint(run.checkpoints) if run.resumed else None
        if run.resumed:
            run.rewind(0 if newest is None else int(newest.name.rpartition("-")[2]))
        found = [str(run.checkpoints), None if newest is None else str(newest)]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        PartialState(cpu=find_device(config.device).type == "cpu")  # joins the processes
        broadcast_object_list(found)
    return found[0], found[1]


class SentimentTrainer(Trainer):
    """The Trainer with our batches, loss and optimiser, and checkpoints that fit fine-tuning methods."""

    def __init__(
        self, *, network: nn.Module, config: TrainerConfig, class_weights: Tensor | None, seed: int, **kwargs: Any
    ) -> None:
        super().__init__(model=network, **kwargs)
        self.network, self.config, self.class_weights, self.data_seed = network, config, class_weights, seed

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        dataset: Any = train_dataset or self.train_dataset
        return BucketSampler(dataset.lengths, self.config.batch_size, self.data_seed, bucket=self.config.bucket)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW with one learning rate a depth."""
        if self.optimizer is None:
            groups = parameter_groups(model or self.model, self.config)  # type: ignore[arg-type]
            self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True)
        return self.optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Cross-entropy with class weights and label smoothing; the mean over the texts of the step."""
        labels = inputs["labels"]
        outputs = model(**{name: tensor for name, tensor in inputs.items() if name != "labels"})
        loss = classification_loss(outputs.logits, labels, self.class_weights, self._smoothing(model))
        if num_items_in_batch is not None and model.training:
            # The Trainer adds up the parts of a step (accumulation, and in DDP the mean over processes).
            loss = loss * len(labels) * self.args.world_size / num_items_in_batch
        return (loss, outputs) if return_outputs else loss

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not trains_a_part(self.network):
            super()._save(output_dir, state_dict)
        elif self.args.should_save:
            save_trained(self.network, Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if trains_a_part(self.network):
            load_trained(self.network, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if trains_a_part(self.network):
            load_trained(self.network, Path(str(self.state.best_model_checkpoint)))
        else:
            super()._load_best_model()

    def _smoothing(self, model: nn.Module) -> float:
        return self.config.label_smoothing if model.training else 0.0

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One step; a loss that is no number ends the training instead of ruining the weights in silence."""
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}: training diverged. Lower "
                "--trainer.learning_rate or --trainer.head_factor; earlier checkpoints are kept"
            )
        return loss


def classification_loss(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy in nats of (B, K) logits; with weights, each text counts as much as its label weighs.

    The mean is over the texts, not over their weights: a step's parts then add up to the whole step.
    """
    weights = None if weights is None else weights.to(logits)
    losses = F.cross_entropy(logits, labels, weights, label_smoothing=label_smoothing, reduction="none")  # (B,)
    return losses.mean()


def class_weights(targets: Sequence[int], n_labels: int) -> Tensor:
    """(K,) weights n / (K · n_k): every label then weighs as much as every other, and the mean text weighs 1."""
    counts = np.bincount(targets, minlength=n_labels)
    return torch.tensor(len(targets) / (n_labels * np.maximum(counts, 1)), dtype=torch.float32)


def collate(items: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """A batch, padded to its longest text."""
    batch = pad([item["input_ids"] for item in items], tokenizer)
    return {**batch, "labels": torch.tensor([item["labels"] for item in items])}


def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Validation figures of an evaluation.

    The cross-entropy is taken from the logits of all texts: the Trainer's own `eval_loss` is a mean over batches, which
    counts some texts twice where several processes share them out.
    """
    logits, targets = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    decisions = evaluate.combine([evaluate_modules.load(name) for name in ("accuracy", "macro_f1")])
    return {
        "cross_entropy": F.cross_entropy(torch.from_numpy(logits).float(), torch.from_numpy(targets)).item(),
        **decisions.compute(predictions=logits.argmax(axis=-1), references=targets),
    }
