"""How a network becomes an ONNX graph."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model_optimization.config.model import GivenModelConfig

OLDEST_OPSET = {"legacy": 14, "dynamo": 18}
"""Oldest operator set of each exporter that has all that attention needs."""

NEWEST_OPSET = {"legacy": 20, "dynamo": 23}


@dataclass(kw_only=True, frozen=True)
class ExportConfig:
    """The export, and what it must agree with."""

    exporter: Literal["legacy", "dynamo"] = "legacy"
    """legacy: torch's tracing exporter, whose node names follow the modules. dynamo: the one on torch.export, which
    keeps shapes symbolic instead of tracing one example."""

    attention: Literal["eager", "sdpa"] = "eager"
    """How attention is computed while exporting: eager writes the products out, sdpa exports the fused operator."""

    opset: int | None = None
    """Version of ONNX's operators. None: 17 for legacy, 20 for dynamo."""

    tolerance: float = 1e-4
    """Largest difference between a logit of the graph and of torch, in units of the largest logit if that is above 1.
    A graph that differs more is not written."""

    def __post_init__(self) -> None:
        oldest, newest = OLDEST_OPSET[self.exporter], NEWEST_OPSET[self.exporter]
        if self.opset is not None and not oldest <= self.opset <= newest:
            raise ValueError(
                f"--export.opset {self.opset} is outside {oldest} … {newest}, which the {self.exporter} exporter writes"
            )
        if not 0 < self.tolerance < 1:
            raise ValueError(f"--export.tolerance {self.tolerance} must be above 0 and below 1")

    @property
    def operators(self) -> int:
        """The version of ONNX's operators that is written."""
        return self.opset or {"legacy": 17, "dynamo": 20}[self.exporter]


@dataclass(kw_only=True, frozen=True)
class ComparisonConfig:
    """How graphs are raced against each other, in CPU time, taking turns."""

    batches: tuple[int, ...] = (1, 16)
    """Texts computed at once."""

    tokens: int = 128
    """Tokens of each text."""

    repeats: int = 5
    """Turns of each graph, of which the least counts."""

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1 or len(set(self.batches)) < len(self.batches):
            raise ValueError("--comparison.batches must be sizes of 1 or more, each once")
        if not 2 <= self.tokens <= 512:
            raise ValueError(f"--comparison.tokens {self.tokens} is outside 2 … 512")
        if self.repeats < 1:
            raise ValueError(f"--comparison.repeats {self.repeats} must be at least 1")


@dataclass(kw_only=True, frozen=True)
class ExportCommandConfig:
    """Export a trained classifier to a folder that can be served."""

    model: GivenModelConfig = field(default_factory=GivenModelConfig)
    export: ExportConfig = field(default_factory=ExportConfig)

    comparison: ComparisonConfig = field(default_factory=ComparisonConfig)

    output: Path = Path("exported")
    """Folder that is written: model.onnx, the tokenizer, and what the variant is. One that is there is replaced."""

    gguf: Path | None = None
    """File for the encoder in the format of llama.cpp, with 8-bit weights. It gives states of tokens, no labels."""

    compare: bool = False
    """Whether the other exporters, attentions and graph optimisations are made, too, and compared in a table."""
