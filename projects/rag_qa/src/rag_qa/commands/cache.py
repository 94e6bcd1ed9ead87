"""`rag-qa cache`: what the embedding cache holds, and an end to it."""

from rag_qa.config.commands import CacheConfig
from rag_qa.passage_cache import cache_file, clear, contents


def run(config: CacheConfig) -> None:
    """Print the file, its vectors and its size; remove it where that is asked for.

    Raises:
        UserError: the file is no embedding cache, or cannot be removed.
    """
    path = cache_file(config.embedding_cache)
    print(contents(path).line())
    if config.clear and path.exists():
        clear(path)
        print("removed")
