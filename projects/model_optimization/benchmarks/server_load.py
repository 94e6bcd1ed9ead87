"""The server under load: micro-batching against one request at a time, and against a plain pipeline server.

    python projects/model_optimization/benchmarks/server_load.py --variant FOLDER [--plain FOLDER]

Three servers run at once, each in a process of its own, and are asked in turns, so that whatever else the machine does
hits all alike: the server as it is, the same server with --serve.batching.max_batch 1, and `_plain_server.py`, FastAPI
around a pipeline of transformers. So many clients each ask again as soon as they have their answer. Then a fourth
server gets twice the requests that the first one answered, and SIGTERM with requests under way.

Every answer is compared with what the variant says about the text alone. Dynamic int8 takes one range for all texts
that are computed together, so that its probabilities move a little: --tolerance says how far they may.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from _load_client import Load, Outcome, Question, question

from model_optimization.softmax import softmax
from model_optimization.variants import load_variant

TEXTS = (
    "a film to see twice",
    "never again",
    "the plot is thin but the cast carries it",
    "dull",
    "i laughed, i cried, i bought the soundtrack",
    "two hours that feel like four",
    "not as bad as they say",
    "a small, warm and clever story about a very large lie",
    "so boring",
    "it was fine",
    "great fun from the first scene to the last",
    "whoever wrote this has never met a human being",
)
SERVE = "from model_optimization.commands.serve import run; run(__import__('pickle').loads(bytes.fromhex(input())))"


@dataclass
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen
    port: int
    lines: list[str] = field(default_factory=list)
    """What it printed since."""

    reader: threading.Thread | None = None


@contextmanager
def server(command: Sequence[str], ready: str, settings: object = None) -> Iterator[Running]:
    """Start a server and wait for the line that says that it is ready, with its address."""
    import pickle

    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdin is not None
    assert process.stdout is not None
    if settings is not None:
        process.stdin.write(pickle.dumps(settings).hex() + "\n")
        process.stdin.flush()
    try:
        for line in process.stdout:
            if line.startswith(ready):
                break
        else:
            raise SystemExit(f"the server ended before it was ready (exit code {process.wait()})")
        running = Running(process, int(re.search(r":(\d+) ", line)[1]))  # type: ignore[index]
        running.reader = threading.Thread(target=lambda: running.lines.extend(process.stdout or ()), daemon=True)
        running.reader.start()
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def our_server(variant: Path, **batching: float):
    """The project's server with some of its batching settings."""
    from model_optimization.config.serving import BatchingConfig, ServeCommandConfig, ServeConfig

    settings = ServeConfig(variant=variant, port=0, batching=BatchingConfig(**batching))  # type: ignore[arg-type]
    return server([sys.executable, "-c", SERVE], "serving ", ServeCommandConfig(serve=settings))


def plain_server(folder: Path):
    """FastAPI around a pipeline."""
    return server([sys.executable, str(Path(__file__).with_name("_plain_server.py")), str(folder)], "listening ")


def questions(variant: Path, tolerance: float) -> list[Question]:
    """The texts, each with what the variant says about it alone."""
    classifier = load_variant(variant)
    found = []
    for text in TEXTS:
        expected = dict(zip(classifier.labels, softmax(classifier.logits([text])[0]).tolist(), strict=True))

        def is_right(answer: dict, expected: dict[str, float] = expected) -> bool:
            said = answer["predictions"][0]["probabilities"]
            return all(abs(said[label] - value) <= tolerance for label, value in expected.items())

        found.append(question(text, is_right))
    classifier.close()
    return found


def compare(options: argparse.Namespace, asked: list[Question]) -> dict[str, Outcome]:
    """Requests a second and latency of the three servers, in turns."""
    totals: dict[str, Outcome] = {}
    with ExitStack() as stack:
        servers = {
            "micro-batching": stack.enter_context(our_server(options.variant)),
            "one at a time": stack.enter_context(our_server(options.variant, max_batch=1, max_wait_ms=0)),
        }
        if options.plain is not None:
            servers["plain pipeline"] = stack.enter_context(plain_server(options.plain))
        unchecked = [question(text) for text in TEXTS]
        for turn in range(options.turns + 1):
            for name, running in servers.items():
                # The plain server says only its label, of another model.
                load = Load("127.0.0.1", running.port, unchecked if name == "plain pipeline" else asked, seed=turn)
                outcome = asyncio.run(load.closed(options.clients, options.seconds))
                if turn:  # the first turn warms up
                    add(totals.setdefault(name, Outcome()), outcome)
    return totals


