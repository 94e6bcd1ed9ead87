"""For all tests: the embedding cache of whoever runs them is left alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_embedding_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One file for the session takes the place of the user's."""
    file = tmp_path_factory.mktemp("cache") / "embeddings.sqlite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rag_qa.passage_cache.default_file", lambda: file)
        yield file
