"""A connection to PostgreSQL that is made again when it is lost, and never waits without end.

Two limits hold for what reads: the server ends a statement after `timeout` seconds, and a server that says nothing at
all, such as one that is paused or behind a broken route, is hung up on shortly after.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.server_attempts import attempt
from roadmap_shared.errors import UserError, one_line

try:
    import psycopg  # type: ignore[import-not-found]
    import psycopg.sql  # type: ignore[import-not-found]
except ImportError:
    raise UserError("--store.backend pgvector needs the package psycopg: pip install 'psycopg[binary]'") from None

__all__ = ["PgConnection", "psycopg"]

Result = TypeVar("Result")

_GRACE = 2.0  # seconds that the server's own limit is given before it is hung up on
_TEMPORARY = ("starting up", "shutting down", "recovery", "too many", "remaining connection slots")


class PgConnection:
    """One connection, used in turns. Safe to use from several threads."""

    def __init__(self, config: StoreConfig) -> None:
        """Connect. Raises UserError: the server is not reached, or refuses."""
        self._config = config
        self._lock = threading.RLock()
        self.raw = self._connect()
        """psycopg's; another one after each loss."""

    @property
    def server(self) -> str:
        """Kind and address, for messages."""
        return f"PostgreSQL at {self._config.address}"

    def write(self, call: Callable[[], Result]) -> Result:
        """One call that may take long. A lost connection is made again, and the call repeated once.

        Raises:
            UserError: the server refuses, or is lost for good.
        """
        return self._turn(call)

    def read(self, call: Callable[[], Result], settings: Mapping[str, str] | None = None) -> Result:
        """One call within the time limit, in a transaction with these settings of the server. Errors as in `write`."""

        def limited() -> Result:
            chosen = {"statement_timeout": str(round(1000 * self._config.timeout)), **(settings or {})}
            names = ", ".join(["set_config(%s, %s, true)"] * len(chosen))
            values = [part for name, value in chosen.items() for part in (name, value)]
            with _hung_up_after(self.raw, self._config.timeout + _GRACE), self.raw.transaction():
                self.raw.execute(f"SELECT {names}", values)  # pyright: ignore[reportArgumentType]
                return call()

        return self._turn(limited)

    def close(self) -> None:
        with self._lock:
            self.raw.close()

    def _turn(self, call: Callable[[], Result]) -> Result:
        with self._lock:
            try:
                try:
                    return call()
                except psycopg.OperationalError:
                    if not self.raw.broken:
                        raise
                self.raw = self._connect()
                return call()
            except psycopg.Error as error:
                raise self._refused(error) from None

    def _connect(self) -> psycopg.Connection[Any]:
        url, seconds = self._config.url or "", max(2, round(self._config.timeout))

        def connect() -> psycopg.Connection[Any]:
            try:
                return psycopg.connect(
                    url,
                    autocommit=True,
                    connect_timeout=seconds,
                    tcp_user_timeout=1000 * seconds,
                    # A plan made once for all filters would not use the index; poolers cannot keep it either.
                    prepare_threshold=None,
                )
            except psycopg.ProgrammingError:  # its text may quote the password
                raise UserError(
                    f"{self.server}: --store.url is not as PostgreSQL's libpq reads it: check its parameters, and "
                    "write special characters of user and password as %2F and the like"
                ) from None
            except psycopg.OperationalError as error:
                if _answered(error):
                    raise UserError(
                        f"{self.server}: refused the connection ({_reason(error)}): check database, user and password "
                        "(in the url, PGPASSWORD or ~/.pgpass), or give another --store.url"
                    ) from None
                raise

        return attempt(
            connect,
            retries=self._config.retries,
            unreachable=psycopg.OperationalError,
            server=self.server,
            remedy="start it, or give another --store.url",
        )

    def _refused(self, error: psycopg.Error) -> UserError:
        """The server's error as one line with a remedy."""
        name = self._config.collection
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            remedy = (
                f"grant the user what is missing: to search, SELECT on the table {name}; to write, INSERT and DELETE, "
                "too; to begin, CREATE on the schema, and CREATE EXTENSION vector by an administrator"
            )
        elif isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            remedy = "give the --store.url of a server that may be written to"
        elif isinstance(error, psycopg.errors.QueryCanceled) or self.raw.broken:
            remedy = f"it was ended, or took longer than {self._config.timeout:g} s: raise --store.timeout, or repeat"
        else:
            remedy = "see the server's log"
        return UserError(f"{self.server}: failed ({_reason(error)}): {remedy}")


def _answered(error: psycopg.OperationalError) -> bool:
    """Whether a server was there and said no: trying again is of no use, and may lock the account."""
    if any(word in str(error) for word in _TEMPORARY):
        return False
    asked = error.pgconn is not None and (error.pgconn.used_password or error.pgconn.needs_password)
    return "FATAL" in str(error) or asked


def _reason(error: psycopg.Error) -> str:
    """The server's own words, without the position in the statement."""
    return error.diag.message_primary or one_line(error)


@contextmanager
def _hung_up_after(connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
    """End the wait for a server that never answers: the socket is shut down, and psycopg raises OperationalError."""
    if connection.closed:
        raise psycopg.OperationalError("the connection is closed")
    descriptor = connection.fileno()
    timer = threading.Timer(seconds, _hang_up, [descriptor])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _hang_up(descriptor: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as other_end:
        other_end.shutdown(socket.SHUT_RDWR)
