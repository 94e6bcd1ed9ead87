"""Sensitivity map: one matrix, layer or part is quantised or pruned at a time, and the logits tell what it did.

Two numbers are taken against the network in fp32. The signal-to-quantisation-noise ratio, 10 log10(sum of squared
logits / sum of squared differences), is smooth and needs few texts: 6 dB are a factor of 2 in the error, and errors of
matrices that are independent add up in power. Flips, the texts whose label changes, are what a user sees, and with a
few hundred texts most of them are 0 or 1 apart by chance alone: read them with their interval.

Shapes: N texts, K labels.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import onnx

from model_optimization.config.quantization import DynamicConfig
from model_optimization.config.sensitivity import By
from model_optimization.deployment.onnx_session import OnnxClassifier, open_session
from model_optimization.quantization.dynamic_quantization import quantize_matrices
from model_optimization.quantization.onnx_nodes import MatMulNode
from model_optimization.quantization.onnx_variant import read_graph, to_quantize
from model_optimization.types import FloatArray
from model_optimization.variants import ONNX_FILE
from roadmap_shared.errors import UserError
from roadmap_shared.metrics.statistics import Interval, wilson_interval
from roadmap_shared.progress import progress

ALL = "all"
"""The part of a whole layer."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One change of the network, not yet computed."""

    layer: int | None
    part: str
    logits: Callable[[], FloatArray]
    """Computes the (N, K) logits with this change."""


@dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """What one change did."""

    layer: int | None
    """Number of the layer from 0; None outside of them, or where the part of all layers was changed."""

    part: str
    """Such as ffn_out; `all` for a whole layer."""

    sqnr_db: float
    """Signal-to-noise ratio of the logits, dB; infinite where nothing changed."""

    flips: int
    """Texts with another label."""

    n: int
    """Texts."""

    @property
    def label(self) -> str:
        """`0.ffn_out`; the part alone outside of layers."""
        return self.part if self.layer is None else f"{self.layer}.{self.part}"

    @property
    def flip_share(self) -> Interval:
        """Share of flips with its 95 % interval (Wilson)."""
        return wilson_interval(self.flips, self.n)


@dataclass(frozen=True, kw_only=True)
class MatrixGroup:
    """Matrices that are changed together."""

    layer: int | None
    part: str
    nodes: tuple[str, ...]


def sqnr_db(reference: FloatArray, changed: FloatArray) -> float:
    """Power of the signal over that of the change, in dB, for arrays of the same shape; infinite without a change.

    A classifier's label does not depend on what all its logits have in common, so each text's mean is taken off first.
    """
    signal, other = (logits.astype(np.float64) - logits.mean(1, keepdims=True) for logits in (reference, changed))
    noise = float(((other - signal) ** 2).sum())
    return float("inf") if noise == 0 else float(10 * np.log10((signal**2).sum() / noise))


def count_flips(reference: FloatArray, changed: FloatArray) -> int:
    """Texts whose largest logit is another one, for logits of (N, K)."""
    return int((reference.argmax(1) != changed.argmax(1)).sum())


def sensitivity_map(
    reference: FloatArray, trials: Sequence[Trial], *, description: str = "sensitivity"
) -> list[LayerSensitivity]:
    """Compute each change and compare it with the unchanged network.

    Args:
        reference: (N, K) logits of the unchanged network.
        trials: the changes, one at a time.
        description: for the progress line.
    """
    return [_compared(reference, trial) for trial in progress(trials, description, "change")]


def _compared(reference: FloatArray, trial: Trial) -> LayerSensitivity:
    logits = trial.logits()
    return LayerSensitivity(
        layer=trial.layer,
        part=trial.part,
        sqnr_db=sqnr_db(reference, logits),
        flips=count_flips(reference, logits),
        n=len(reference),
    )


def matrix_groups(nodes: Sequence[MatMulNode], by: By) -> list[MatrixGroup]:
    """Each matrix, all of a layer, or one part of all layers; matrices outside of layers are on their own.

    The graph's order is kept. Matrices of equal layer and part, which no name tells apart, are one group.
    """
    groups: dict[tuple[int | None, str], list[str]] = {}
    for node in nodes:
        key = {"matrix": (node.layer, node.part), "layer": (node.layer, ALL), "part": (None, node.part)}[by]
        if node.layer is None:
            key = (None, node.part)
        groups.setdefault(key, []).append(node.name)
    return [MatrixGroup(layer=layer, part=part, nodes=tuple(names)) for (layer, part), names in groups.items()]


class QuantizedGraphs:
    """Logits of a graph on the same texts with any of its matrices in int8, the ranges of activations dynamic."""

    def __init__(
        self, source: Path, texts: Sequence[str], *, batch_size: int, dynamic: DynamicConfig | None = None
    ) -> None:
        """Read an fp32 ONNX variant and compute its logits.

        Args:
            source: folder of the variant.
            texts: N.
            batch_size: texts a batch.
            dynamic: scales of the weights, and matrices that always stay in fp32; embeddings stay as they are.

        Raises:
            UserError: the folder holds no such variant, or there are no texts.
        """
        dynamic = dynamic or DynamicConfig()
        self.info, self._model = read_graph(source)
        self.nodes, self._always = to_quantize(source, self._model, dynamic.exclude, "--dynamic.exclude")
        if not texts:
            raise UserError("there are no texts to compare the logits of")
        self._texts, self._batch_size, self._per_channel = texts, batch_size, dynamic.per_channel
        self._folder = tempfile.TemporaryDirectory(prefix="sensitivity-")
        self._classifier = OnnxClassifier.load(source, self.info)
        self.reference = self._classifier.logits(texts, batch_size)

    def __enter__(self) -> "QuantizedGraphs":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._classifier.close()
        self._folder.cleanup()

    def logits(self, excluded: Sequence[str]) -> FloatArray:
        """(N, K) logits with every matrix in int8 but those of these nodes."""
        path = Path(self._folder.name) / ONNX_FILE
        model = onnx.ModelProto()
        model.CopyFrom(self._model)  # the quantiser changes what it is given
        names = [*excluded, *(node.name for node in self._always)]
        quantize_matrices(model, path, names, per_channel=self._per_channel)
        self._classifier.session = open_session(path, disabled_optimizers=self.info.disabled_optimizers)
        return self._classifier.logits(self._texts, self._batch_size)

    def alone(self, group: MatrixGroup) -> FloatArray:
        """(N, K) logits with the matrices of one group in int8."""
        return self.logits([node.name for node in self.nodes if node.name not in group.nodes])

    def trials_alone(self, by: By) -> list[Trial]:
        """One group in int8 at a time, everything else in fp32."""
        return [
            Trial(layer=group.layer, part=group.part, logits=lambda group=group: self.alone(group))
            for group in matrix_groups(self.nodes, by)
        ]

    def trials_all_but(self, by: By) -> list[Trial]:
        """One group in fp32 at a time, everything else in int8. None is left out that would leave nothing."""
        return [
            Trial(layer=group.layer, part=group.part, logits=lambda group=group: self.logits(group.nodes))
            for group in matrix_groups(self.nodes, by)
            if len(group.nodes) < len(self.nodes)
        ]
