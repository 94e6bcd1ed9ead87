"""Checkpoints of transformers' Trainer, made safe to resume from.

The Trainer writes a checkpoint's files one after another into its folder. A kill or a full disk leaves a part of them,
and resuming would fail on it or go on without the optimiser's state. So each finished checkpoint gets a list of its
files with their checksums, written last; only one whose list agrees is resumed.

Of a network with a fine-tuning method, a checkpoint holds the weights that are trained and no others. What the Trainer
would write for peft's networks does not bring back the network: of `p_tuning` it keeps what its small network makes,
and reading one back puts that in at the network's input.
"""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save
from torch import nn

from bert_sentiment.models.methods import method_of, set_weights, trained_weights
from roadmap_shared.files import atomic_write
from roadmap_shared.ranks import is_main_process

SEAL = "files.json"
TRAINED = "trained.safetensors"
_FOLDER = re.compile(r"checkpoint-(\d+)")


def seal(folder: Path) -> None:
    """Write the list of a finished checkpoint's files and their sha256."""
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != SEAL}
    atomic_write(folder / SEAL, json.dumps(files, indent=1))


def fault_of(folder: Path) -> str | None:
    """Why a checkpoint cannot be used; None when it is whole."""
    if not (folder / SEAL).is_file():
        return "was not finished"
    try:
        files = json.loads((folder / SEAL).read_text(encoding="utf-8"))
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

    Training will write it again. Left in place, it would pass for older than what is written into it, and the Trainer
    would remove it as such.
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


def trains_a_part(network: nn.Module) -> bool:
    """Whether the network's checkpoints hold only what its fine-tuning method trains."""
    method = method_of(network)
    return method is not None and method.name != "full"


def save_trained(network: nn.Module, folder: Path) -> None:
    """Write the trained weights into a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.cpu().contiguous() for name, weight in trained_weights(network).items()}
    atomic_write(folder / TRAINED, save(weights))


def load_trained(network: nn.Module, folder: Path) -> None:
    """Put a checkpoint's weights into a network that was made in the same way."""
    set_weights(network, load_file(folder / TRAINED))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
