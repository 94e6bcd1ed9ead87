"""The training loop, the same for all three models.

What is trained on comes in as a `Task`; the loop knows nothing of text. Every random draw of a step depends on the
run's seed and the step's number alone (`corpus.random_seed`), so a resumed run continues bit for bit.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from roadmap_shared.errors import UserError
from roadmap_shared.interruption import finish_step_on_interrupt
from roadmap_shared.progress import progress
from roadmap_shared.runs import Run
from transformer_from_scratch.checkpoints import newest_training_state, save_training_state, unsharded, whole
from transformer_from_scratch.config import TrainerConfig
from transformer_from_scratch.corpus import random_seed
from transformer_from_scratch.models import IGNORED
from transformer_from_scratch.optimizers import build_optimizers, learning_rate_factor, set_learning_rate
from transformer_from_scratch.processes import Processes, check_batch, replicate, shard
from transformer_from_scratch.tokenizers import Tokenizer

Batch = tuple[Tensor, ...]
Model = TypeVar("Model", bound=nn.Module)


class Task(Protocol):
    """What the loop trains on."""

    tokenizer: Tokenizer

    def batch(self, step: int, batch_size: int) -> Batch:
        """Tensors whose first dimension is the batch; the last tensor holds the targets, `IGNORED` where there is
        none."""
        ...

    def loss(self, model: nn.Module, batch: Batch, label_smoothing: float) -> Tensor:
        """Mean loss over the targets of the batch."""
        ...

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures on the whole validation part."""
        ...


class StepLoss(nn.Module):
    """Model and loss as one module, because DDP and torch.compile wrap a module's `forward`."""

    def __init__(self, model: nn.Module, task: Task, config: TrainerConfig, device: torch.device) -> None:
        super().__init__()
        self.model, self.task, self.config, self.device = model, task, config, device

    def forward(self, *batch: Tensor) -> Tensor:
        enabled = self.config.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=enabled):
            return self.task.loss(self.model, batch, self.config.label_smoothing)


def train(model: Model, task: Task, config: TrainerConfig, run: Run, processes: Processes) -> Model:
    """Train `model` in place for `config.steps` steps, from the newest checkpoint if the run is resumed.

    Logs `loss`, `lr`, `grad_norm` and `tokens_per_second` each step and the task's validation figures when due; leaves
    checkpoints in the run folder. Ctrl-C finishes the step, leaves a checkpoint and raises KeyboardInterrupt. Returns
    the model, which FSDP had cut up, whole again.

    Raises:
        UserError: the loss is not a number any more, or a setting does not fit the processes.
    """
    check_batch(config, processes)
    model.to(processes.device).train()
    shard(model, config, processes)
    optimizers = build_optimizers(model, config)
    first_step = newest_training_state(run, model, optimizers)
    step_loss = replicate(StepLoss(model, task, config, processes.device), config, processes)
    compiled = torch.compile(step_loss) if config.compile else step_loss

    with finish_step_on_interrupt() as interrupted:
        for step in progress(config.steps, "training", "step", done=first_step):
            started = time.perf_counter()
            factor = learning_rate_factor(step, config)
            set_learning_rate(optimizers, factor)
            torch.manual_seed(random_seed(run.seed, step, processes.rank))  # dropout
            batch = task.batch(step, config.batch_size)
            loss = accumulate_gradients(compiled, step_loss, batch, config, processes)
            gradient_norm = clip_gradients(model, config.clip_norm)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            seconds = time.perf_counter() - started

            n_tokens = int((batch[-1] != IGNORED).sum())
            metrics = {"loss": loss, "lr": config.learning_rate * factor, "grad_norm": gradient_norm}
            metrics["tokens_per_second"] = n_tokens / seconds
            done = step + 1
            if done % config.evaluate_every == 0 or done == config.steps:
                metrics |= task.evaluate(model)
            run.log(done, **metrics)
            check_finite(loss, done)
            if done % config.checkpoint_every == 0 or done == config.steps or interrupted():
                save_training_state(run, done, model, optimizers, task.tokenizer, config)
            if interrupted():
                raise KeyboardInterrupt
    return unsharded(model)


def accumulate_gradients(
    compiled: Callable[..., Tensor], step_loss: nn.Module, batch: Batch, config: TrainerConfig, processes: Processes
) -> float:
    """Gradients of the mean loss over the whole batch, left in the parameters; returns that loss.

    The batch is cut into `accumulation_steps` parts for each process. Each part's mean loss is weighted by its share of
    the targets, so the sum is the mean over all targets, however unevenly padding is spread. DDP averages over the
    processes, where a sum is meant: hence the factor `processes.count`.
    """
    n_targets = int((batch[-1] != IGNORED).sum())
    parts = rows_of_process(batch, config.accumulation_steps, processes)
    total = torch.zeros((), device=processes.device)
    for index, part in enumerate(parts):
        share = int((part[-1] != IGNORED).sum()) / max(1, n_targets)
        with gradients_stay_here(step_loss) if index < len(parts) - 1 else nullcontext():
            loss = compiled(*(tensor.to(processes.device) for tensor in part)) * share
            (loss * processes.count).backward()
        total += loss.detach()
    if processes.count > 1:
        torch.distributed.all_reduce(total)
    return total.item()


def rows_of_process(batch: Batch, n_parts: int, processes: Processes) -> list[Batch]:
    """This process's rows of a batch, cut into `n_parts`."""
    mine = [tensor.chunk(processes.count)[processes.rank] for tensor in batch]
    return list(zip(*(tensor.chunk(n_parts) for tensor in mine), strict=True))


def gradients_stay_here(step_loss: nn.Module) -> AbstractContextManager[None]:
    """While parts of a step are added up, DDP need not average after each."""
    return step_loss.no_sync() if isinstance(step_loss, DistributedDataParallel) else nullcontext()


def clip_gradients(model: nn.Module, longest: float) -> float:
    """Scale all gradients down together if their joint norm exceeds `longest` (0: never); returns the norm before."""
    norm = nn.utils.clip_grad_norm_(model.parameters(), longest if longest > 0 else math.inf)
    return whole(norm).item()


def check_finite(loss: float, step: int) -> None:
    """Raise UserError when training has diverged."""
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} at step {step}: training diverged. Lower --trainer.learning_rate or "
            "--trainer.muon_learning_rate, or lengthen --trainer.warmup_steps; earlier checkpoints are kept"
        )


def mean_tokens_per_second(history: Sequence[dict]) -> float:
    """Median training throughput over the steps of a run; evaluation and checkpoints are not in it."""
    rates = sorted(line["tokens_per_second"] for line in history if line.get("tokens_per_second"))
    return rates[len(rates) // 2] if rates else 0.0
