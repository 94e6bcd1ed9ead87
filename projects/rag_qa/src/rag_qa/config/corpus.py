"""Which documents and questions a run is about."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(kw_only=True, frozen=True)
class CorpusConfig:
    """The built-in corpus and its questions, or your own."""

    path: Path | None = None
    """Folder of documents instead of the built-in corpus (the Python language reference and this project's guides)."""

    questions: Path | None = None
    """YAML file of questions about --data.path. None: questions are made from the documents themselves."""

    def __post_init__(self) -> None:
        if self.questions is not None and self.path is None:
            raise ValueError("--data.questions goes with --data.path: give the documents that the questions are about")
