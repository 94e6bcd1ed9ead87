"""Usage analytics: counts and latencies against values by hand, topics, retention, many writers at once."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from rag_qa.app.analytics import Analytics, Asked
from rag_qa.app.conversations import Conversations
from rag_qa.app.topics import group_topics, terms_of
from rag_qa.protocols import Turn
from roadmap_shared.errors import UserError


def asked(identity: str, question: str = "why", ending: str = "answered", user: str = "ann", **seconds: float) -> Asked:
    return Asked(
        id=identity, user=user, question=question, ending=ending, confidence=0.5, n_retrieved=3, seconds=seconds
    )


def test_a_summary_by_hand(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    analytics = Analytics(tmp_path / "a.sqlite", clock=lambda: now)
    analytics.record(asked("1", "What is the warranty of the pump?", "refused", retrieval=0.1, total=1.0))
    now += 86_401
    analytics.record(asked("2", "Does the warranty cover rust?", "refused", user="bob", retrieval=0.2, total=2.0))
    analytics.record(asked("3", "How is the pump cleaned?", retrieval=0.3, total=4.0))
    analytics.record(asked("4", "x", "abandoned", retrieval=0.3))
    assert analytics.feedback("3", "ann", False, "too short")
    assert analytics.feedback("3", "ann", True)
    assert not analytics.feedback("3", "bob", True)
    assert not analytics.feedback("9", "ann", True)
    found = analytics.summary()
    assert (found.n_questions, found.n_users, found.n_useful, found.n_not_useful, found.comments) == (4, 2, 1, 0, ())
    assert found.endings == {"answered": 1, "refused": 2, "abandoned": 1, "failed": 0}
    assert [(one.stage, one.median, one.p95) for one in found.latency] == [
        ("retrieval", pytest.approx(0.25), pytest.approx(float(np.quantile([0.1, 0.2, 0.3, 0.3], 0.95)))),
        ("total", 2.0, pytest.approx(3.8)),
    ]
    assert [(day.date, day.n_questions, day.n_refused) for day in found.by_day] == [
        ("2023-11-14", 1, 1), ("2023-11-15", 3, 1),
    ]  # fmt: skip
    (topic,) = found.unanswered
    assert (topic.terms[0], topic.n_questions) == ("warranty", 2)
    assert topic.examples == ("Does the warranty cover rust?", "What is the warranty of the pump?")
    assert analytics.summary(days=1).n_questions == 3


def test_old_questions_go_with_their_feedback(tmp_path: Path) -> None:
    now = 0.0
    path = tmp_path / "a.sqlite"
    analytics = Analytics(path, days=2, clock=lambda: now)
    analytics.record(asked("1", "canary-question"))
    analytics.feedback("1", "ann", True, "canary-comment")
    now = 2 * 86_400 + 1
    analytics.record(asked("2"))
    assert analytics.summary(9).n_questions == 1
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM feedback").fetchone() == (0,)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert b"canary" not in path.read_bytes()


def test_without_words_or_without_anything(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    analytics = Analytics(path, record_questions=False)
    analytics.record(asked("1", "secret words", "refused"))
    assert analytics.feedback("1", "ann", False, "secret words")
    found = analytics.summary()
    assert (found.n_questions, found.n_not_useful, found.comments, found.unanswered) == (1, 1, (), ())
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.iterdir())
    off = Analytics(tmp_path / "none" / "b.sqlite", days=0)
    off.record(asked("1"))
    assert not off.feedback("1", "ann", True)
    assert off.summary().n_questions == 0
    assert not (tmp_path / "none").exists()


def test_files_that_are_no_analytics(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(UserError) as refused:
        Analytics(path)
    assert str(refused.value) == f"--analytics {path}: cannot be opened (file is not a database); give another file"


WRITER = """
import sys
from pathlib import Path
from rag_qa.app.analytics import Analytics, Asked
path, who = sys.argv[1:]
analytics = Analytics(Path(path))
for n in range(40):
    row = dict(id=f"{who}-{n}", user=who, question="why", ending="answered", confidence=0.5, n_retrieved=3, seconds={})
    analytics.record(Asked(**row))
    analytics.feedback(f"{who}-{n}", who, True)
"""


def test_many_writers(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    analytics = Analytics(path)

    def write(who: str) -> None:
        for n in range(40):
            analytics.record(asked(f"{who}-{n}", user=who))
            analytics.feedback(f"{who}-{n}", who, True)

    others = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"p{n}"]) for n in range(2)]
    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(timeout=120) for process in others] == [0, 0]
    found = Analytics(path).summary()
    assert (found.n_questions, found.n_users, found.n_useful) == (200, 5, 200)


def test_a_full_disk_loses_the_row_and_not_the_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.sqlite"
    analytics = Analytics(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE questions")
    connection.close()
    analytics.record(asked("1", "canary"))
    assert [record.getMessage() for record in caplog.records] == [
        "the analytics cannot be written: no such table: questions"
    ]


def test_terms() -> None:
    assert terms_of("What are the Warranties' terms of the pumps?") == {"warrantie", "term", "pump"}
    assert terms_of("保修期多长") == {"保修", "修期", "期多", "多长"}
    assert terms_of("why is it so?!") == frozenset()


def test_topics_are_shared_rare_terms() -> None:
    unanswered = ["how do I print pump drawings", "pump price", "visa for China", "price of the visa"]
    asked = [*unanswered, "price list", "price of oil", "price of tea"]
    topics = group_topics(unanswered, asked)
    # `visa` and `pump` are as frequent as `price` among the unanswered and rarer among all.
    assert [(topic.terms[0], topic.n_questions) for topic in topics] == [("visa", 2), ("pump", 2)]
    assert group_topics([], asked) == []
    assert [topic.n_questions for topic in group_topics(["a b c", "why"], ["why"])] == [1, 1]


def test_conversations_are_bounded_and_forget_the_oldest() -> None:
    kept = Conversations(turns=2, per_user=2)
    first, second = kept.begin("ann"), kept.begin("ann")
    for n in range(3):
        kept.add("ann", first, Turn(f"q{n}", "a"), frozenset({f"s{n}"}))
    assert [turn.question for turn in kept.history("ann", first, lambda source: True)] == ["q1", "q2"]
    assert [turn.question for turn in kept.history("ann", first, lambda source: source != "s1")] == ["q2"]
    kept.begin("ann")  # `second` is the one longest unused
    with pytest.raises(Exception, match="404"):
        kept.history("ann", second, lambda source: True)
    kept.forget_document("s2")
    assert [turn.question for turn in kept.history("ann", first, lambda source: True)] == ["q1"]
    kept.add("ann", second, Turn("q", "a"), frozenset())  # has been dropped meanwhile: nothing happens
