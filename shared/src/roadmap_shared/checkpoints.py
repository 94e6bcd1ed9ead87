"""Checkpoints that are whole or refused: safetensors and JSON files with their checksums, never pickle.

A checkpoint is a folder `step-00000500` that holds `*.safetensors`, `*.json` and `manifest.json`, which lists
each file's size and sha256. It is written under a temporary name, forced to the disk and renamed, so that a
kill or a full disk leaves the earlier checkpoints as they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadmap_shared.errors import UserError, one_line, system_error
from roadmap_shared.files import sync_folder
from roadmap_shared.ranks import is_main_process

if TYPE_CHECKING:
    import torch

_MANIFEST = "manifest.json"
_FORMAT = "roadmap-checkpoint-1"
_FOLDER_NAME = re.compile(r"step-(\d{8,})")
_FILE_NAME = re.compile(r"[\w-]+\.(safetensors|json)")
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint folder holds."""

    step: int
    """Optimiser steps done when it was saved."""

    tensors: dict[str, dict[str, torch.Tensor]]
    """Tensors on the CPU, by file stem and name: `tensors["model"]["wte.weight"]`."""

    documents: dict[str, Any]
    """JSON documents by file stem."""

    path: Path
    """The folder."""


def save_checkpoint(
    folder: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
    documents: Mapping[str, Any],
    keep: int | None,
) -> Path:
    """Save a checkpoint in `folder` and return its path.

    Args:
        folder: holds the checkpoints of one run; created if missing.
        step: optimiser steps done. A checkpoint of the same step is replaced.
        tensors: by file stem ("model", "optimizer") and tensor name. Tensors may share
            memory (tied weights); each is stored in full.
        documents: JSON documents by file stem; tuples come back as lists.
        keep: how many to keep, this one included; older ones are removed once it is in place, and so are
            later ones, which a run that went back to an earlier step has left behind. None keeps all.

    Raises:
        UserError: the disk is full or the folder cannot be written. The earlier checkpoints are untouched.
    """
    if keep is not None and keep < 1:
        raise ValueError(f"keep must be at least 1 or None, got {keep}")
    target = folder / f"step-{step:08d}"
    unfinished = folder / f"{_UNFINISHED}{target.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(folder)
        unfinished.mkdir()
        _write_files(unfinished, step, tensors, documents)
        _move_into_place(unfinished, target)
        sync_folder(folder)
    except Exception as error:
        refused = system_error(error)  # safetensors has an exception of its own for a full disk
        if refused is None:
            raise
        raise UserError(
            f"{target}: the checkpoint cannot be written ({refused.strerror or one_line(refused)}). "
            "Free some space, or write elsewhere with --run.root FOLDER; earlier checkpoints are kept."
        ) from error
    finally:
        _remove_unfinished(folder)
    if keep is not None:
        _prune(folder, step, keep)
    return target


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint folder after checking every file against the manifest.

    Raises:
        UserError: the folder is no checkpoint of this library, or a file in it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    step, names = _verify(path)
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    documents: dict[str, Any] = {}
    for name in names:
        stem, _, kind = name.partition(".")
        try:
            if kind == "safetensors":
                tensors[stem] = load_file(path / name)
            else:
                documents[stem] = json.loads((path / name).read_text("utf-8"))
        except (SafetensorError, ValueError) as error:
            raise UserError(f"{path / name}: is not a {kind} file ({one_line(error)})") from error
    return Checkpoint(step=step, tensors=tensors, documents=documents, path=path)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Load the newest whole checkpoint in `folder`, or return None if there is none.

    Each damaged one on the way is named on stderr, in one line, and skipped.
    """
    for path in reversed(_checkpoints(folder)):
        try:
            return load_checkpoint(path)
        except UserError as error:
            if is_main_process():
                print(f"checkpoint skipped: {error}", file=sys.stderr)
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders in the order of their steps."""
    if not folder.is_dir():
        return []
    paths = [path for path in folder.iterdir() if _FOLDER_NAME.fullmatch(path.name)]
    return sorted(paths, key=_step_of)


