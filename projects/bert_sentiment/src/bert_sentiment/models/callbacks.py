"""What happens around the Trainer's steps: logging, progress, timing, early stopping, Ctrl-C."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from bert_sentiment.models.checkpoints import seal
from roadmap_shared.progress import Progress, progress
from roadmap_shared.runs import Run


class RunLogger(TrainerCallback):
    """Passes losses and validation figures to the run, and shows progress."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.bar: Progress[int] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.bar = progress(state.max_steps, "training", "step", done=state.global_step)
        self.bar.__enter__()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        logs = logs or {}
        wanted = {"loss": "loss", "learning_rate": "learning_rate", "grad_norm": "gradient_norm"}
        wanted |= {"eval_cross_entropy": "val_loss", "eval_accuracy": "val_accuracy", "eval_macro_f1": "val_macro_f1"}
        if figures := {name: float(logs[key]) for key, name in wanted.items() if key in logs}:
            self.run.log(state.global_step, **figures)
            if self.bar is not None and "loss" in figures:
                self.bar.postfix(loss=figures["loss"])


class StepClock(TrainerCallback):
    """Measures the steps, without the evaluations and checkpoints between them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    @property
    def median(self) -> float:
        """Seconds of the median step, which a pause of the machine does not change; NaN before the first."""
        return median(self.seconds) if self.seconds else float("nan")

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)


class SealCheckpoints(TrainerCallback):
    """Marks each finished checkpoint as whole."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            seal(Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")


class EarlyStopping(TrainerCallback):
    """Stops after `patience` evaluations without a better metric.

    The best value is that of the checkpoints themselves (`state.best_metric`), so a resumed run counts on.

    Raises:
        RuntimeError: an evaluation did not give the metric: stopping would silently be off.
    """

    def __init__(self, metric: str, patience: int | None) -> None:
        self.metric, self.patience = metric, patience

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if f"eval_{self.metric}" not in (metrics or {}):
            raise RuntimeError(f"the evaluation gave no '{self.metric}' to stop by, only {sorted(metrics or {})}")
        if self.patience is None:
            return
        history = [line[f"eval_{self.metric}"] for line in state.log_history if f"eval_{self.metric}" in line]
        if self.metric == "cross_entropy":
            history = [-value for value in history]
        if len(history) - 1 - history.index(max(history)) >= self.patience:
            control.should_training_stop = True


class StopOnInterrupt(TrainerCallback):
    """After Ctrl-C: save a checkpoint at the end of the step and stop."""

    def __init__(self, interrupted: Callable[[], bool]) -> None:
        self.interrupted = interrupted

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.interrupted():
            control.should_save = True
            control.should_evaluate = False
            control.should_training_stop = True
