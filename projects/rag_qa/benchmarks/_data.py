"""Where the public data sets are that some benchmarks measure with."""

import os
import sys
from pathlib import Path
from typing import NoReturn

SKIPPED = 77
"""Exit code for "not measured", as automake's test drivers use it; `make bench-4` then goes on."""


def public_data(*parts: str) -> Path:
    """A file or folder below the folder that ROADMAP_DATA names. Exits with a line where it is not there."""
    folder = os.environ.get("ROADMAP_DATA", "")
    path = Path(folder, *parts)
    if folder and path.exists():
        return path
    not_measured(f"{path} is not there" if folder else f"set ROADMAP_DATA to the folder that holds {'/'.join(parts)}")


def not_measured(why: str) -> NoReturn:
    """Exit with a line that says why."""
    print(f"{Path(sys.argv[0]).name}: not measured: {why}", file=sys.stderr)
    sys.exit(SKIPPED)
