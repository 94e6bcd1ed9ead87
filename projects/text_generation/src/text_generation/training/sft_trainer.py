"""What the trainings by TRL's trainers have in common: settings, logging, whole checkpoints, resumption, Ctrl-C."""

import hashlib
import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from roadmap_shared.interruption import finish_step_on_interrupt
from roadmap_shared.progress import Progress, progress
from roadmap_shared.ranks import is_main_process
from roadmap_shared.runs import Run
from text_generation.backends.hf_loading import find_device
from text_generation.config.finetuning import TuningConfig
from text_generation.training.sft_model import tuning_warnings

SEAL = "files.json"
_FOLDER = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")
_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
_LOGGED = {
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "mean_token_accuracy": "token_accuracy",
    "rewards/accuracies": "pairs_right",
    "rewards/margins": "reward_margin",
    "reward": "reward",
    "reward_std": "reward_std",
    "kl": "kl",
}
"""What TRL calls each figure, and how it is logged here."""


@dataclass(frozen=True)
class Workplace:
    """Where a training keeps its checkpoints and figures."""

    seed: int
    checkpoints: Path | None = None
    """None: no checkpoint is written."""

    resumed: bool = False
    run: Run | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    """Figures of each step of this session: {"step": 1, "loss": 2.3, …}."""

    @classmethod
    def of(cls, run: Run) -> "Workplace":
        """That of a command's run."""
        return cls(seed=run.seed, checkpoints=run.checkpoints, resumed=run.resumed, run=run)

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Record a step."""
        self.history.append({"step": step, **figures})
        if self.run is not None:
            self.run.log(step, **figures)

    def newest_checkpoint(self) -> Path | None:
        """The newest whole checkpoint of a resumed run. Figures logged after it are dropped: they will come again."""
        if not self.resumed or self.checkpoints is None:
            return None
        newest = newest_whole_checkpoint(self.checkpoints)
        if self.run is not None:
            self.run.rewind(0 if newest is None else int(newest.name.rpartition("-")[2]))
        return newest


class SilentTrainer:
    """Put before a trainer of TRL among the bases: tells nobody that there is a training."""

    def _send_telemetry(self) -> None:
        """TRL would report the trainer, the architecture and the GPU to the hub."""


@contextmanager
def output_folder(place: Workplace) -> Iterator[str]:
    """Folder for the checkpoints; a temporary one, which stays empty, where none is to be kept."""
    if place.checkpoints is not None:
        yield str(place.checkpoints)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def training_settings(config: TuningConfig, place: Workplace, folder: str) -> dict[str, Any]:
    """The arguments that TRL's configs have in common."""
    cuda = find_device(config.device, "--trainer.device").type == "cuda"
    if config.precision == "bf16" and not cuda:
        raise UserError("--trainer.precision bf16 is for a GPU: give fp32 here")
    return {
        "output_dir": folder,
        "per_device_train_batch_size": config.batch_size // config.accumulation_steps,
        "gradient_accumulation_steps": config.accumulation_steps,
        "num_train_epochs": config.epochs,
        "max_steps": -1 if config.steps is None else config.steps,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": _SCHEDULES[config.schedule],
        "warmup_steps": config.warmup_share,  # below 1 it is a share
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.clip_norm,
        "optim": "adamw_torch",
        "seed": place.seed,
        "data_seed": place.seed,
        "bf16": config.precision == "bf16",
        "fp16": False,
        "activation_checkpointing": config.gradient_checkpointing,
        "use_cpu": not cuda,
        "dataloader_pin_memory": cuda,
        "eval_strategy": "no",
        "save_strategy": "no" if place.checkpoints is None else "steps",
        "save_steps": config.checkpoint_every,
        "save_total_limit": 2,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would replace what StepLogger looks for
        "report_to": "none",
        "disable_tqdm": True,
    }


