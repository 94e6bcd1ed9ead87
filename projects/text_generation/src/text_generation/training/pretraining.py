"""Next-token training of a model from random weights, on packed windows of a corpus.

Every draw of a step depends on the run's seed and the step's number alone, so a resumed run ends with the same weights.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from roadmap_shared.allocator import keep_freed_memory
from roadmap_shared.errors import UserError
from roadmap_shared.interruption import finish_step_on_interrupt
from roadmap_shared.progress import progress
from roadmap_shared.runs import Run
from text_generation.backends.hf_loading import find_device
from text_generation.config.training import TrainerConfig
from text_generation.training.checkpoints import newest_training_state, save_training_state
from text_generation.training.optimization import build_optimizers, learning_rate_factor, set_learning_rate
from text_generation.training.packing import IGNORED, Batch, DocumentWindows, Packing, StreamWindows, Windows, pack


@dataclass(frozen=True)
class EncodedCorpus:
    """A corpus as token ids, a row a document, without the end-of-text token."""

    train: list[list[int]]
    validation: list[list[int]]
    end: int
    """The end-of-text token."""


def encoded_corpus(
    train: Sequence[str], validation: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> EncodedCorpus:
    """Encode the documents."""

    def encoded(documents: Sequence[str]) -> Any:
        return tokenizer(list(documents), add_special_tokens=False, verbose=False)["input_ids"] if documents else []

    end: Any = tokenizer.eos_token_id
    return EncodedCorpus(encoded(train), encoded(validation), int(end))


class NextTokenLoss(nn.Module):
    """Model and loss as one module, which torch.compile takes as one graph."""

    def __init__(self, model: PreTrainedModel, precision: str) -> None:
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, inputs: Tensor, targets: Tensor, positions: Tensor) -> Tensor:
        """Mean cross-entropy in nats of a `Batch`, (B, T) each; `IGNORED` targets are left out."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.model(input_ids=inputs, position_ids=positions, use_cache=False).logits  # (B, T, V)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def pretrain(model: PreTrainedModel, corpus: EncodedCorpus, config: TrainerConfig, run: Run) -> None:
    """Train `model` in place for `config.steps` steps, from the newest checkpoint if the run is resumed.

    Logs `loss`, `lr`, `grad_norm` and `tokens_per_second` each step, `val_loss` in nats a token when due; leaves
    checkpoints in the run folder. Ctrl-C finishes the step, leaves a checkpoint and raises KeyboardInterrupt.

    Raises:
        UserError: the corpus is shorter than two windows, or the loss is not a number any more.
    """
    device = training_device(config)
    keep_freed_memory()
    context = int(model.config.n_positions)
    windows = training_windows(corpus, context, config.packing, run.seed)
    held_out = validation_windows(corpus, context, config.packing)
    model.to(device).train()  # type: ignore[arg-type]
    optimizers = build_optimizers(model, config)
    first_step = newest_training_state(run, model, optimizers)
    loss_of = NextTokenLoss(model, config.precision)
    compiled: Callable[..., Tensor] = torch.compile(loss_of) if config.compile else loss_of
    with finish_step_on_interrupt() as interrupted:
        bar = progress(config.steps, "training", "step", done=first_step)
        for step in bar:
            started = time.perf_counter()
            rate = config.learning_rate * learning_rate_factor(step, config)
            set_learning_rate(optimizers, rate)
            torch.manual_seed(int(np.random.SeedSequence([run.seed, step]).generate_state(1)[0]))  # dropout
            batch = windows.batch(step, config.batch_size).to(device)
            loss = accumulate_gradients(compiled, batch, config.accumulation_steps)
            norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm or math.inf).item()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            metrics = {"loss": loss, "lr": rate, "grad_norm": norm}
            metrics["tokens_per_second"] = batch.inputs.numel() / (time.perf_counter() - started)
            done = step + 1
            if done % config.evaluate_every == 0 or done == config.steps:
                metrics["val_loss"] = validation_loss(model, held_out, config.batch_size)
            run.log(done, **metrics)
            bar.postfix(loss=loss)
            check_finite(loss, done)
            if done % config.checkpoint_every == 0 or done == config.steps or interrupted():
                save_training_state(run, done, model, optimizers)
            if interrupted():
                raise KeyboardInterrupt
    model.eval()


def training_device(config: TrainerConfig) -> torch.device:
    """Also sets the number of CPU threads where the config names one."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return find_device(config.device, "--trainer.device")


def training_windows(corpus: EncodedCorpus, context: int, packing: Packing, seed: int) -> Windows:
    """Raises UserError for a corpus too small for the context."""
    try:
        if packing == "documents":
            return DocumentWindows(corpus.train, context, corpus.end, seed)
        return StreamWindows(pack(corpus.train, corpus.end), context, seed)
    except ValueError as error:
        raise UserError(f"the training texts: {error}. Give more text, or a smaller --model.context") from None


def validation_windows(corpus: EncodedCorpus, context: int, packing: Packing) -> Batch:
    """All held-out windows, packed as in training; a stream is cut into disjoint windows."""
    if packing == "documents":
        return DocumentWindows(corpus.validation, context, corpus.end, seed=0).all
    stream = pack(corpus.validation, corpus.end)
    n_windows = -(-(len(stream) - 1) // context)
    inputs, targets = torch.full((2, n_windows * context), IGNORED)
    inputs[: len(stream) - 1], targets[: len(stream) - 1] = torch.from_numpy(stream[:-1]), torch.from_numpy(stream[1:])
    inputs = inputs.masked_fill(inputs == IGNORED, corpus.end)
    return Batch(inputs.view(-1, context), targets.view(-1, context), torch.arange(context).expand(n_windows, -1))


def accumulate_gradients(loss_of: Callable[..., Tensor], batch: Batch, n_parts: int) -> float:
    """Gradients of the mean loss over the batch's targets, left in the parameters; returns that loss."""
    total = 0.0
    n_targets = (batch.targets != IGNORED).sum()
    for part in batch.parts(n_parts):
        loss = loss_of(*part) * ((part.targets != IGNORED).sum() / n_targets)
        loss.backward()
        total += loss.detach().item()
    return total


@torch.inference_mode()
def validation_loss(model: PreTrainedModel, windows: Batch, batch_size: int) -> float:
    """Mean cross-entropy in nats a token over the targets of all windows.

    The curve of a training; the perplexity calculator slides its window and gives a lower, comparable figure.
    """
    was_training = model.training
    model.eval()
    total = 0.0
    try:
        for part in windows.parts(-(-len(windows.inputs) // batch_size)):
            inputs, targets, positions = part.to(model.device)
            logits = model(input_ids=inputs, position_ids=positions, use_cache=False).logits
            total += F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum").item()
    finally:
        model.train(was_training)
    return total / int((windows.targets != IGNORED).sum())


def check_finite(loss: float, step: int) -> None:
    """Raise UserError when training has diverged."""
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} at step {step}: training diverged. Lower --trainer.learning_rate or lengthen "
            "--trainer.warmup_steps; earlier checkpoints are kept"
        )
