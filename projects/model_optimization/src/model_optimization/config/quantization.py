"""How a graph's weights and activations become integers."""

from dataclasses import dataclass
from typing import Literal

Embeddings = Literal["fp32", "int8", "int4"]
"""What embedding tables are stored as. int4 is for the largest table, the words; the others become int8 then."""

SMALLEST_BLOCK = 16  # of ONNX Runtime's block-wise kernels, which take powers of 2


def _check_block(name: str, size: int) -> None:
    if size < SMALLEST_BLOCK or size & (size - 1):
        raise ValueError(f"{name} {size} must be a power of 2 of at least {SMALLEST_BLOCK}")


@dataclass(kw_only=True, frozen=True)
class DynamicConfig:
    """int8 weights; activations become int8 while running, by the range of what comes in."""

    per_channel: bool = True
    """Whether each output channel of a weight matrix has a scale of its own, instead of one for the matrix."""

    exclude: tuple[str, ...] = ()
    """Matrices that stay fp32: a node's name, a part (ffn_out), or layer and part (0.ffn_out, 0.*)."""

    embeddings: Embeddings = "fp32"
    """What embedding tables are stored as: fp32, int8 with a scale for each row, or int4 in blocks (words)."""

    embedding_block: int = 32
    """Weights of a row that share a scale in int4 embeddings, a power of 2."""

    def __post_init__(self) -> None:
        _check_block("--dynamic.embedding_block", self.embedding_block)


@dataclass(kw_only=True, frozen=True)
class StaticConfig:
    """int8 weights and activations; the activations' ranges are fixed beforehand by calibration texts."""

    calibration: Literal["min-max", "percentile", "entropy"] = "min-max"
    """How a range is chosen from the values seen: all of them, the middle percentile, or least divergence (KL)."""

    percentile: float = 99.99
    """Share of the values that the range holds, in per cent, with calibration percentile."""

    texts: int = 64
    """Calibration texts that are used, from the first."""

    per_channel: bool = True
    """Whether each output channel of a weight matrix has a scale of its own, instead of one for the matrix."""

    exclude: tuple[str, ...] = ()
    """Matrices that stay fp32: a node's name, a part (ffn_out), or layer and part (0.ffn_out, 0.*)."""

    everything: bool = False
    """Quantise every operator that can be, not only products with weight matrices: costs accuracy, to be seen once."""

    embeddings: Embeddings = "fp32"
    """What embedding tables are stored as: fp32, int8 with a scale for each row, or int4 in blocks (words)."""

    embedding_block: int = 32
    """Weights of a row that share a scale in int4 embeddings, a power of 2."""

    def __post_init__(self) -> None:
        _check_block("--static.embedding_block", self.embedding_block)
        if not 50 < self.percentile <= 100:
            raise ValueError(f"--static.percentile {self.percentile} must be above 50 and at most 100")
        if self.texts < 1:
            raise ValueError(f"--static.texts {self.texts} must be at least 1")
        if self.everything and self.embeddings != "fp32":
            raise ValueError("--static.everything quantises the embeddings, too: leave --static.embeddings at fp32")
        if self.everything and self.exclude:
            raise ValueError("--static.everything leaves nothing out: use it without --static.exclude")


@dataclass(kw_only=True, frozen=True)
class WeightOnlyConfig:
    """Weights of fewer bits that are turned back into fp32 while they are multiplied: smaller, not faster."""

    bits: Literal[4, 8] = 4
    """Bits of a weight."""

    block: int = 32
    """Weights along a column that share a scale, a power of 2."""

    accuracy_level: Literal["fp32", "int8"] = "fp32"
    """What products are summed in. int8: activations are quantised in blocks, too."""

    exclude: tuple[str, ...] = ()
    """Matrices that stay fp32: a node's name, a part (ffn_out), or layer and part (0.ffn_out, 0.*)."""

    embeddings: Embeddings = "fp32"
    """What embedding tables are stored as: fp32, int8 with a scale for each row, or int4 in blocks (words)."""

    embedding_block: int = 32
    """Weights of a row that share a scale in int4 embeddings, a power of 2."""

    def __post_init__(self) -> None:
        _check_block("--weight_only.block", self.block)
        _check_block("--weight_only.embedding_block", self.embedding_block)
