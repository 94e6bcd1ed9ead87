"""The process that holds one variant and times it: `python -m model_optimization.benchmarking.worker`.

It reads one JSON object a line from standard input and answers each with one line on standard output:

    {"command": "open", "folder": "…", "threads": 2}       -> {"load_seconds": …, "size_bytes": …, "base_bytes": …}
    {"command": "prepare", "workload": {…}, "texts": […]}  -> {"pass_seconds": …, "tokens": …, "seconds": …}
    {"command": "block", "workload": "1 x 128 tokens", "passes": 20}  -> the fields of a `Block`
    {"command": "finish"}                                  -> {"peak_bytes": …}

Of a mistake of the user the answer is {"error": one line}. The process ends when its input does. What libraries print
goes to standard error, so that nothing comes between the answers.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from model_optimization.benchmarking.idle_gate import Block, Usage, usage_now
from model_optimization.benchmarking.memory import peak_memory, resident_memory
from model_optimization.benchmarking.workloads import Call, Workload, calls_of
from model_optimization.types import Classifier
from roadmap_shared.errors import UserError, one_line

Clock = Callable[[], float]

_STABLE = 0.05  # relative difference of two passes' times in succession that ends the warm-up
_LEAST_PASSES = 2


@dataclass
class Opened:
    """The variant, and what is timed on it."""

    classifier: Classifier
    calls: dict[str, list[Call]]


def main() -> int:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # of libraries written in C, too
    for answer in serve(sys.stdin):
        print(json.dumps(answer), file=answers, flush=True)
    return 0


def serve(requests: TextIO | Sequence[str]) -> Iterator[dict[str, Any]]:
    """One answer for each line; the first one, without a request, says that the libraries are imported."""
    import onnxruntime
    import torch
    import transformers  # what takes the seconds: loading a variant is timed without it

    yield {"ready": [onnxruntime.__version__, torch.__version__, transformers.__version__]}
    state: dict[str, Opened] = {}
    for line in requests:
        request = json.loads(line)
        try:
            yield _COMMANDS[request.pop("command")](state, **request)
        except UserError as error:
            yield {"error": one_line(error)}
        except MemoryError:
            yield {"error": "ran out of memory"}
        except Exception as error:  # a variant that cannot be computed is the user's to know, and the others go on
            yield {"error": f"{type(error).__name__}: {one_line(error)}"}


def timed_block(
    calls: Sequence[Call], passes: int, clock: Clock = time.perf_counter, usage: Callable[[], Usage] = usage_now
) -> Block:
    """Compute all batches of an input `passes` times, each call timed by itself."""
    durations = []
    before = usage()
    for _ in range(passes):
        for call in calls:
            started = clock()
            call()
            durations.append(clock() - started)
    after = usage()
    return Block(
        calls=tuple(durations),
        passes=passes,
        wall=after.wall - before.wall,
        cpu=after.cpu - before.cpu,
        machine=after.machine - before.machine,
    )


def warm_up(calls: Sequence[Call], limit: float, clock: Clock = time.perf_counter) -> float:
    """Seconds of a pass, once two in succession took the same time or the limit in seconds is over.

    The first calls allocate memory, pick kernels and fill caches; they say nothing about those that follow.
    """
    started, times = clock(), []
    while len(times) < _LEAST_PASSES or (not _stable(times) and clock() - started < limit):
        before = clock()
        for call in calls:
            call()
        times.append(clock() - before)
    return min(times)


def _stable(times: Sequence[float]) -> bool:
    return abs(times[-1] - times[-2]) <= _STABLE * times[-2]


def _open(state: dict[str, Opened], folder: str, threads: int) -> dict[str, Any]:
    import torch

    from model_optimization.variants import VARIANT_FILE, check_files, load_variant, size_bytes

    torch.set_num_threads(threads)
    path = Path(folder)
    if (path / VARIANT_FILE).exists():
        check_files(path)  # which also brings the files into the system's cache, the same for all variants
    _import_what_it_needs(path)
    base, started = resident_memory(), time.perf_counter()
    classifier = load_variant(path, threads=threads, verify=False)
    state["opened"] = Opened(classifier, {})
    return {
        "load_seconds": time.perf_counter() - started,
        "size_bytes": size_bytes(path),
        "base_bytes": base,
    }


def _import_what_it_needs(folder: Path) -> None:
    """Let transformers import the modules of this architecture, which it does when they are first used."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig, AutoTokenizer

    from model_optimization.pruning.pruned_bert import register_pruned

    register_pruned()
    with suppress(Exception):  # loading it says in words what is wrong
        AutoTokenizer.from_pretrained(folder)
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(AutoConfig.from_pretrained(folder))]


def _prepare(
    state: dict[str, Opened], workload: dict[str, Any], texts: Sequence[str], seed: int, limit: float
) -> dict[str, Any]:
    opened, wanted = state["opened"], Workload(**workload)
    calls = calls_of(wanted, opened.classifier, texts, seed)
    opened.calls[wanted.name] = calls
    tokens = None if wanted.tokens is None else min(wanted.tokens, opened.classifier.max_length)
    started = time.perf_counter()
    return {
        "pass_seconds": warm_up(calls, limit),
        "tokens": tokens,
        "seconds": time.perf_counter() - started,
    }


def _block(state: dict[str, Opened], workload: str, passes: int) -> dict[str, Any]:
    return asdict(timed_block(state["opened"].calls[workload], passes))


def _finish(state: dict[str, Opened]) -> dict[str, Any]:
    state["opened"].classifier.close()
    return {"peak_bytes": peak_memory()}


_COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    "open": _open,
    "prepare": _prepare,
    "block": _block,
    "finish": _finish,
}

if __name__ == "__main__":
    sys.exit(main())
