"""The trainings of one method: its learning rate tuned on the validation texts, then several seeds at the best one."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from bert_sentiment.arena.forgetting import encoder_features, general_texts, lost_neighbours
from bert_sentiment.arena.memory import peak_memory_mb, start_measuring
from bert_sentiment.arena.trials import Trial, TrialResult, read_dead_end, read_result, write_dead_end
from bert_sentiment.config import ArenaConfig, MethodName, TrainerConfig
from bert_sentiment.data.types import Splits
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier, softmax
from bert_sentiment.models.devices import find_device
from bert_sentiment.models.method_files import save_method
from bert_sentiment.models.methods import apply_method, trained_parameters
from bert_sentiment.models.trainer import train
from bert_sentiment.run_layout import PROJECT
from roadmap_shared.errors import UserError
from roadmap_shared.run import Run

FOLDER = "arena"
"""Folder of all trials inside the run."""


def tuning_trials(config: ArenaConfig, method: MethodName) -> list[Trial]:
    """One training per rate, lowest rate first."""
    return [Trial(method, rate, config.run.seed) for rate in config.rates.of(method)]


def final_trials(config: ArenaConfig, method: MethodName, rate: float) -> list[Trial]:
    """The trainings that are tested. Their seeds are not the tuning's: the luck of a chosen one does not count."""
    return [Trial(method, rate, (config.run.seed + 1 + number) % 2**32) for number in range(config.arena.n_seeds)]


def best_rate(config: ArenaConfig, method: MethodName, arena: Path) -> float | None:
    """The rate with the best validation metric, of equal ones the lowest; None where every rate diverged."""
    sign = -1 if config.trainer.metric == "loss" else 1
    results = [(trial.rate, read_result(trial.folder(arena))) for trial in tuning_trials(config, method)]
    scores = {rate: sign * result.validation for rate, result in results if result and result.validation is not None}
    return max(scores, key=lambda rate: scores[rate], default=None)


@dataclass(frozen=True)
class MethodTraining:
    """All that the trainings of one method need.

    Args:
        config: of the arena.
        method: which one.
        splits: the texts.
        arena: folder of all trials.
        fresh_process: whether this process trains nothing else.
        go_on: asked before each training; False ends the work.
    """

    config: ArenaConfig
    method: MethodName
    splits: Splits
    arena: Path
    fresh_process: bool = False
    go_on: Callable[[], bool] = lambda: True

    def run(self) -> None:
        """Train what is not done yet. Results lie in the trials' folders; a method that does not fit is noted."""
        if read_dead_end(self.arena, self.method) is not None:
            return
        plain = self.plain(self.config.run.seed)
        try:
            self.with_method(plain, self.config.run.seed)
        except UserError as error:
            write_dead_end(self.arena, self.method, str(error))
            return
        self._train_missing(tuning_trials(self.config, self.method), tested=False)
        rate = best_rate(self.config, self.method, self.arena)
        if rate is not None:
            self._train_missing(final_trials(self.config, self.method, rate), tested=True)

    def plain(self, seed: int) -> SentimentModel:
        """The pretrained encoder with a new classification layer, drawn from the seed."""
        return build_classifier(self.config.model, self.config.preprocessing, self.splits.labels, seed)

    def with_method(self, plain: SentimentModel, seed: int) -> SentimentModel:
        """The model with what the method adds, drawn from the seed.

        Raises:
            UserError: the method does not fit the encoder.
        """
        torch.manual_seed(seed)
        return apply_method(plain, replace(self.config.method, name=self.method))

    def _train_missing(self, trials: list[Trial], *, tested: bool) -> None:
        is_first = self.fresh_process and not tested
        for trial in trials:
            folder = trial.folder(self.arena)
            if read_result(folder) is not None:
                continue
            if not self.go_on():
                raise KeyboardInterrupt
            result = self._train(trial, folder, tested=tested, is_first=is_first)
            is_first = False
            result.write(folder)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    def _train(self, trial: Trial, folder: Path, *, tested: bool, is_first: bool) -> TrialResult:
        """One training, resumed where an interrupted one left a checkpoint; tested if asked for."""
        print(f"arena: {trial.method}, learning rate {trial.rate:g}, seed {trial.seed}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        settings = replace(self.config, run=replace(self.config.run, seed=trial.seed))
        run = Run(settings, PROJECT, FOLDER, folder, resumed=(folder / "checkpoints").is_dir())
        model = self.with_method(self.plain(trial.seed), trial.seed)
        trained, total = trained_parameters(model.network)
        try:
            start_measuring(find_device(self.config.trainer.device))
            trainer = rates_for(trial, self.config.trainer)
            training = train(model, self.splits, trainer, run, self.config.arena.max_steps)
        except UserError as error:
            return TrialResult(failure=str(error), trained=trained, total=total)
        seconds = training.seconds_per_step
        result = TrialResult(
            trained=trained,
            total=total,
            steps=training.steps,
            best_step=training.best_step,
            validation=training.best_metric,
            # NaN where a resumed training had no step left.
            seconds_per_step=seconds if seconds == seconds else None,
            peak_memory_mb=peak_memory_mb(find_device(self.config.trainer.device), is_first),
        )
        return self._test(model, result, folder) if tested else result

    def _test(self, model: SentimentModel, result: TrialResult, folder: Path) -> TrialResult:
        """The result with what the trained model does on the test texts, takes on the disk, and has forgotten."""
        after = encoder_features(model, self._general_texts)
        return replace(
            result,
            probabilities=softmax(model.logits(self.splits.test.texts, self.config.evaluation.batch_size)),
            file_bytes=saved_bytes(model, folder / "saved"),
            forgetting=lost_neighbours(self._features_before, after),
        )

    @cached_property
    def _general_texts(self) -> list[str]:
        return general_texts(self.config.arena.n_forgetting)

    @cached_property
    def _features_before(self) -> np.ndarray:
        """Of the pretrained encoder; no seed changes them."""
        return encoder_features(self.plain(self.config.run.seed), self._general_texts)


def rates_for(trial: Trial, config: TrainerConfig) -> TrainerConfig:
    """The trainer's settings with the trial's rate. The classification layer keeps the rate that `config` gives it, as
    it is the same layer for every method; with `head` the trial's rate is its own."""
    of_head = trial.rate if trial.method == "head" else config.learning_rate * config.head_factor
    return replace(config, learning_rate=trial.rate, head_factor=of_head / trial.rate)


def saved_bytes(model: SentimentModel, folder: Path) -> int:
    """Size of the weights file that the method leaves, which is written and removed again."""
    try:
        save_method(model, folder)
        return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
