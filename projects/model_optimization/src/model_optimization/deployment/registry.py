"""Versions of one model, which of them serves, and which served before.

Versions are numbered from 1, never change, and stay. Two of them have a role: the champion answers, and the challenger
is compared with it. To promote a version makes it the champion; the one before is remembered, so that a rollback knows
where to go.
"""

import hashlib
import os
import shutil
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from model_optimization.deployment.file_lock import locked
from model_optimization.deployment.registry_state import RegistryState, Role, Switch, Version
from model_optimization.types import Classifier
from model_optimization.variants import VARIANT_FILE, check_files, load_variant, read_info
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.files import atomic_write

STATE_FILE = "registry.json"
_Save = Callable[[RegistryState], None]


class Registry(Protocol):
    """What a server and the command line need of a registry. Every method raises UserError in one line where the
    registry cannot be read or written, or has no such version."""

    def versions(self) -> list[Version]:
        """All of them, ascending."""
        ...

    def register(self, folder: Path, name: str | None = None) -> Version:
        """Copy a variant's folder, checked, in as the next version. `name` replaces the variant's own."""
        ...

    def role(self, role: Role) -> int | None:
        """The version that has a role."""
        ...

    def set_challenger(self, number: int | None) -> None:
        """Compare a version with the champion; None ends the comparison."""
        ...

    def promote(self, number: int | None = None) -> Version:
        """Make a version the champion, by default the challenger, who is none any more."""
        ...

    def rollback(self) -> Version:
        """Make the champion again who was it before the present one; a second rollback goes back one more."""
        ...

    def previous(self) -> int | None:
        """The version that a rollback makes the champion; None where there is none."""
        ...

    def history(self) -> list[Switch]:
        """All changes of the champion, the first one first."""
        ...

    def folder(self, number: int) -> Path:
        """Where a version's files are."""
        ...

    def load(self, number: int, threads: int | None = None) -> Classifier:
        """Open a version, its files compared with their sha256."""
        ...


class StatefulRegistry(ABC):
    """Implements `Registry` on top of a folder of versions and of a state that is read and replaced as a whole."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self.root, self._clock = root, clock

    @abstractmethod
    def read_state(self) -> RegistryState:
        """The present state; that of an empty registry where there is none yet."""

    @abstractmethod
    def write_state(self, state: RegistryState, before: RegistryState) -> None:
        """Replace the state `before`, under the lock."""

    def versions(self) -> list[Version]:
        """All of them, ascending."""
        return list(self.read_state().versions)

    def history(self) -> list[Switch]:
        """All changes of the champion, the first one first."""
        return list(self.read_state().history)

    def previous(self) -> int | None:
        """The version that a rollback makes the champion; None where there is none."""
        return self.read_state().previous

    def role(self, role: Role) -> int | None:
        """The version that has a role."""
        return self.read_state().roles.get(role)

    def folder(self, number: int) -> Path:
        """Where a version's files are."""
        return self.root / "versions" / str(number)

    def register(self, folder: Path, name: str | None = None) -> Version:
        """Copy a variant's folder, checked, in as the next version. The first one becomes the champion."""
        info = read_info(folder)
        check_files(folder)
        with self._changing() as (state, save):
            number = 1 + max((version.number for version in state.versions), default=0)
            digest = self._copy(folder, number)
            version = Version(number=number, name=name or info.name, created=self._clock(), digest=digest)
            state = replace(state, versions=(*state.versions, version))
            save(state.promoted(number, self._clock()) if number == 1 else state)
        return version

    def set_challenger(self, number: int | None) -> None:
        """Compare a version with the champion; None ends the comparison."""
        with self._changing() as (state, save):
            roles = {role: held for role, held in state.roles.items() if role != "challenger"}
            if number is not None:
                state.version(number)
                if roles.get("champion") == number:
                    raise UserError(f"version {number} is the champion: it cannot be its own challenger")
                roles["challenger"] = number
            save(replace(state, roles=roles))

    def promote(self, number: int | None = None) -> Version:
        """Make a version the champion, by default the challenger, who is none any more."""
        with self._changing() as (state, save):
            state = state.promoted(number, self._clock())
            save(state)
        return state.version(state.roles["champion"])

    def rollback(self) -> Version:
        """Make the champion again who was it before the present one; a second rollback goes back one more."""
        with self._changing() as (state, save):
            state = state.rolled_back(self._clock())
            save(state)
        return state.version(state.roles["champion"])

    def load(self, number: int, threads: int | None = None) -> Classifier:
        """Open a version, its files compared with their sha256."""
        version, folder = self.read_state().version(number), self.folder(number)
        if not folder.is_dir():
            raise UserError(f"{folder}: version {number} of the registry is missing: register it again")
        if file_digest(folder / VARIANT_FILE) != version.digest:
            raise UserError(f"{folder / VARIANT_FILE}: was changed since version {number} was registered")
        return load_variant(folder, threads=threads)

    @contextmanager
    def _changing(self) -> Iterator[tuple[RegistryState, _Save]]:
        """The state, and a function that replaces it, while no other process changes it."""
        with _writable(self.root), self._locked():
            state = self.read_state()
            yield state, lambda new: self.write_state(new, state)

    def _locked(self) -> AbstractContextManager[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        return locked(self.root / ".lock")

    def _copy(self, source: Path, number: int) -> str:
        """Copy a variant into its place, whole or not at all; returns the sha256 of its record."""
        target = self.folder(number)
        target.parent.mkdir(exist_ok=True)
        unfinished = target.with_name(f".{number}-new")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed; there is one at a time
        try:
            shutil.copytree(source, unfinished)
            check_files(unfinished)  # the source may have been replaced meanwhile
            digest = file_digest(unfinished / VARIANT_FILE)
            for path in unfinished.rglob("*"):
                if path.is_file():
                    path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
            shutil.rmtree(target, ignore_errors=True)  # copied, but never written into the state
            os.replace(unfinished, target)
        except shutil.Error as error:  # a list of files, of which the first says enough
            raise UserError(f"{source}: cannot be copied: {one_line(error.args[0][0][-1])}") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return digest


class FolderRegistry(StatefulRegistry):
    """A registry in a folder: `versions/N/` and `registry.json`, which is replaced in one step."""

    def read_state(self) -> RegistryState:
        """The present state; that of an empty registry where there is none yet."""
        path = self.root / STATE_FILE
        try:
            return RegistryState.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return RegistryState()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or one_line(error)
            raise UserError(f"{path}: the registry cannot be read: {reason}") from error

    def write_state(self, state: RegistryState, before: RegistryState) -> None:
        """Replace the state."""
        atomic_write(self.root / STATE_FILE, state.to_json())


@contextmanager
def _writable(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{root}: the registry cannot be written: {error.strerror or one_line(error)}") from error


def open_registry(place: str) -> Registry:
    """The registry of a folder, or of MLflow's store where the place begins with sqlite:///.

    Raises:
        UserError: the place is of another kind, or MLflow is not installed.
    """
    if place.startswith("sqlite:///"):
        from model_optimization.deployment.mlflow_registry import MlflowRegistry

        return MlflowRegistry(place)
    if "://" in place:
        raise UserError(f"{place}: is neither a folder nor sqlite:///FILE")
    return FolderRegistry(Path(place))


def file_digest(path: Path) -> str:
    """sha256 of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
