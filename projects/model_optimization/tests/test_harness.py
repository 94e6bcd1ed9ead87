from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from model_optimization.benchmarking.harness import Failure, built_in_texts, measure_variants, names_of
from model_optimization.benchmarking.speed import Speed
from model_optimization.benchmarking.worker_process import Worker, WorkerError
from model_optimization.config.benchmark import BenchmarkConfig
from model_optimization.variants import VariantInfo, write_variant
from roadmap_shared.metrics import Interval

from .tiny_models import TEXTS, tiny_classifier

CONFIG = BenchmarkConfig(batch_sizes=(1, 4), tokens=16, realistic=3, threads=1, seconds_per_variant=80, rounds=4)


class FakeWorker:
    """Takes `seconds` for a text, and fails at the given command."""

    def __init__(self, seconds: float, log: list[tuple[str, str]], fails_at: str = "", noise: bool = False) -> None:
        self.seconds, self.log, self.fails_at, self.noise = seconds, log, fails_at, noise
        self.folder = ""
        self.requests: list[dict[str, Any]] = []
        self.closed = False

    def wait(self, timeout: float) -> dict[str, Any]:
        return self._answer("ready", {})

    def request(self, command: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        self.requests.append({"command": command} | arguments)
        self.folder = Path(arguments.get("folder", self.folder)).name
        return self._answer(command, arguments)

    def close(self) -> None:
        self.closed = True

    def _answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        assert not self.closed
        self.log.append((command, self.folder))
        if command == self.fails_at:
            raise WorkerError("its process was ended by SIGSEGV")
        if command == "open":
            return {"load_seconds": 0.5, "size_bytes": 2_000_000, "base_bytes": 100_000_000}
        if command == "prepare":
            texts = self._texts(arguments["workload"])
            return {"pass_seconds": self.seconds * texts, "tokens": arguments["workload"]["tokens"], "seconds": 1.0}
        if command == "block":
            batch = int(arguments["workload"].split()[0])
            passes, texts = arguments["passes"], batch if "tokens" in arguments["workload"] else 3
            wall = passes * texts * self.seconds
            cpu = wall / 2 if self.noise else wall
            calls = [self.seconds * texts] * passes
            return {"calls": calls, "passes": passes, "wall": wall, "cpu": cpu, "machine": cpu}
        return {"peak_bytes": 300_000_000}

    @staticmethod
    def _texts(workload: dict[str, Any]) -> int:
        return 3 if workload["tokens"] is None else workload["batch"]


def measured(
    workers: Sequence[FakeWorker], config: BenchmarkConfig = CONFIG, names: Sequence[str] = ("a", "b", "c")
) -> tuple[list[Speed], list[Failure]]:
    failures: list[Failure] = []
    rest = iter(workers)
    start: Callable[[int], Worker] = lambda threads: next(rest)  # noqa: E731
    folders = [Path(name) for name in names[: len(workers)]]
    found = measure_variants(folders, config, texts=TEXTS, on_failure=failures.append, start=start)
    assert all(worker.closed for worker in workers)
    return found, failures


def test_what_is_told_of_each_variant() -> None:
    log: list[tuple[str, str]] = []
    speeds, failures = measured([FakeWorker(0.1, log), FakeWorker(0.05, log)])
    assert failures == []
    assert [speed.name for speed in speeds] == ["a", "b"]
    first, second = speeds
    assert (first.size_mb, first.load_seconds, first.peak_mb, first.base_mb) == (2.0, 0.5, 300.0, 100.0)
    assert (first.tokens, first.threads) == (16, 1)
    assert {batch: row.p50_ms for batch, row in first.latency.items()} == pytest.approx({1: 100, 4: 400})
    assert {batch: row.p50_ms for batch, row in second.realistic.items()} == pytest.approx({1: 150, 4: 150})
    assert second.throughput == pytest.approx({1: 20, 4: 20})
    assert second.realistic[4].texts_per_second == pytest.approx(20)
    ratio = second.latency[1].speedup
    assert ratio is not None
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((2, 2, 2))
    assert first.latency[4].speedup == Interval(1, 1, 1)
    assert not first.noisy
    assert second.as_json()["throughput"] == second.throughput


def test_the_variants_take_turns_forwards_and_backwards() -> None:
    log: list[tuple[str, str]] = []
    measured([FakeWorker(0.1, log) for _ in range(3)])
    assert [name for command, name in log if command == "open"] == ["a", "b", "c"]
    turns = [name for command, name in log if command == "block"]
    workloads = 4
    assert turns == (["a", "b", "c"] * workloads + ["c", "b", "a"] * workloads) * 2


def test_a_block_is_as_long_as_its_share_of_the_time() -> None:
    log: list[tuple[str, str]] = []
    worker = FakeWorker(0.25, log)
    measured([worker])
    # 80 s, a quarter for warming up: 60 s for 4 inputs in 4 rounds, 3.75 s a block.
    passes = {request["workload"]: request["passes"] for request in worker.requests if request["command"] == "block"}
    assert passes == {"1 x 16 tokens": 15, "4 x 16 tokens": 3, "1 texts": 5, "4 texts": 5}


def test_rounds_end_when_the_time_is_used_up_but_not_before_the_third() -> None:
    log: list[tuple[str, str]] = []
    speeds, _ = measured([FakeWorker(30.0, log), FakeWorker(0.01, log)])
    assert [row.blocks for speed in speeds for row in speed.latency.values()] == [3, 3, 3, 3]


@pytest.mark.parametrize("stage", ["ready", "open", "prepare", "block", "finish"])
def test_a_variant_that_dies_is_named_and_the_others_are_kept(stage: str) -> None:
    log: list[tuple[str, str]] = []
    workers = [FakeWorker(0.1, log), FakeWorker(0.05, log, fails_at=stage), FakeWorker(0.02, log)]
    speeds, failures = measured(workers)
    assert [str(failure) for failure in failures] == ["b: not measured: its process was ended by SIGSEGV"]
    assert [speed.name for speed in speeds] == ["a", "c"]
    ratio = speeds[1].latency[1].speedup
    assert ratio is not None
    assert ratio.estimate == pytest.approx(5)


def test_without_the_first_variant_there_are_times_but_no_ratios() -> None:
    log: list[tuple[str, str]] = []
    speeds, failures = measured([FakeWorker(0.1, log, fails_at="block"), FakeWorker(0.05, log)])
    assert [failure.name for failure in failures] == ["a"]
    assert speeds[0].latency[1].p50_ms == pytest.approx(50)
    assert speeds[0].latency[1].speedup is None
    assert speeds[0].latency[1].cpu_speedup is None


def test_when_all_die_nothing_is_left() -> None:
    log: list[tuple[str, str]] = []
    assert measured([FakeWorker(0.1, log, fails_at="open")])[0] == []
    assert measured([])[0] == []


def test_noise_is_kept_and_marked_once_the_patience_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    log: list[tuple[str, str]] = []
    config = BenchmarkConfig(
        batch_sizes=(1,), tokens=16, realistic=0, threads=1, seconds_per_variant=8, rounds=3, patience_seconds=10
    )
    speeds, _ = measured([FakeWorker(0.1, log, noise=True), FakeWorker(0.1, log)], config)
    assert speeds[0].latency[1].noise == "it had the processor for 50% of the time only"
    assert speeds[0].latency[1].blocks_rejected > 0
    assert speeds[0].noisy
    assert not speeds[1].noisy


def test_names_of_folders(tmp_path: Path) -> None:
    info = VariantInfo(name="int8, all layers", kind="torch", labels=("a", "b"), max_length=8)
    write_variant(tmp_path / "one", info, lambda folder: None)
    write_variant(tmp_path / "two", info, lambda folder: None)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "variant.json").write_text("{")
    assert names_of([tmp_path / "one", tmp_path / "model", tmp_path / "broken"]) == [
        "int8, all layers",
        "model",
        "broken",
    ]
    assert names_of([tmp_path / "one", tmp_path / "two"]) == [str(tmp_path / "one"), str(tmp_path / "two")]


def test_the_built_in_texts_are_real_ones() -> None:
    texts = built_in_texts()
    assert len(texts) > 100
    assert all(isinstance(text, str) and text.strip() for text in texts)


def test_a_variant_in_a_process_of_its_own(tmp_path: Path) -> None:
    tiny_classifier(tmp_path / "model")
    config = BenchmarkConfig(
        batch_sizes=(2,), tokens=16, realistic=2, threads=1, seconds_per_variant=0.1, rounds=3, patience_seconds=0
    )
    (speed,) = measure_variants([tmp_path / "model"], config, texts=TEXTS)
    assert speed.name == "model"
    assert speed.size_mb == (tmp_path / "model" / "model.safetensors").stat().st_size / 1e6
    assert speed.peak_mb >= speed.base_mb > 10
    assert speed.latency[2].calls >= 3
    assert speed.latency[2].p50_ms > 0
    assert speed.latency[2].speedup == Interval(1, 1, 1)
