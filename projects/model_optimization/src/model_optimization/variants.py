"""Variants of one model, each a folder that any process can open.

A folder holds the tokenizer, the weights (`model.safetensors` or `model.onnx`), `config.json`, and `variant.json`,
which says what the variant is, how it was made, and the sha256 of every other file.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from model_optimization.types import Classifier
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.files import atomic_write

if TYPE_CHECKING:
    from model_optimization.torch_classifier import TorchClassifier

VARIANT_FILE = "variant.json"
ONNX_FILE = "model.onnx"
_FORMAT = 1

Kind = Literal["torch", "onnx"]


@dataclass(frozen=True, kw_only=True)
class VariantInfo:
    """What a variant is, as its folder says."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    max_length: int
    parent: str | None = None
    """Name of the variant that it was made from; None for the original."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: the method and its settings, as JSON values."""

    on_load: str | None = None
    """A transformation that a file cannot hold and that is applied each time: a name in `quantization.on_load`."""

    max_chunk: int | None = None
    """Texts that are computed at once at most (onnx); more are cut into chunks. None: any number."""

    disabled_optimizers: tuple[str, ...] = ()
    """Graph optimisations of ONNX Runtime that are left out (onnx)."""

    notes: tuple[str, ...] = ()
    """What a reader of the ledger should know."""


def write_variant(folder: Path, info: VariantInfo, write: Callable[[Path], None]) -> Path:
    """Make a variant's folder: `write` fills an empty folder, which is moved into place when it is whole.

    A variant that is there already is replaced; a process that has opened its files goes on with them.

    Raises:
        UserError: the folder cannot be written.
    """
    unfinished, replaced = (folder.with_name(f".{folder.name}-{state}-{os.getpid()}") for state in ("new", "old"))
    try:
        unfinished.mkdir(parents=True)
        write(unfinished)
        record = {"format": _FORMAT} | asdict(info) | {"files": _digests(unfinished)}
        atomic_write(unfinished / VARIANT_FILE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(unfinished, folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or one_line(error)}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    return folder


def read_info(folder: Path) -> VariantInfo:
    """What the folder says of itself.

    Raises:
        UserError: it holds no variant, or a damaged record.
    """
    return _info(folder, _record(folder))


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of the variant by its name, as written down when it was made.

    Raises:
        UserError: the folder holds no variant, or a damaged record.
    """
    return _record(folder)["files"]


def check_files(folder: Path) -> None:
    """Compare every file with the sha256 written down when the variant was made.

    Raises:
        UserError: a file is missing, or has other bytes.
    """
    for name, digest in digests(folder).items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path}: is missing: make the variant again")
        if _sha256(path) != digest:
            raise UserError(f"{path}: was changed or cut off since the variant was made: make it again")


def load_variant(folder: Path, *, threads: int | None = None, verify: bool = True) -> Classifier:
    """Open a variant, whatever computes it.

    Args:
        folder: of the variant, or any sequence-classification folder of transformers.
        threads: processor threads of one computation. None: OMP_NUM_THREADS, or all cores.
        verify: whether the files' sha256 is compared first.

    Raises:
        UserError: the folder is no variant, or damaged.
    """
    if not (folder / VARIANT_FILE).exists() and (folder / "config.json").is_file():
        return _open_torch(folder, _DEFAULT_LENGTH)
    info = read_info(folder)
    if verify:
        check_files(folder)
    if info.kind == "onnx":
        from model_optimization.deployment.onnx_session import OnnxClassifier

        return OnnxClassifier.load(folder, info, threads)
    classifier = _open_torch(folder, info.max_length)
    if info.on_load is not None:
        from model_optimization.quantization.on_load import apply_on_load

        classifier.network = apply_on_load(classifier.network, info.on_load, folder)
    return classifier


_DEFAULT_LENGTH = 128
"""Tokens of a text that a model without `variant.json` sees."""


def _open_torch(folder: Path, max_length: int) -> "TorchClassifier":
    from model_optimization.torch_classifier import TorchClassifier  # a server of ONNX variants may have no torch

    return TorchClassifier.load(folder, max_length)


def size_bytes(folder: Path) -> int:
    """Bytes of the weights: what grows and shrinks. Tokenizer and records are the same in all variants."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in {".safetensors", ".onnx", ".data"})


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(folder: Path) -> dict[str, Any]:
    path = folder / VARIANT_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: is no variant of a model (no {VARIANT_FILE} in it)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}): make the variant again") from None
    if not isinstance(record, dict) or record.get("format") != _FORMAT or not isinstance(record.get("files"), dict):
        raise UserError(f"{path}: is not of the form that this version writes: make the variant again")
    if escaping := [name for name in record["files"] if Path(name).is_absolute() or ".." in Path(name).parts]:
        raise UserError(f"{path}: names a file outside its folder, {escaping[0]!r}: do not use this variant")
    return record


def _info(folder: Path, record: Mapping[str, Any]) -> VariantInfo:
    known = {item.name for item in fields(VariantInfo)}
    values = {name: value for name, value in record.items() if name in known}
    for name in ("labels", "disabled_optimizers", "notes"):
        values[name] = tuple(values.get(name, ()))
    try:
        info = VariantInfo(**values)
    except TypeError as error:
        raise UserError(f"{folder / VARIANT_FILE}: is damaged ({one_line(error)}): make the variant again") from None
    if info.kind not in ("torch", "onnx") or not isinstance(info.max_length, int) or not info.labels:
        raise UserError(f"{folder / VARIANT_FILE}: is damaged (kind, labels or max_length): make the variant again")
    return info
