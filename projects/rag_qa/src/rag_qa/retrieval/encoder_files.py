"""Where an encoder's files are, and the fingerprint that tells its vectors from others."""

import hashlib
import json
import re
from functools import cache
from pathlib import Path

from rag_qa.config.encoder import BUILT_IN
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.offline.encoder import minilm_folder

FLOAT32 = "torch"
"""In the fingerprints of 32-bit vectors, whether torch or ONNX Runtime computes them: an export that does not agree
with torch is not used."""

_WANTED = ("*.json", "*.txt", "*.model", "*.safetensors")
"""What of a repository is fetched: weights in a format that holds no code, and what belongs to them."""

_WITHOUT_MEANING = {"README.md", "data_config.json", "config_sentence_transformers.json"}
"""Files that a folder holds and no vector depends on: descriptions, versions of libraries."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def model_folder(model: str) -> Path:
    """Return the folder that holds a model given by `minilm`, by a folder, or by a hub id, which is fetched once.

    Raises:
        UserError: there is none, it holds no weights as safetensors, or the hub cannot be reached.
    """
    if model == BUILT_IN:
        return minilm_folder()
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _checked(folder, model)
    if folder.exists() or not _HUB_ID.fullmatch(model):
        raise UserError(f"encoder {model!r}: not a folder, nor a hub id such as BAAI/bge-small-en-v1.5")
    return _checked(_fetched(model), model)


def _fetched(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(model, allow_patterns=list(_WANTED)))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError):
        raise UserError(
            f"encoder {model!r}: no such folder, and the hub cannot be reached to fetch it: use the built-in encoder "
            f"`{BUILT_IN}`, or a folder"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(f"encoder {model!r}: cannot be fetched: {one_line(error)[:200]}") from None


def _checked(folder: Path, model: str) -> Path:
    if not (folder / "config.json").is_file():
        raise UserError(f"encoder {model!r}: {folder} holds no config.json: it is not a transformer's folder")
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"encoder {model!r}: {folder} holds no weights as safetensors; other formats can hold code")
    return folder


def fingerprint(folder: Path, *settings: str) -> str:
    """Hash of weights, tokenizer, pooling and further settings: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".safetensors", ".json", ".txt", ".model"} and path.name not in _WITHOUT_MEANING:
            status = path.stat()
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(_file_digest(path, status.st_size, status.st_mtime_ns))
    digest.update(json.dumps(settings).encode())
    return digest.hexdigest()[:16]


@cache
def _file_digest(path: Path, size: int, mtime_ns: int) -> bytes:
    """Digest of a file, read again when its size or time of change differs."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