def add(total: Outcome, outcome: Outcome) -> None:
    total.seconds += outcome.seconds
    total.latencies += outcome.latencies
    total.statuses += outcome.statuses
    for name in ("untold", "wrong", "unsent", "lost"):
        setattr(total, name, getattr(total, name) + getattr(outcome, name))


def overload(options: argparse.Namespace, asked: list[Question], per_second: float) -> dict[str, object]:
    """Twice the load that the server can take, then SIGTERM, with requests under way."""
    memory: list[float] = []
    with our_server(options.variant, max_queue=256) as running:
        load = Load("127.0.0.1", running.port, asked)
        process = psutil.Process(running.process.pid)

        async def drive() -> Outcome:
            working = asyncio.create_task(load.open(2 * per_second, options.overload_seconds + 30, connections=512))
            for _ in range(10):
                await asyncio.sleep(options.overload_seconds / 10)
                memory.append(process.memory_info().rss / 1e6)
            running.process.send_signal(signal.SIGTERM)
            # Clients go on asking while the server drains, and stop when its port is closed.
            await asyncio.sleep(0.5)
            load.stop()
            return await working

        outcome = asyncio.run(drive())
        code = running.process.wait(60)
        assert running.reader is not None
        running.reader.join(10)
    accepted, ended = map(int, re.findall(r"\d+", running.lines[-1].replace(",", "")))
    return {
        "offered_per_second": round(2 * per_second, 1),
        "answered": outcome.statuses[200],
        "refused": {str(status): n for status, n in sorted(outcome.statuses.items()) if status != 200},
        "refused_without_reason": outcome.untold,
        "not_sent": outcome.unsent,
        "wrong": outcome.wrong,
        "lost": outcome.lost,
        "accepted_by_server": accepted,
        "ended_by_server": ended,
        "exit_code": code,
        "memory_mb_first_and_last": [round(memory[1], 1), round(memory[-1], 1)],
        "p99_ms": round(outcome.percentile(0.99), 1),
    }


def report(options: argparse.Namespace, totals: dict[str, Outcome], loaded: dict[str, object]) -> None:
    """Print the tables, and write them where --output says."""
    base = totals["micro-batching"]
    rows = {}
    print(f"{'server':<16} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'ratio':>6} {'wrong':>6} {'lost':>5}")
    for name, total in totals.items():
        ratio = base.per_second / total.per_second
        p50, p99 = total.percentile(0.5), total.percentile(0.99)
        times = f"{total.per_second:>10.1f} {p50:>8.1f} {p99:>8.1f}"
        print(f"{name:<16} {times} {ratio:>6.2f} {total.wrong:>6} {total.lost:>5}")
        rows[name] = {
            "per_second": total.per_second, "p50_ms": p50, "p99_ms": p99, "wrong": total.wrong, "lost": total.lost,
            "refused": sum(n for status, n in total.statuses.items() if status != 200),
        }  # fmt: skip
    print(f"overload for {options.overload_seconds:g} s, then SIGTERM:")
    for name, value in loaded.items():
        print(f"  {name.replace('_', ' ')}: {value}")
    if options.output is not None:
        options.output.write_text(
            json.dumps({"clients": options.clients, "servers": rows, "overload": loaded}, indent=2)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", type=Path, required=True, help="folder of the variant that is served")
    parser.add_argument("--plain", type=Path, help="transformers folder of the original, for the plain server")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one turn of one server")
    parser.add_argument("--turns", type=int, default=3, help="after one that warms up")
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    parser.add_argument("--tolerance", type=float, default=1e-3, help="of a probability")
    parser.add_argument("--output", type=Path, help="JSON file of the results")
    options = parser.parse_args()
    asked = questions(options.variant, options.tolerance)
    totals = compare(options, asked)
    report(options, totals, overload(options, asked, totals["micro-batching"].per_second))


if __name__ == "__main__":
    main()
