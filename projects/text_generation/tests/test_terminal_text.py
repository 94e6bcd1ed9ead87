"""What is shown on a terminal cannot steer it, and a long list of rejects is cut short."""

from text_generation.corpora.types import Reject
from text_generation.terminal_text import harmless, told


def test_what_could_steer_a_terminal_is_replaced() -> None:
    assert harmless("a\x1b[2Jb\u202ec\ud800\td\n") == "a\ufffd[2Jb\ufffdc\ufffd\td\n"


def test_ten_rejects_are_told_and_the_others_counted() -> None:
    rejects = [Reject(f"a.jsonl:{n}", "bad") for n in range(1, 1013)]
    first_ten = [f"passed over: a.jsonl:{n}: bad" for n in range(1, 11)]
    assert told([]) == []
    assert told(rejects[:10]) == first_ten
    assert told(rejects) == [*first_ten, "passed over: 1,002 more"]


def test_a_reject_cannot_steer_the_terminal() -> None:
    assert told([Reject("a:1", "no \x1b[2J")]) == ["passed over: a:1: no \ufffd[2J"]
