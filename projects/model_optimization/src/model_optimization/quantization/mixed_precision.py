"""Mixed precision: most matrices in int8, and those few in fp32 that the labels need.

Matrices are ranked by what each does alone in int8 (`sensitivity`), and the most sensitive ones are left out, one more
in each trial, until the goal is met on texts that neither trained the network nor test it. Errors of single matrices
add up in power, so the ranking of one at a time is a fair order for several.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from model_optimization.config.quantization import DynamicConfig
from model_optimization.config.sensitivity import MixedPrecisionConfig
from model_optimization.quantization.dynamic_quantization import quantize_dynamic_variant
from model_optimization.quantization.sensitivity import (
    LayerSensitivity,
    QuantizedGraphs,
    count_flips,
    matrix_groups,
    sensitivity_map,
)
from model_optimization.types import FloatArray, Texts
from model_optimization.variants import load_variant
from roadmap_shared.errors import UserError


@dataclass(frozen=True, kw_only=True)
class MixedTrial:
    """One choice of what stays in fp32, measured on the validation texts."""

    excluded: tuple[str, ...]
    """Names of the nodes in fp32."""

    flips: int
    accuracy: float

    accuracy_loss: float
    """By which the fp32 model is better, as a share of the texts; below 0 where it is worse."""

    meets_goal: bool


@dataclass(frozen=True, kw_only=True)
class MixedPrecision:
    """The choice that was made."""

    variant: Path
    excluded: tuple[str, ...]
    """Names of the nodes in fp32."""

    flips: int
    n: int
    """Validation texts."""

    trials: tuple[MixedTrial, ...]
    """All choices that were measured, in their order."""

    goal_met: bool

    @property
    def summary(self) -> str:
        """One line for people."""
        done = f"matrices in fp32: {len(self.excluded)}; labels flipped: {self.flips} of {self.n}"
        if self.goal_met:
            return f"goal met in trial {len(self.trials)}; {done}"
        return f"goal not met (trials: {len(self.trials)}), the best is kept; {done}"


def choose_exclusions(
    source: Path,
    folder: Path,
    texts: Texts,
    config: MixedPrecisionConfig,
    *,
    name: str,
    dynamic: DynamicConfig | None = None,
    ranking: Sequence[LayerSensitivity] | None = None,
) -> MixedPrecision:
    """Quantise dynamically with as few matrices in fp32 as the goal takes, and write that variant.

    Args:
        source: folder of an fp32 ONNX variant.
        folder: of the new variant.
        texts: labelled validation texts.
        config: the goal and the budget.
        name: of the new variant.
        dynamic: the other settings of the quantisation; what they exclude stays excluded.
        ranking: a sensitivity map by matrix, each alone in int8. None: it is made of `config.ranking_texts` texts.

    Raises:
        UserError: the source is no fp32 ONNX variant, or there are no texts.
    """
    if not len(texts):
        raise UserError("mixed precision: there are no validation texts to measure the goal on")
    trials = _Trials(source, texts, config, dynamic or DynamicConfig(), name)
    trials.measure(())
    if not trials.done[-1].meets_goal and config.max_trials > 1:
        ranked = trials.ranked(ranking)
        for last in range(1, min(config.max_trials, len(ranked))):  # one matrix at least becomes int8
            if trials.measure(ranked[:last]).meets_goal:
                break
    # Where none meets the goal: fewest flips, then the best accuracy, then the fewest matrices in fp32.
    best = min(trials.done, key=lambda trial: (not trial.meets_goal, trial.flips, -trial.accuracy, len(trial.excluded)))
    trials.write(best.excluded, folder)
    return MixedPrecision(
        variant=folder,
        excluded=best.excluded,
        flips=best.flips,
        n=len(texts),
        trials=tuple(trials.done),
        goal_met=best.meets_goal,
    )


class _Trials:
    """Variants of one graph, each measured as it would be served."""

    def __init__(
        self, source: Path, texts: Texts, config: MixedPrecisionConfig, dynamic: DynamicConfig, name: str
    ) -> None:
        self._source, self._texts, self._config, self._dynamic, self._name = source, texts, config, dynamic, name
        self._reference = self._logits(source)
        self.done: list[MixedTrial] = []

    def write(self, excluded: Sequence[str], folder: Path) -> Path:
        """The variant with these nodes in fp32."""
        settings = replace(self._dynamic, exclude=(*self._dynamic.exclude, *excluded))
        return quantize_dynamic_variant(self._source, folder, settings, name=self._name)

    def measure(self, excluded: Sequence[str]) -> MixedTrial:
        """Try one choice, and keep what came out."""
        with tempfile.TemporaryDirectory(prefix="mixed-") as work:
            logits = self._logits(self.write(excluded, Path(work) / "trial"))
        flips, accuracy = count_flips(self._reference, logits), self._accuracy(logits)
        loss, n = self._accuracy(self._reference) - accuracy, len(self._texts)
        # The margin is for rounding: 0.29 * 100 comes out below 29.
        small = 1e-9
        meets_goal = flips <= self._config.max_flips * n + small and loss <= self._config.max_accuracy_loss + small
        trial = MixedTrial(
            excluded=tuple(excluded), flips=flips, accuracy=accuracy, accuracy_loss=loss, meets_goal=meets_goal
        )
        self.done.append(trial)
        return trial

    def ranked(self, ranking: Sequence[LayerSensitivity] | None) -> list[str]:
        """Names of the nodes, the most sensitive first."""
        texts, batch_size = self._texts.texts[: self._config.ranking_texts], self._config.batch_size
        with QuantizedGraphs(self._source, texts, batch_size=batch_size, dynamic=self._dynamic) as graphs:
            return most_sensitive_nodes(graphs, ranking)

    def _logits(self, folder: Path) -> FloatArray:
        classifier = load_variant(folder, verify=False)
        try:
            return classifier.logits(self._texts.texts, self._config.batch_size)
        finally:
            classifier.close()

    def _accuracy(self, logits: FloatArray) -> float:
        return float(np.mean(logits.argmax(1) == self._texts.targets))


def most_sensitive_nodes(graphs: QuantizedGraphs, ranking: Sequence[LayerSensitivity] | None = None) -> list[str]:
    """Names of the graph's matrices, the one that loses most alone in int8 first.

    Args:
        graphs: of the texts to rank by.
        ranking: a map that was made before, by matrix; matrices that it does not know come last.
    """
    if ranking is None:
        ranking = sensitivity_map(graphs.reference, graphs.trials_alone("matrix"), description="ranking matrices")
    sqnr = {(row.layer, row.part): row.sqnr_db for row in ranking}
    groups = matrix_groups(graphs.nodes, "matrix")
    groups.sort(key=lambda group: sqnr.get((group.layer, group.part), float("inf")))
    return [name for group in groups for name in group.nodes]