def run_trainer(make: Callable[[], Trainer], place: Workplace, config: TuningConfig, description: str) -> Any:
    """Make a trainer and train, from the newest whole checkpoint if the run is resumed; returns the network.

    Ctrl-C finishes the step, saves a checkpoint and raises KeyboardInterrupt.

    Raises:
        UserError: the loss is no number any more.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with finish_step_on_interrupt() as interrupted, tuning_warnings():
        trainer = make()
        # The Trainer's own table and bar; ours goes to the run and to stderr.
        for shown in list(trainer.callback_handler.callbacks):
            if type(shown).__name__ in ("PrinterCallback", "ProgressCallback"):
                trainer.remove_callback(type(shown))
        logger = StepLogger(place, description)
        for callback in (logger, SealCheckpoints(), StopOnInterrupt(interrupted, place.checkpoints is not None)):
            trainer.add_callback(callback)
        newest = place.newest_checkpoint()
        try:
            trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        finally:
            logger.close()
        if interrupted():
            raise KeyboardInterrupt
    return as_it_was(trainer.model)


def as_it_was(network: Any) -> Any:
    """The network with its class's own `forward` again, in place of the one that TRL and accelerate have put there.

    Theirs holds on to the network that it was made for, so that a copy would run that one.
    """
    base = network.get_base_model() if isinstance(network, PeftModel) else network
    for module in (network, base):
        for name in ("forward", "_original_forward"):
            module.__dict__.pop(name, None)
    return network


class StepLogger(TrainerCallback):
    """Passes the figures of each step on, shows progress, and stops a training that has diverged."""

    def __init__(self, place: Workplace, description: str) -> None:
        self.place, self.description = place, description
        self.bar: Progress[int] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.bar = progress(state.max_steps, self.description, "step", done=state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        figures = {name: float(logs[key]) for key, name in _LOGGED.items() if logs and key in logs}
        if "loss" not in figures:  # the summary after the last step
            return
        if not math.isfinite(figures["loss"]):
            raise UserError(
                f"the loss is {figures['loss']} at step {state.global_step}: training diverged. Lower "
                "--trainer.learning_rate; earlier checkpoints are kept"
            )
        self.place.log(state.global_step, figures)
        if self.bar is not None:
            self.bar.postfix(loss=figures["loss"])

    def close(self) -> None:
        """Show the final count."""
        if self.bar is not None:
            self.bar.close()


class StopOnInterrupt(TrainerCallback):
    """After Ctrl-C: save a checkpoint at the end of the step and stop."""

    def __init__(self, interrupted: Callable[[], bool], saves: bool) -> None:
        self.interrupted, self.saves = interrupted, saves

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.interrupted():
            control.should_save = self.saves
            control.should_training_stop = True


class SealCheckpoints(TrainerCallback):
    """Writes a list of a finished checkpoint's files with their checksums, last of all.

    The Trainer writes a checkpoint's files one after another into its folder, and would resume from a part of them.
    """

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            seal(Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")


def seal(folder: Path) -> None:
    """Mark a finished checkpoint as whole."""
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != SEAL}
    atomic_write(folder / SEAL, json.dumps(files, indent=1))


def fault_of(folder: Path) -> str | None:
    """Why a checkpoint cannot be used; None when it is whole."""
    if not (folder / SEAL).is_file():
        return "was not finished"
    try:
        files = json.loads((folder / SEAL).read_text("utf-8"))
        for name, checksum in files.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if _sha256(folder / name) != checksum:
                return f"{name} is damaged"
    except (OSError, ValueError, AttributeError):
        return f"{SEAL} cannot be read"
    return None


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; each other on the way is named on stderr and removed.

    Left in place, it would pass for older than what is written into it, and the Trainer would remove it as such.
    """
    if not folder.is_dir():
        return None
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _FOLDER.fullmatch(path.name))]
    for _, path in sorted(found, reverse=True):
        fault = fault_of(path)
        if fault is None:
            return path
        if is_main_process():
            print(f"checkpoint skipped: {path}: {fault}", file=sys.stderr)
            shutil.rmtree(path, ignore_errors=True)
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
