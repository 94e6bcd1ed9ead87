"""Where vectors are kept."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit


@dataclass(kw_only=True, frozen=True)
class StoreConfig:
    """FAISS in the index's own folder, or a vector database."""

    backend: Literal["faiss", "qdrant", "pgvector"] = "faiss"
    """faiss: one file in the index's folder; qdrant: a folder, or a server or cluster by url; pgvector: PostgreSQL by
    url."""

    url: str | None = None
    """Address of the server: http://localhost:6333 for Qdrant, postgresql://user@localhost/name for PostgreSQL. A
    password is better left to PGPASSWORD or ~/.pgpass: the index does not keep it. Special characters in it are
    written as %2F and the like. None: Qdrant inside this process."""

    collection: str = "rag_qa"
    """Collection at the Qdrant server, or table in PostgreSQL: letters, digits and underscores. One for each index:
    an index refuses a collection that holds vectors of another."""

    api_key_env: str = "QDRANT_API_KEY"
    """Environment variable that holds the Qdrant server's key, where it wants one."""

    exact_up_to: int = 20_000
    """Collections of up to so many vectors are compared one by one; larger ones first by one bit a dimension."""

    candidates: int = 1000
    """Vectors that the search by bits passes on to the exact comparison; at least 20 for each result asked for."""

    threads: int = 1
    """Threads of a FAISS search. Single questions gain nothing from more than one."""

    timeout: float = 10.0
    """Seconds that a server may take to answer a question. Additions to PostgreSQL may take longer."""

    retries: int = 2
    """Further attempts when a server cannot be reached, with a pause that doubles from half a second."""

    def __post_init__(self) -> None:
        if self.backend == "pgvector" and not (self.url or "").startswith(("postgresql://", "postgres://")):
            raise ValueError("--store.backend pgvector needs --store.url postgresql://user:password@host:5432/database")
        shown = _without_credentials(self.url or "")
        if self.backend == "qdrant" and self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"--store.url {shown} must begin with http:// or https://")
        if (self.url or "").count("@") > 1 or "@" in "".join(urlsplit(self.url or "")[2:]):
            # Cut in the wrong place, a password would show up in messages and in the index.
            raise ValueError(f"--store.url {shown}: write / ? # @ in user and password as %2F %3F %23 %40")
        if self.backend == "faiss" and self.url is not None:
            raise ValueError(f"--store.url {shown} is of no use to --store.backend faiss: name qdrant or pgvector")
        if not (self.collection.isascii() and self.collection.isidentifier() and len(self.collection) <= 48):
            raise ValueError(
                f"--store.collection {self.collection!r} must be 1 to 48 letters, digits and underscores, "
                "and not begin with a digit"
            )
        for name in ("candidates", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"--store.{name} {getattr(self, name)} must be at least 1")
        for name in ("exact_up_to", "retries"):
            if getattr(self, name) < 0:
                raise ValueError(f"--store.{name} {getattr(self, name)} must be at least 0")
        if not self.timeout > 0:
            raise ValueError(f"--store.timeout {self.timeout} must be above 0 seconds")

    @property
    def address(self) -> str | None:
        """The url without a password, fit for messages and files."""
        if self.url is None:
            return None
        parts = urlsplit(self.url)
        user = f"{parts.username}@" if parts.username else ""
        query = "&".join(part for part in parts.query.split("&") if "password=" not in part)
        return parts._replace(netloc=user + parts.netloc.rpartition("@")[2], query=query).geturl()


def _without_credentials(url: str) -> str:
    """Any text that was meant as a url, without what stands before its last @."""
    scheme, colon, rest = url.partition("://")
    return f"{scheme}{colon}{rest.rpartition('@')[2]}" if colon else url.rpartition("@")[2]
