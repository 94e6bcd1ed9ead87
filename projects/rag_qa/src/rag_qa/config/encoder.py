"""How texts become vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

BUILT_IN = "minilm"
"""Name of the encoder that comes with the package: all-MiniLM-L6-v2."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The encoder of passages and questions. An index that was made by another one is refused."""

    model: str = BUILT_IN
    """minilm: all-MiniLM-L6-v2 as it comes with the package; otherwise a folder in sentence-transformers' layout, or a
    hub id such as BAAI/bge-small-en-v1.5."""

    backend: Literal["auto", "torch", "onnx", "onnx_int8"] = "auto"
    """auto: onnx on the CPU, torch on another device and for a model that cannot be exported; torch:
    sentence-transformers; onnx: the same arithmetic by ONNX Runtime, so that an index made by one of the two is read
    with the other; onnx_int8: its matrix products in 8 bits, faster on a CPU and slightly less exact. The ONNX ones
    start without loading torch."""

    device: str = "cpu"
    """Where torch computes: cpu, cuda, mps. ONNX Runtime computes on the CPU."""

    batch_size: int = 32
    """Texts that torch encodes at once, texts of like length together. ONNX Runtime takes one at a time, which costs
    nothing on a CPU and makes a vector independent of its neighbours."""

    threads: int | None = None
    """Threads of ONNX Runtime. None: as many as torch is given."""

    cache: Path | None = None
    """Folder of exported ONNX models. None: the user's cache folder."""

    query_prompt: str = ""
    """Put before a question, for models trained so, such as "query: " for E5. Most models have none."""

    passage_prompt: str = ""
    """Put before a passage, for models trained so, such as "passage: " for E5."""

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ValueError("--encoder.model must name an encoder: minilm, a folder or a hub id")
        if self.batch_size < 1:
            raise ValueError(f"--encoder.batch_size {self.batch_size} must be at least 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"--encoder.threads {self.threads} must be at least 1")
