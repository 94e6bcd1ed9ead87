"""The SQLite file of predictions: its form, its limits, and reading it as columns.

Write-ahead logging lets readers and one writer work at once, and a process that is killed leaves a whole file.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from roadmap_shared.errors import UserError, one_line

_WAIT_SECONDS = 5.0
_VERSION = 1
_APPLICATION = 0x4D4F5044
# One transaction: another process sees all of it or nothing.
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS predictions (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, version TEXT NOT NULL, request_id TEXT NOT NULL, text TEXT,
    label TEXT NOT NULL, confidence REAL, probabilities TEXT NOT NULL, latency_ms REAL NOT NULL,
    n_tokens INTEGER NOT NULL, shadow INTEGER NOT NULL, error TEXT, weight REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS predictions_time ON predictions (time);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""


@dataclass(frozen=True, kw_only=True)
class LogTable:
    """Records as columns, the oldest first. N records."""

    id: np.ndarray
    """(N,) numbers in the order in which the records arrived."""

    time: np.ndarray
    """(N,) seconds since 1970."""

    latency_ms: np.ndarray
    n_tokens: np.ndarray
    confidence: np.ndarray
    """(N,) probability of the answer; NaN where there is none."""

    weight: np.ndarray
    """(N,) requests that a record stands for, where only a share is kept."""

    label: np.ndarray
    """(N,) str."""

    version: np.ndarray
    text: np.ndarray
    """(N,) str, or None where texts are not kept."""

    error: np.ndarray
    """(N,) str, or None."""

    def __len__(self) -> int:
        return len(self.time)

    def rows(self, chosen: np.ndarray | slice) -> "LogTable":
        """Those that a mask, indices or a slice choose."""
        return LogTable(**{item.name: getattr(self, item.name)[chosen] for item in fields(self)})

    @property
    def answered(self) -> "LogTable":
        """Those with an answer."""
        return self.rows(np.array([error is None for error in self.error], dtype=bool))


_KINDS = {
    "id": np.int64,
    "time": float,
    "latency_ms": float,
    "n_tokens": np.int64,
    "confidence": float,
    "weight": float,
}


def open_log(path: Path) -> sqlite3.Connection:
    """A connection for writing; the file is made where it is missing.

    Raises:
        UserError: the place is not writable, or holds another file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_WAIT_SECONDS)
        try:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                _check_form(path, connection)
            else:
                # Freed pages go back to the disk; this is settled before the first table.
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
            connection.execute("PRAGMA synchronous = NORMAL")
            # What is deleted is overwritten: retention means that it cannot be read any more.
            connection.execute("PRAGMA secure_delete = ON")
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise UserError(
            f"{path}: predictions cannot be kept there ({one_line(error)}): give another file (--log.path)"
        ) from error
    return connection


def sweep(connection: sqlite3.Connection, *, before: float, max_bytes: float) -> int:
    """Delete records older than `before` (seconds since 1970), then the oldest while the file is too large.

    Returns:
        How many were deleted.
    """
    with connection:
        deleted = connection.execute("DELETE FROM predictions WHERE time < ?", (before,)).rowcount
    while (size := _used_bytes(connection)) > max_bytes:
        (count,) = connection.execute("SELECT count(*) FROM predictions").fetchone()
        # A tenth more than is too much, so that the next record does not begin it anew.
        surplus = min(count, 1 + int(count * min(1.0, 1.1 - max_bytes / size)))
        if not surplus:
            break
        with connection:
            deleted += connection.execute(
                "DELETE FROM predictions WHERE id IN (SELECT id FROM predictions ORDER BY time, id LIMIT ?)", (surplus,)
            ).rowcount
    if deleted:
        # `execute` would take one step of it, which frees one page.
        connection.executescript("PRAGMA incremental_vacuum")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return deleted


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which records are read. Times are seconds since 1970."""

    since: float = float("-inf")
    """The first time."""

    until: float = float("inf")
    """The time behind the last."""

    after: int | None = None
    """Only records with a larger number, in the order of their arrival, not of their times: texts of one request have
    the same time, and another process may bring older ones late."""

    newest: int | None = None
    """So many at most, the newest ones."""

    oldest: int | None = None
    """So many at most, the oldest ones."""

    version: str | None = None
    """Of this version of the model alone."""

    answered: bool = False
    """Leave out those without an answer."""

    shadow: bool = False
    """Read what was computed in the shadow instead of what was answered."""

    texts: bool = True
    """Read the texts too, which are most of the bytes."""


def read_log(path: Path, wanted: Selection = Selection()) -> LogTable:
    """The records of a log, the oldest first.

    Raises:
        UserError: there is no such file, or it is no log of predictions, or one of another version.
    """
    names = [item.name for item in fields(LogTable)]
    columns = ", ".join(name if name != "text" or wanted.texts else "NULL" for name in names)
    conditions = ["time >= ?", "time < ?", "id > ?", "shadow = ?"]
    values: list[object] = [wanted.since, wanted.until, wanted.after or 0, int(wanted.shadow)]
    if wanted.version is not None:
        conditions.append("version = ?")
        values.append(wanted.version)
    if wanted.answered:
        conditions.append("error IS NULL")
    order, limit = ("ASC", wanted.oldest) if wanted.oldest is not None else ("DESC", wanted.newest)
    place = "time" if wanted.after is None else "id"
    query = (
        f"SELECT {columns} FROM predictions WHERE {' AND '.join(conditions)} "
        f"ORDER BY {place} {order}, id {order} LIMIT {-1 if limit is None else int(limit)}"
    )
    with closing(_open_to_read(path)) as connection:
        try:
            rows = connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise UserError(f"{path}: cannot be read ({one_line(error)})") from error
    return _table(names, rows if order == "ASC" else rows[::-1])


def _table(names: Sequence[str], rows: Sequence[tuple[object, ...]]) -> LogTable:
    columns = list(zip(*rows, strict=True)) or [() for _ in names]
    arrays = {
        name: np.array([np.nan if value is None else value for value in column], dtype=_KINDS[name])
        if name in _KINDS
        else np.array(column, dtype=object)
        for name, column in zip(names, columns, strict=True)
    }
    return LogTable(**arrays)


def _open_to_read(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise UserError(f"{path}: there is no such file: serve with --log.path {path} first, or name another log")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_WAIT_SECONDS)
        try:
            _check_form(path, connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise UserError(f"{path}: cannot be read as a log of predictions ({one_line(error)})") from error
    return connection


def _check_form(path: Path, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise UserError(f"{path}: is a SQLite file, but no log of predictions: give another file")
    if version != _VERSION:
        raise UserError(
            f"{path}: is a log of version {version}, and this program writes version {_VERSION}: give another file"
        )


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
