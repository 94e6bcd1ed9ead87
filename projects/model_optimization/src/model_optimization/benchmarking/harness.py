"""Measures variants side by side: each in a process of its own, in turns, on the same inputs.

The order of the day: all processes import their libraries; each opens its variant, one after the other; each is warmed
up on each input; then rounds, in which every variant measures one block of every input, forwards in even rounds and
backwards in odd ones, so that a drift of the machine's speed meets all alike. All are in memory at the same time, each
with the libraries: reckon with half a gigabyte a variant.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model_optimization.benchmarking.idle_gate import Block, IdleGate, KeptBlock
from model_optimization.benchmarking.speed import LatencyRow, Speed, latency_row
from model_optimization.benchmarking.worker_process import Worker, WorkerError, start_worker
from model_optimization.benchmarking.workloads import Workload, workloads
from model_optimization.config.benchmark import BenchmarkConfig
from model_optimization.machine import threads_wanted
from model_optimization.variants import VARIANT_FILE, read_info
from roadmap_shared.errors import UserError
from roadmap_shared.progress import progress

_LEAST_ROUNDS = 3
_WARM_UP = 0.25  # share of a variant's time


@dataclass(frozen=True)
class Failure:
    """A variant that could not be measured."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: not measured: {self.reason}"


@dataclass(eq=False)
class _Contestant:
    name: str
    folder: Path
    worker: Worker
    opened: dict[str, Any] = field(default_factory=dict)
    prepared: dict[Workload, dict[str, Any]] = field(default_factory=dict)
    kept: dict[Workload, list[KeptBlock]] = field(default_factory=dict)
    peak_bytes: int = 0


def print_failure(failure: Failure) -> None:
    """Say it on standard error."""
    print(failure, file=sys.stderr)


def measure_variants(
    folders: Sequence[Path],
    config: BenchmarkConfig,
    *,
    texts: Sequence[str] | None = None,
    on_failure: Callable[[Failure], None] = print_failure,
    start: Callable[[int], Worker] = start_worker,
) -> list[Speed]:
    """Time, memory and size of variants, those that failed left out.

    Args:
        folders: the first is what the others are compared with; without it, nothing is compared.
        config: inputs, threads, limits of time.
        texts: for the realistic inputs, the first `config.realistic` of them, and the words of the exact ones. None:
            the validation part of the built-in texts.
        on_failure: is told of each variant that died, hung or cannot be opened.
        start: makes a worker of so many threads.
    """
    texts = built_in_texts() if texts is None else list(texts)
    threads = threads_wanted(config.threads)
    contestants: list[_Contestant] = []
    try:
        for name, folder in zip(names_of(folders), folders, strict=True):
            contestants.append(_Contestant(name, folder, start(threads)))
        bench = _Bench(contestants, config, texts, threads, on_failure)
        bench.each(bench.ready)
        bench.each(bench.open)
        bench.each(bench.warm_up)
        bench.rounds()
        bench.each(bench.finish)
    finally:
        for one in contestants:
            one.worker.close()
    reference = contestants[0] if contestants and contestants[0] in bench.running else None
    return [bench.speed(one, reference) for one in bench.running]


def names_of(folders: Sequence[Path]) -> list[str]:
    """What the variants call themselves; a folder's name where it says nothing, its path where two would be alike."""
    names = [_own_name(folder) for folder in folders]
    return [name if names.count(name) == 1 else str(folder) for name, folder in zip(names, folders, strict=True)]


def _own_name(folder: Path) -> str:
    if (folder / VARIANT_FILE).is_file():
        try:
            return read_info(folder).name
        except UserError:  # its worker will say what is wrong with it
            pass
    return folder.resolve().name


def built_in_texts() -> list[str]:
    """English film remarks, product comments and tweets that no model of this project was trained on."""
    from roadmap_shared.offline import sentiment_texts

    return [one.text for one in sentiment_texts("validation")]


