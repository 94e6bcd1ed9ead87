"""What an exported encoder's folder holds, and how its graph is opened. No torch is needed."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_qa.machine import cache_folder, usable_cores
from roadmap_shared.errors import UserError


class ExportError(UserError):
    """A model that has no usable export, where torch would compute it all the same."""


MODEL, TOKENIZER, ABOUT = "model.onnx", "tokenizer.json", "about.json"


@dataclass(frozen=True, kw_only=True)
class OnnxFiles:
    """Content of about.json."""

    dimension: int
    max_length: int
    pad_id: int
    unknown_id: int | None
    model_sha256: str


def read_about(folder: Path) -> OnnxFiles | None:
    """Return what is known of an export, or None where there is none or a file of it is damaged."""
    try:
        about = OnnxFiles(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
        json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
        with (folder / MODEL).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, TypeError):
        return None
    return about if digest == about.model_sha256 else None


def open_session(path: Path, threads: int | None) -> Any:
    """Open a graph for the CPU. `threads` None: OMP_NUM_THREADS, or every core that the process may use."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    named = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = threads or (int(named) if named.isdigit() else usable_cores())
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def default_cache() -> Path:
    """Where exports are kept, in the user's cache folder."""
    return cache_folder() / "onnx"
