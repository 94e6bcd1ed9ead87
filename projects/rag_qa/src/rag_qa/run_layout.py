"""Names of what a run leaves in its folder."""

from pathlib import Path

PROJECT = "rag_qa"
DEFAULT_INDEX = Path("rag-index")
INDEX = "index"
"""The index; `rag-qa ask --index RUN/index` asks it."""

REFUSAL = "refusal.json"
"""Refusal as calibrated on this corpus, inside the index's folder, where it is used by itself."""

ANSWERS = "answers.jsonl"
MISSES = "misses.jsonl"


def index_to_read(folder: Path) -> Path:
    """The folder of an index; where the default one was never made, that of the newest `run` below this folder."""
    newest = Path("runs") / PROJECT / "latest" / INDEX
    return newest if folder == DEFAULT_INDEX and not folder.exists() and newest.is_dir() else folder
