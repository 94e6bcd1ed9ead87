"""Usage analytics in one SQLite file: what is asked, how long it takes, what stays without an answer, what helped.

No passage, citation, answer or document name is recorded: a row holds the caller's own words and figures about them, so
that reading the analytics opens no document. Any number of threads and processes may write: each write is a transaction
of its own, and waits for the others.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from rag_qa.app.topics import Topic, group_topics
from roadmap_shared.errors import UserError

STAGES = ("waiting", "retrieval", "generation", "total")
ENDINGS = ("answered", "refused", "abandoned", "failed")
_DAY = 86_400.0
_SWEEP_SECONDS = 3_600.0
_WAIT_SECONDS = 30.0
_MOST_COMMENTS = 20
logger = logging.getLogger("rag_qa.app")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS questions (
    id TEXT PRIMARY KEY, at REAL NOT NULL, user TEXT NOT NULL, question TEXT, ending TEXT NOT NULL, confidence REAL,
    n_retrieved INTEGER NOT NULL, waiting REAL, retrieval REAL, generation REAL, total REAL
);
CREATE INDEX IF NOT EXISTS questions_at ON questions (at);
CREATE TABLE IF NOT EXISTS feedback (
    question TEXT PRIMARY KEY REFERENCES questions (id) ON DELETE CASCADE, at REAL NOT NULL, useful INTEGER NOT NULL,
    comment TEXT
);
"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question and how it ended."""

    id: str
    user: str
    question: str
    ending: str
    """One of `ENDINGS`."""

    confidence: float | None
    n_retrieved: int
    seconds: Mapping[str, float]
    """By stage, of `STAGES`."""


@dataclass(frozen=True, kw_only=True)
class StageLatency:
    """Seconds that a stage took."""

    stage: str
    median: float
    p95: float


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day in UTC."""

    date: str
    n_questions: int
    n_refused: int


@dataclass(frozen=True, kw_only=True)
class Comment:
    """What somebody wrote about an answer."""

    question: str | None
    useful: bool
    comment: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the page and the API show."""

    days: int
    n_questions: int
    n_users: int
    endings: Mapping[str, int]
    latency: tuple[StageLatency, ...]
    by_day: tuple[Day, ...]
    """Days with questions, oldest first."""

    n_useful: int
    n_not_useful: int
    comments: tuple[Comment, ...]
    """Newest first, 20 at most."""

    unanswered: tuple[Topic, ...]
    """Topics of the questions that were refused or whose answers were not useful."""


