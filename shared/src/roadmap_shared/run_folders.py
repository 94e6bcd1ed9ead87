"""Run folders: making a new one, finding an earlier one, and the link to the latest."""

from __future__ import annotations

import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from roadmap_shared.errors import UserError

CONFIG_FILE = "config.yaml"
_LATEST = "latest"
_HEADING = re.compile(r"# \S+ ([\w-]+)(?:, from config .*)?$")


def latest_run(project: str, root: Path = Path("runs")) -> Path:
    """Return the folder of a project's newest run.

    Raises:
        UserError: the project has no run below `root`.
    """
    parent = root / project
    link = parent / _LATEST
    if link.is_dir():
        return parent / link.resolve().name
    folders = _run_folders(parent)
    if not folders:
        raise UserError(
            f"{parent}: holds no run yet. Start one without --run.resume, or name its place with --run.root"
        )
    return folders[-1]


def find_run(resume: str, project: str, root: Path, command: str) -> Path:
    """Return the folder that `--run.resume` names: `latest`, a path, or a name among the project's runs.

    `latest` is the newest run of the same command: a project's commands share a folder.

    Raises:
        UserError: there is none, or another command made it.
    """
    if resume == _LATEST:
        newest = latest_run(project, root)
        same = [path for path in (*_run_folders(root / project), newest) if _command_of(path) in (command, None)]
        if not same:
            raise UserError(
                f"{root / project}: holds no run of `{command}` yet, only of others, such as `{_command_of(newest)}`. "
                "Start one without --run.resume, or name its place with --run.root"
            )
        return same[-1]
    for folder in (Path(resume), root / project / resume):
        if (folder / CONFIG_FILE).is_file():
            if (made_by := _command_of(folder)) not in (command, None):
                raise UserError(f"--run.resume {resume}: is a run of `{made_by}`, which `{command}` cannot continue")
            return folder
    known = [path.name for path in _run_folders(root / project)]
    there = f"Runs in {root / project}: {', '.join(known[-5:])}." if known else f"There is no run in {root / project}."
    raise UserError(f"--run.resume {resume}: is not a run folder (no {CONFIG_FILE} in it). {there}")


def heading_of(project: str, command: str, source: str | None) -> str:
    """Return the first line of a run's config: which command made it, from which config."""
    return f"# {project} {command}{f', from config {source!r}' if source else ''}\n"


def _command_of(folder: Path) -> str | None:
    """The command in a config's first line; None where somebody else has written the config."""
    try:
        with (folder / CONFIG_FILE).open(encoding="utf-8", errors="replace") as file:
            found = _HEADING.match(file.readline())
    except OSError:
        return None
    return found[1] if found else None


def _run_folders(parent: Path) -> list[Path]:
    """Return the run folders of a project, oldest first."""
    return sorted(path.parent for path in parent.glob(f"*/{CONFIG_FILE}") if not path.parent.is_symlink())


def new_folder(parent: Path, name: str) -> Path:
    """Create `<parent>/<UTC time>-<name>`, with a number behind it if that exists."""
    stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"
    number = 1
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            folder = parent / (stem if number == 1 else f"{stem}-{number}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise cannot_write(parent, error) from error


def point_latest_at(folder: Path) -> str | None:
    """Set the link `latest` in one step: no reader meets a moment without it. Returns the name it had pointed to."""
    link = folder.with_name(_LATEST)
    before = os.readlink(link) if link.is_symlink() else None
    temporary = folder.with_name(f".{_LATEST}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    os.replace(temporary, link)
    return before


def discard(folder: Path, latest_before: str | None) -> None:
    """Remove a new run's folder, and point `latest` where it had pointed unless a later run has moved it on."""
    shutil.rmtree(folder, ignore_errors=True)
    link = folder.with_name(_LATEST)
    if link.is_symlink() and os.readlink(link) == folder.name:
        if latest_before is not None and link.with_name(latest_before).is_dir():
            point_latest_at(link.with_name(latest_before))
        else:
            link.unlink()


def cannot_write(place: Path, error: OSError) -> UserError:
    """Return the one-line error for a run folder that the system refuses to make or fill."""
    return UserError(
        f"{place}: the run folder cannot be written ({error.strerror}). "
        "Free some space or change the permissions, or write elsewhere with --run.root FOLDER"
    )