class _Bench:
    """The variants that are still in the race, and what is done with each of them."""

    def __init__(
        self,
        contestants: Sequence[_Contestant],
        config: BenchmarkConfig,
        texts: Sequence[str],
        threads: int,
        on_failure: Callable[[Failure], None],
    ) -> None:
        self.running = list(contestants)
        self.config = config
        self.texts = texts
        self.threads = threads
        self.on_failure = on_failure
        self.workloads = workloads(config.batch_sizes, config.tokens, config.realistic)
        self.gate = IdleGate(
            busy_share=config.busy_share,
            patience=config.patience_seconds,
            blocks=max(1, len(contestants)) * len(self.workloads) * config.rounds,
        )

    def each(self, step: Callable[[_Contestant], None], backwards: bool = False) -> None:
        """Do one step with every variant; those that fail are out."""
        failed = []
        for one in reversed(self.running) if backwards else self.running:
            try:
                step(one)
            except WorkerError as error:
                failed.append(one)
                one.worker.close()
                self.on_failure(Failure(one.name, str(error)))
        self.running = [one for one in self.running if one not in failed]

    def ready(self, one: _Contestant) -> None:
        """Wait until the libraries are imported: loading is not to be timed beside the imports of the others."""
        one.worker.wait(self.config.timeout_seconds * len(self.running))  # all import at once, each slows the others

    def open(self, one: _Contestant) -> None:
        """Load the variant."""
        one.opened = self._ask(one, "open", folder=str(one.folder.resolve()), threads=self.threads)

    def warm_up(self, one: _Contestant) -> None:
        """Make the inputs and compute them until the times are steady."""
        limit = self.config.seconds_per_variant * _WARM_UP / len(self.workloads)
        for workload in self.workloads:
            texts = self.texts if workload.tokens is not None else self.texts[: self.config.realistic]
            one.prepared[workload] = self._ask(
                one, "prepare", workload=asdict(workload), texts=texts, seed=self.config.seed, limit=limit
            )
            one.kept[workload] = []

    def rounds(self) -> None:
        """Measure in turns, until all rounds are done or the time is used up."""
        if not self.running:
            return
        seconds = self.config.seconds_per_variant * len(self.running)
        used = sum(row["seconds"] for one in self.running for row in one.prepared.values())
        with progress(self.config.rounds, f"measuring {len(self.running)} variants", "round") as bar:
            for number in range(self.config.rounds):
                if number >= _LEAST_ROUNDS and used >= seconds:
                    return
                for workload in self.workloads:
                    self.each(lambda one, workload=workload: self.block(one, workload), backwards=number % 2 == 1)
                used += sum(row[-1].block.wall for one in self.running for row in one.kept.values())
                bar.update()

    def block(self, one: _Contestant, workload: Workload) -> None:
        """Measure one input for its share of the time, at least one pass over it."""
        share = (1 - _WARM_UP) / (self.config.rounds * len(self.workloads))
        seconds = self.config.seconds_per_variant * share
        passes = max(1, int(seconds / max(one.prepared[workload]["pass_seconds"], 1e-6)))

        def run() -> Block:
            answer = self._ask(one, "block", workload=workload.name, passes=passes)
            return Block(**{**answer, "calls": tuple(answer["calls"])})

        one.kept[workload].append(self.gate.measure(run))

    def finish(self, one: _Contestant) -> None:
        """Ask for the peak of memory."""
        one.peak_bytes = self._ask(one, "finish")["peak_bytes"]

    def speed(self, one: _Contestant, reference: _Contestant | None) -> Speed:
        """Sum up what was measured."""
        exact, realistic = ({}, {})
        for workload in self.workloads:
            into = exact if workload.tokens is not None else realistic
            into[workload.batch] = self._row(one, reference, workload)
        return Speed(
            name=one.name,
            folder=str(one.folder),
            size_mb=one.opened["size_bytes"] / 1e6,
            load_seconds=one.opened["load_seconds"],
            peak_mb=one.peak_bytes / 1e6,
            base_mb=one.opened["base_bytes"] / 1e6,
            threads=self.threads,
            tokens=one.prepared[self.workloads[0]]["tokens"],
            latency=exact,
            realistic=realistic,
        )

    def _row(self, one: _Contestant, reference: _Contestant | None, workload: Workload) -> LatencyRow:
        texts = workload.batch if workload.tokens is not None else len(self.texts[: self.config.realistic])
        against = reference.kept[workload] if reference else None
        return latency_row(one.kept[workload], against, texts_per_pass=texts)

    def _ask(self, one: _Contestant, command: str, **arguments: Any) -> dict[str, Any]:
        return one.worker.request(command, self.config.timeout_seconds, **arguments)
