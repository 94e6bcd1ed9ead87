"""What a teacher answers, computed once for each text. Shapes: N texts, K labels."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import FloatArray
from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write


class TeacherLogits:
    """Logits by the sha256 of a text, in memory and, where a folder is given, in a file for each teacher.

    The file's name is a hash of the teacher's weights, vocabulary and length limit: another teacher's answers are never
    taken for its own.
    """

    def __init__(self, teacher: TorchClassifier, folder: Path | None = None) -> None:
        self.teacher = teacher
        self.path = None if folder is None else folder / f"{teacher_digest(teacher)[:32]}.npz"
        self._kept: dict[bytes, FloatArray] = {} if self.path is None else self._read(self.path)

    def of(self, texts: Sequence[str]) -> FloatArray:
        """(N, K) logits of the texts; those that are not known are computed, and kept.

        Raises:
            UserError: the folder cannot be written.
        """
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._kept}
        if missing:
            print(f"the teacher reads {len(missing):,} texts")
            logits = self.teacher.logits(list(missing.values()))
            self._kept |= dict(zip(missing, logits, strict=True))
            self._write()
        return np.stack([self._kept[key] for key in keys])

    def _write(self) -> None:
        if self.path is None:
            return
        keys = np.frombuffer(b"".join(self._kept), dtype=np.uint8).reshape(-1, 32)
        buffer = io.BytesIO()
        np.savez(buffer, keys=keys, logits=np.stack(list(self._kept.values())))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self.path, buffer.getvalue())
        except OSError as error:
            raise UserError(f"--distillation.logits_folder {self.path.parent}: {error.strerror}") from error

    def _read(self, path: Path) -> dict[bytes, FloatArray]:
        """What the file holds; nothing where there is none. A damaged one is made again."""
        if not path.exists():
            return {}
        try:
            # Opened here: of a damaged archive, np.load would leave its own file open.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                keys, logits = file["keys"], file["logits"]
            if keys.shape != (len(logits), 32) or logits.shape[1:] != (len(self.teacher.labels),):
                raise ValueError(f"shapes {keys.shape} and {logits.shape}")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            print(f"{path}: is damaged ({error}), and made again")
            return {}
        return {key.tobytes(): row for key, row in zip(keys, logits.astype(np.float32), strict=True)}


def teacher_digest(teacher: TorchClassifier) -> str:
    """sha256 of all that its logits depend on: weights, vocabulary, and the tokens that it sees of a text."""
    digest = hashlib.sha256(f"{teacher.max_length} {sorted(teacher.tokenizer.get_vocab().items())}".encode())
    for name, tensor in sorted(teacher.network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
