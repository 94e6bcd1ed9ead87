"""Writes runs/index.html, the latest report of each project on one page, and prints where it is.

    python tools/gallery.py [FOLDER]

FOLDER holds the run folders; it is `runs/` of this repository unless given.
"""

import sys
from pathlib import Path

from roadmap_shared.files import atomic_write
from roadmap_shared.report import render_gallery


def main(arguments: list[str]) -> int:
    """Writes the page and returns the exit code."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python tools/gallery.py [FOLDER]", file=sys.stderr)
        return 2
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent / "runs"
    page = root / "index.html"
    try:
        root.mkdir(parents=True, exist_ok=True)
        atomic_write(page, render_gallery(root))
    except OSError as error:
        print(f"{page}: cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
