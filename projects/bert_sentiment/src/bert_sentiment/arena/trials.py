"""One training of the arena, and what it leaves on the disk.

A trial's folder holds `result.json`, written last, and after a training that is measured on the test texts
`probabilities.npy`. A resumed arena reads what is there and trains the rest.

Shapes: N test texts, K labels.
"""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bert_sentiment.config import MethodName
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.files import atomic_write

RESULT_FILE = "result.json"
PROBABILITIES_FILE = "probabilities.npy"
DEAD_END_FILE = "dead_end.json"


@dataclass(frozen=True)
class Trial:
    """Which method is trained, at which learning rate, from which seed."""

    method: MethodName
    rate: float
    seed: int

    def folder(self, arena: Path) -> Path:
        """Where its files go, below the arena's folder."""
        return arena / self.method / f"rate-{self.rate:g}-seed-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What came of a trial. Of one that diverged, `failure` says how, and there is no more.

    The last three are measured on trainings whose model is tested.
    """

    failure: str | None = None
    trained: int = 0
    """Numbers that are trained, of `total` that the network computes with."""

    total: int = 0
    steps: int = 0
    best_step: int = 0
    validation: float | None = None
    """The best evaluation's `trainer.metric`."""

    seconds_per_step: float | None = None
    """Of the median step."""

    peak_memory_mb: float | None = None
    """In MB (10^6 bytes): see `arena.memory`. None where it could not be had."""

    file_bytes: int | None = None
    """Size of the weights that have to be kept."""

    forgetting: float | None = None
    """See `arena.forgetting`."""

    probabilities: np.ndarray | None = None
    """(N, K) of the test texts."""

    def write(self, folder: Path) -> None:
        """Save into a trial's folder; the folder counts as done only when all is there."""
        if self.probabilities is not None:
            buffer = io.BytesIO()
            np.save(buffer, self.probabilities, allow_pickle=False)
            atomic_write(folder / PROBABILITIES_FILE, buffer.getvalue())
        figures = {name: value for name, value in asdict(self).items() if name != "probabilities"}
        figures["tested"] = self.probabilities is not None
        atomic_write(folder / RESULT_FILE, json.dumps(figures, indent=1) + "\n")


def read_result(folder: Path) -> TrialResult | None:
    """What a trial left; None where it has not ended.

    Raises:
        UserError: a file is damaged.
    """
    path = folder / RESULT_FILE
    if not path.is_file():
        return None
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        tested = figures.pop("tested")
        probabilities = np.load(folder / PROBABILITIES_FILE, allow_pickle=False) if tested else None
        return TrialResult(**figures, probabilities=probabilities)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise UserError(f"{folder}: is damaged ({one_line(error)}): remove the folder and resume the arena") from error


def write_dead_end(arena: Path, method: MethodName, reason: str) -> None:
    """Note that the method does not fit the network."""
    folder = arena / method
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / DEAD_END_FILE, json.dumps({"reason": reason}) + "\n")


def read_dead_end(arena: Path, method: MethodName) -> str | None:
    """Why the method does not fit the network, if that was noted."""
    path = arena / method / DEAD_END_FILE
    return json.loads(path.read_text(encoding="utf-8"))["reason"] if path.is_file() else None
