"""Print, as JSON for a CI matrix, the projects that a change concerns.

    $ python tools/changed_projects.py --since origin/main
    [{"number": 1, "name": "transformer_from_scratch"}]

A project is concerned when a file of its own changed, or one that every project is built on (`COMMON`).
When there is nothing to compare with (a first push, a rewritten history), all are. It needs nothing but
Python and git.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

ROOT = Path(__file__).resolve().parents[1]

COMMON = (
    ".github/workflows/ci.yml",
    "Makefile",
    "constraints.txt",
    "pyproject.toml",
    "shared/",
    "tools/changed_projects.py",
    "tools/make_venv.sh",
)
"""What every project is built on or tested with; a trailing slash means the whole folder."""


class Project(TypedDict):
    """One entry of the matrix."""

    number: int
    name: str


def projects(root: Path) -> list[Project]:
    """Projects of the checkout `root`, numbered by their place in the Makefile's PROJECTS."""
    line = re.search(r"^PROJECTS := (.+)$", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    if line is None:
        raise ValueError("Makefile: no line 'PROJECTS := ...' to number the projects by")
    return [
        Project(number=number, name=name)
        for number, name in enumerate(line[1].split(), start=1)
        if (root / "projects" / name / "pyproject.toml").is_file()
    ]


def changed_paths(root: Path, since: str) -> list[str] | None:
    """Paths that differ between HEAD and its common ancestor with `since`; None if there is no such ancestor.

    A renamed file counts under both of its names.
    """
    diff = subprocess.run(
        ["git", "diff", "--name-only", "--no-renames", "-z", f"{since}...HEAD", "--"],
        cwd=root,
        capture_output=True,
        check=False,
    )
    if diff.returncode != 0:
        return None
    return [path for path in diff.stdout.decode("utf-8", "surrogateescape").split("\0") if path]


def concerned(present: Iterable[Project], paths: Iterable[str] | None) -> list[Project]:
    """Those of `present` that a change to `paths` concerns; all of them when `paths` is None."""
    if paths is None:
        return list(present)
    paths = list(paths)
    if any(path == common or (common.endswith("/") and path.startswith(common)) for path in paths for common in COMMON):
        return list(present)
    return [project for project in present if any(path.startswith(f"projects/{project['name']}/") for path in paths)]


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and print the matrix on one line."""
    parser = argparse.ArgumentParser(description="Print, as JSON, the projects that a change concerns.")
    parser.add_argument("--since", default="", help="the revision to compare HEAD with; empty means: unknown")
    since = parser.parse_args(arguments).since
    paths = changed_paths(ROOT, since) if since else None
    print(json.dumps(concerned(projects(ROOT), paths)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
