"""Objects of a JSONL file with their line numbers."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError


@dataclass(frozen=True)
class Reject:
    """A line that cannot be used, and why."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; what is not UTF-8 becomes U+FFFD, so that it spoils its own line alone.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line, object), or (line, what is wrong with it). Empty lines are passed over."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            yield number, "half of a surrogate pair, which has no UTF-8 form"
        except json.JSONDecodeError as error:
            yield number, f"broken JSON ({error.msg})"
        except RecursionError:
            yield number, "broken JSON (nested too deep)"
        else:
            yield number, value if isinstance(value, dict) else "no JSON object"
