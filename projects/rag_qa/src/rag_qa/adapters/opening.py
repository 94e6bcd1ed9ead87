"""An assistant that other frameworks can copy and send to their workers."""

import threading
from pathlib import Path
from typing import Any

from rag_qa.assistant import Assistant
from rag_qa.run_layout import index_to_read
from rag_qa.types import Retrieved


class OpenedByNeed:
    """An index by its folder: opened at the first search, and once more in each process that it is sent to.

    An `Assistant` holds open files and a model, so it can be neither pickled nor copied. This can, and so can a
    retriever that is made with it. A copy in the same process opens the index for itself.
    """

    def __init__(self, folder: Path, **configs: Any) -> None:
        """Args:
        folder: of the index; as for `Assistant.open`.
        configs: as for `Assistant.open`: `encoder`, `store`, `retrieval`, `generation`.
        """
        # Found from here, because a worker's current folder is another.
        self.folder, self.configs = index_to_read(folder).resolve(), configs
        self._lock = threading.Lock()
        self._opened: Assistant | None = None

    def search(self, question: str, **options: Any) -> list[Retrieved]:
        """As `Assistant.search`.

        Raises:
            UserError: as `Assistant.open` and `Assistant.search`.
        """
        with self._lock:  # two first questions at the same time would open the index twice
            if self._opened is None:
                self._opened = Assistant.open(self.folder, **self.configs)
        return self._opened.search(question, **options)

    def close(self) -> None:
        """Close the index, if it is open. The next search opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened.index.close()
            self._opened = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.folder, self.configs)


def _reopened(folder: Path, configs: dict[str, Any]) -> OpenedByNeed:
    return OpenedByNeed(folder, **configs)
