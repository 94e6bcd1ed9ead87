"""One folder, served as if it were a registry of one version."""

from pathlib import Path
from typing import NoReturn

from model_optimization.deployment.registry import file_digest
from model_optimization.deployment.registry_state import Role, Switch, Version
from model_optimization.types import Classifier
from model_optimization.variants import VARIANT_FILE, load_variant, read_info
from roadmap_shared.errors import UserError


class SingleVariant:
    """Implements `Registry`, as far as reading goes. Another variant that takes the folder's place is a version more,
    so that figures of the two are not mixed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: list[str] = []

    def versions(self) -> list[Version]:
        """The present one."""
        return [Version(number=self._number(), name=_name(self._folder), created=0.0, digest=self._digests[-1])]

    def role(self, role: Role) -> int | None:
        """The present version is the champion."""
        return self._number() if role == "champion" else None

    def folder(self, number: int) -> Path:
        """The one folder."""
        return self._folder

    def load(self, number: int, threads: int | None = None) -> Classifier:
        """Open the folder, its files compared with their sha256."""
        return load_variant(self._folder, threads=threads)

    def history(self) -> list[Switch]:
        """None is known."""
        return []

    def previous(self) -> int | None:
        """None is known."""
        return None

    def register(self, folder: Path, name: str | None = None) -> Version:
        """Refused."""
        self._refuse()

    def set_challenger(self, number: int | None) -> None:
        """Refused."""
        self._refuse()

    def promote(self, number: int | None = None) -> Version:
        """Refused."""
        self._refuse()

    def rollback(self) -> Version:
        """Refused."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UserError("one folder is served (--serve.variant): versions need --serve.registry")

    def _number(self) -> int:
        """Of the variant that the folder holds; where its record is gone or broken, of the last one."""
        try:
            digest = file_digest(self._folder / VARIANT_FILE)
        except UserError:
            digest = self._digests[-1] if self._digests else ""
        if digest not in self._digests:
            self._digests.append(digest)
        return self._digests.index(digest) + 1


def _name(folder: Path) -> str:
    return read_info(folder).name if (folder / VARIANT_FILE).exists() else folder.name
