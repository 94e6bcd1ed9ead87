import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_optimization.benchmarking.idle_gate import Block, Usage
from model_optimization.benchmarking.worker import serve, timed_block, warm_up
from model_optimization.benchmarking.worker_process import WorkerError, WorkerProcess
from model_optimization.benchmarking.workloads import Workload, calls_of, exact_sequences, workloads

from .tiny_models import TEXTS, tiny_classifier


class Clock:
    """Stands still but for what a call takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def call(self, *durations: float) -> Any:
        rest = iter(durations)

        def compute() -> None:
            self.now += next(rest)

        return compute


@pytest.mark.parametrize("tokens", [8, 33, 64])
def test_exact_sequences_have_exactly_the_tokens_and_end_as_every_text_does(tokens: int) -> None:
    classifier = tiny_classifier()
    rows = exact_sequences(classifier, TEXTS, batch=3, tokens=tokens, seed=0)
    start, *_, end = classifier.token_ids(["a"])[0]
    assert [len(row) for row in rows] == [tokens] * 3
    assert {(row[0], row[-1]) for row in rows} == {(start, end)}
    assert len({tuple(row) for row in rows}) == 3
    inner = {token for row in rows for token in row[1:-1]}
    assert inner <= {token for row in classifier.token_ids(TEXTS) for token in row} - {start, end}
    assert rows == exact_sequences(classifier, TEXTS, batch=3, tokens=tokens, seed=0)


def test_a_model_that_sees_fewer_tokens_is_measured_at_its_own_limit() -> None:
    rows = exact_sequences(tiny_classifier(max_length=16), TEXTS, batch=1, tokens=128, seed=0)
    assert [len(row) for row in rows] == [16]


def test_texts_that_make_no_tokens_are_refused_and_not_repeated_for_ever() -> None:
    with pytest.raises(ValueError, match="the texts make no more than 2 tokens, but 8 are wanted"):
        exact_sequences(tiny_classifier(), ["", " "], batch=1, tokens=8, seed=0)


def test_one_pass_computes_every_text_once() -> None:
    classifier = tiny_classifier()
    calls = calls_of(Workload(batch=3, tokens=None), classifier, TEXTS, seed=0)
    assert [len(call()) for call in calls] == [3, 3, 2]
    assert np.allclose(np.concatenate([call() for call in calls]), classifier.logits(TEXTS), atol=1e-6)
    assert [one.name for one in workloads((1, 16), 128, realistic=0)] == ["1 x 128 tokens", "16 x 128 tokens"]
    assert [one.name for one in workloads((2,), 8, realistic=5)] == ["2 x 8 tokens", "2 texts"]


def test_warm_up_ends_when_two_passes_take_the_same_time() -> None:
    clock = Clock()
    assert warm_up([clock.call(5.0, 2.0, 1.02, 1.0, 9.0)], limit=100.0, clock=clock) == pytest.approx(1.0)
    assert clock.now == pytest.approx(9.02)


def test_warm_up_ends_at_its_limit() -> None:
    clock = Clock()
    assert warm_up([clock.call(8.0, 4.0, 2.0, 1.0)], limit=11.0, clock=clock) == pytest.approx(4.0)
    assert clock.now == pytest.approx(12.0)


def test_a_block_times_every_call_and_what_the_machine_did() -> None:
    clock = Clock()
    usages = iter([Usage(wall=0, cpu=10, machine=100), Usage(wall=6.5, cpu=16, machine=107)])
    calls = [clock.call(1.0, 3.0), clock.call(2.0, 0.5)]
    found = timed_block(calls, 2, clock=clock, usage=lambda: next(usages))
    assert found == Block(calls=(1.0, 2.0, 3.0, 0.5), passes=2, wall=6.5, cpu=6, machine=7)


def test_a_conversation(tmp_path: Path) -> None:
    tiny_classifier(tmp_path / "model")
    workload = {"batch": 2, "tokens": 16}
    answers = conversation(
        {"command": "open", "folder": str(tmp_path / "model"), "threads": 1},
        {"command": "prepare", "workload": workload, "texts": TEXTS, "seed": 0, "limit": 0.0},
        {"command": "block", "workload": "2 x 16 tokens", "passes": 3},
        {"command": "finish"},
    )
    assert len(next(answers)["ready"]) == 3
    opened = next(answers)
    assert opened["size_bytes"] == (tmp_path / "model" / "model.safetensors").stat().st_size
    assert opened["load_seconds"] > 0
    assert next(answers)["tokens"] == 16
    measured = next(answers)
    assert (len(measured["calls"]), measured["passes"]) == (3, 3)
    assert measured["wall"] >= sum(measured["calls"]) > 0
    assert next(answers)["peak_bytes"] >= opened["base_bytes"]


def test_a_mistake_is_answered_and_the_worker_goes_on(tmp_path: Path) -> None:
    tiny_classifier(tmp_path / "model")
    (tmp_path / "empty").mkdir()
    answers = conversation(
        {"command": "open", "folder": str(tmp_path / "empty"), "threads": 1},
        {"command": "open", "folder": str(tmp_path / "model"), "threads": 1},
        {"command": "prepare", "workload": {"batch": 1, "tokens": 8}, "texts": [""], "seed": 0, "limit": 0.0},
    )
    next(answers)
    assert next(answers) == {"error": f"{tmp_path / 'empty'}: is no variant of a model (no variant.json in it)"}
    assert "load_seconds" in next(answers)
    assert next(answers) == {"error": "ValueError: the texts make no more than 2 tokens, but 8 are wanted"}


def conversation(*requests: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return serve([json.dumps(request) for request in requests])


def process(code: str) -> WorkerProcess:
    return WorkerProcess(1, [sys.executable, "-c", code])


ECHO = "import sys, json\nfor line in sys.stdin: print(json.dumps({'got': json.loads(line)}), flush=True)"


def test_a_process_answers_line_by_line() -> None:
    worker = process(ECHO)
    assert worker.request("block", 60, passes=3, workload="é") == {
        "got": {"command": "block", "passes": 3, "workload": "é"}
    }
    worker.close()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('no room\\nfor this model')", "its process ended with code 1: for this model"),
        ("raise SystemExit(3)", "its process ended with code 3"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "its process was ended by SIGKILL, as the system does to a process when memory runs out",
        ),
        ("import os; os.abort()", "its process was ended by SIGABRT"),
        ("input(); print('loading...')", "answered with something else than JSON: loading..."),
        ('input(); print(\'{"error": "is no variant"}\')', "is no variant"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="the process's end is told by signals")
def test_a_process_that_gives_no_answer_is_told_in_one_line(code: str, reason: str) -> None:
    worker = process(code)
    try:
        with pytest.raises(WorkerError) as caught:
            worker.request("open", 60, folder="x")
    finally:
        worker.close()
    assert str(caught.value) == reason


def test_a_process_that_hangs_is_ended() -> None:
    worker = process("import time\nwhile True: time.sleep(60)")
    with pytest.raises(WorkerError) as caught:
        worker.request("open", 0.05)
    assert str(caught.value) == "gave no answer within 0.05 s and was ended: raise --benchmark.timeout_seconds"
    with pytest.raises(WorkerError, match="its process was ended by SIGKILL"):
        worker.wait(1)
    worker.close()