def _step_of(path: Path) -> int:
    match = _FOLDER_NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def _write_files(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, torch.Tensor]], documents: Mapping[str, Any]
) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    names = [f"{stem}.safetensors" for stem in tensors] + [f"{stem}.json" for stem in documents]
    if wrong := [name for name in names if not _FILE_NAME.fullmatch(name) or name == _MANIFEST]:
        raise ValueError(f"not a file stem of letters, digits, '-' and '_': {wrong[0]}")
    for stem, named in tensors.items():
        try:
            save_file(_separate(named), folder / f"{stem}.safetensors")
        except SafetensorError as error:  # how the Rust writer reports a full disk
            raise OSError(one_line(error)) from error
    for stem, document in documents.items():
        (folder / f"{stem}.json").write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    paths = [folder / name for name in names]
    files = {path.name: {"size": path.stat().st_size, "sha256": _sha256(path)} for path in paths}
    manifest = {"format": _FORMAT, "step": step, "files": files}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
    for path in [*paths, folder / _MANIFEST]:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def _move_into_place(unfinished: Path, target: Path) -> None:
    """Rename a finished folder to `target`, in the place of an earlier one of the same step."""
    if not target.exists():
        os.replace(unfinished, target)
        return
    # A folder that holds files cannot be replaced in one step.
    aside = target.with_name(f"{_UNFINISHED}replaced-{target.name}")
    os.replace(target, aside)
    try:
        os.replace(unfinished, target)
    except OSError:
        os.replace(aside, target)
        raise


def _separate(named: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return contiguous tensors of which no two share memory: safetensors refuses tied weights."""
    seen: set[int] = set()
    separate: dict[str, torch.Tensor] = {}
    for name, tensor in named.items():
        tensor = tensor.detach().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    return separate


def _verify(path: Path) -> tuple[int, list[str]]:
    """Check a checkpoint against its manifest and return its step and the names of its files."""
    try:
        manifest = json.loads((path / _MANIFEST).read_text("utf-8"))
        if manifest["format"] != _FORMAT:
            raise ValueError(f"its format is {manifest['format']!r}")
        step, files = (
            int(manifest["step"]),
            {name: (about["size"], about["sha256"]) for name, about in manifest["files"].items()},
        )
    except OSError as error:
        reason = error.strerror
        raise UserError(f"{path}: is not a checkpoint: {_MANIFEST} cannot be read ({reason})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path / _MANIFEST}: is damaged, or of another program") from error
    if _FOLDER_NAME.fullmatch(path.name) and step != _step_of(path):
        raise UserError(f"{path / _MANIFEST}: is damaged: it says step {step}")
    for name, (size, sha256) in files.items():
        _verify_file(path, name, size, sha256)
    return step, list(files)


def _verify_file(path: Path, name: str, size: int, sha256: str) -> None:
    # A manifest may come from a stranger: it must not lead out of the folder.
    if not _FILE_NAME.fullmatch(name):
        raise UserError(f"{path / _MANIFEST}: is damaged: it lists a file '{one_line(name)}'")
    file = path / name
    if not file.is_file():
        raise UserError(f"{file}: is missing")
    if file.stat().st_size != size:
        raise UserError(f"{file}: is damaged: it has {file.stat().st_size} bytes and should have {size}")
    if _sha256(file) != sha256:
        raise UserError(f"{file}: is damaged: its checksum is not the manifest's")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _prune(folder: Path, step: int, keep: int) -> None:
    """Remove all but this step's checkpoint and the `keep - 1` before it."""
    earlier = [path for path in _checkpoints(folder) if _step_of(path) < step]
    kept = {folder / f"step-{step:08d}", *(earlier[-(keep - 1) :] if keep > 1 else ())}
    for path in _checkpoints(folder):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _remove_unfinished(folder: Path) -> None:
    """Remove what a killed or failed save has left."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)