class Analytics:
    """Writes and sums up. Every method may be called from any thread."""

    def __init__(
        self, path: Path, *, days: int = 90, record_questions: bool = True, clock: Callable[[], float] = time.time
    ) -> None:
        """Open the file, making it where it is missing.

        Args:
            path: the SQLite file.
            days: what is older is dropped; 0 records nothing and makes no file.
            record_questions: keep the words of questions and comments.
            clock: tells the seconds since 1970.

        Raises:
            UserError: it cannot be opened, or is something else.
        """
        self._path, self._days, self._words, self._clock = path, days, record_questions, clock
        self._swept = clock()
        if not days:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._connection() as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
            self.sweep()
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"--analytics {path}: cannot be opened ({error}); give another file") from error

    def record(self, asked: Asked) -> None:
        """Keep a question's row; once an hour, drop what is too old.

        Where the disk is full the row is lost, and the log says so: an answer does not fail for it.
        """
        if not self._days:
            return
        try:
            self._insert(asked)
        except sqlite3.Error as error:
            logger.error("the analytics cannot be written: %s", error)

    def _insert(self, asked: Asked) -> None:
        if self._clock() - self._swept > _SWEEP_SECONDS:
            self.sweep()
        words = asked.question if self._words else None
        seconds = [asked.seconds.get(stage) for stage in STAGES]
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO questions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    asked.id,
                    self._clock(),
                    asked.user,
                    words,
                    asked.ending,
                    asked.confidence,
                    asked.n_retrieved,
                    *seconds,
                ),
            )  # fmt: skip

    def feedback(self, answer: str, user: str, useful: bool, comment: str = "") -> bool:
        """Keep what a user thinks of an answer, in place of what was thought before; False where the user has no such
        answer."""
        if not self._days:
            return False
        with self._connection() as connection:
            known = connection.execute("SELECT 1 FROM questions WHERE id = ? AND user = ?", (answer, user)).fetchone()
            if known:
                words = comment if self._words and comment else None
                connection.execute(
                    "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?)", (answer, self._clock(), useful, words)
                )
        return known is not None

    def sweep(self) -> None:
        """Drop what is older than the days that are kept."""
        self._swept = self._clock()
        with self._connection() as connection:
            connection.execute("DELETE FROM questions WHERE at < ?", (self._clock() - self._days * _DAY,))

    def summary(self, days: int = 30) -> Summary:
        """Sum up the last so many days."""
        if not self._days:
            return _summary(days, [], [])
        since = self._clock() - days * _DAY
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT q.*, f.useful FROM questions q LEFT JOIN feedback f ON f.question = q.id WHERE q.at >= ? "
                "ORDER BY q.at DESC, q.rowid DESC",
                (since,),
            ).fetchall()
            comments = connection.execute(
                "SELECT q.question, f.useful, f.comment FROM feedback f JOIN questions q ON f.question = q.id "
                "WHERE q.at >= ? AND f.comment IS NOT NULL ORDER BY f.at DESC LIMIT ?",
                (since, _MOST_COMMENTS),
            ).fetchall()
        return _summary(days, rows, comments)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction: those of SQLite belong to one thread each, and opening one is cheap."""
        with closing(sqlite3.connect(self._path, timeout=_WAIT_SECONDS)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            # What is deleted is overwritten, so that a question that was dropped cannot be read from the file.
            connection.execute("PRAGMA secure_delete = ON")
            with connection:
                yield connection


def _summary(days: int, rows: Sequence[sqlite3.Row], comments: Sequence[sqlite3.Row]) -> Summary:
    asked = [row["question"] for row in rows if row["question"] is not None]
    without = [row["question"] for row in rows if row["question"] is not None and _unanswered(row)]
    return Summary(
        days=days,
        n_questions=len(rows),
        n_users=len({row["user"] for row in rows}),
        endings={ending: sum(row["ending"] == ending for row in rows) for ending in ENDINGS},
        latency=tuple(filter(None, (_latency(stage, rows) for stage in STAGES))),
        by_day=_by_day(rows),
        n_useful=sum(row["useful"] == 1 for row in rows),
        n_not_useful=sum(row["useful"] == 0 for row in rows),
        comments=tuple(
            Comment(question=row["question"], useful=bool(row["useful"]), comment=row["comment"]) for row in comments
        ),
        unanswered=tuple(group_topics(without, asked)),
    )


def _unanswered(row: sqlite3.Row) -> bool:
    return row["ending"] == "refused" or row["useful"] == 0


def _latency(stage: str, rows: Sequence[sqlite3.Row]) -> StageLatency | None:
    seconds = [row[stage] for row in rows if row[stage] is not None]
    if not seconds:
        return None
    median, p95 = np.quantile(seconds, (0.5, 0.95))
    return StageLatency(stage=stage, median=float(median), p95=float(p95))


def _by_day(rows: Sequence[sqlite3.Row]) -> tuple[Day, ...]:
    counts: dict[str, tuple[int, int]] = {}
    for row in rows:
        date = datetime.fromtimestamp(row["at"], UTC).date().isoformat()
        n, refused = counts.get(date, (0, 0))
        counts[date] = (n + 1, refused + (row["ending"] == "refused"))
    return tuple(Day(date=date, n_questions=n, n_refused=refused) for date, (n, refused) in sorted(counts.items()))
