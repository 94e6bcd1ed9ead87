"""The server as a process: 32 clients, overload, SIGTERM with requests under way."""

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from model_optimization.config.monitoring import LogConfig
from model_optimization.config.serving import BatchingConfig, ServeCommandConfig, ServeConfig
from model_optimization.variants import VariantInfo, write_variant

from .serving_fakes import FakeClassifier, FakeRegistry, live, serve_config, until
from .tiny_models import TEXTS, tiny_classifier

SERVE = "import pickle; from model_optimization.commands.serve import run; run(pickle.loads(bytes.fromhex(input())))"
SLOW = """
import time
from model_optimization.torch_classifier import TorchClassifier
quick = TorchClassifier.logits_of_tokens
TorchClassifier.logits_of_tokens = lambda self, sequences: (time.sleep(0.02), quick(self, sequences))[1]
"""
FAKE = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from serving_fakes import FakeClassifier, FakeRegistry
from model_optimization.commands import serve
serve._registry = lambda config: FakeRegistry(config.variant, {{1: lambda: FakeClassifier(seconds=lambda n: 0.3)}})
"""
"""Spares the import of torch."""


@dataclass
class Process:
    process: subprocess.Popen
    url: str
    first_line: str

    def wait(self) -> None:
        """Until it is ready."""
        assert self.process.stdout
        assert self.process.stdout.readline().startswith("serving ")
        assert httpx.get(f"{self.url}/readyz").status_code == 200

    def end(self) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        out, errors = self.process.communicate(timeout=60)
        return self.process.returncode, out, errors


@contextmanager
def served(config: ServeCommandConfig, before: str = "") -> Iterator[Process]:
    code = before + SERVE
    environment = dict(os.environ, OMP_NUM_THREADS="1", MODEL_OPTIMIZATION_API_KEYS="", MODEL_OPTIMIZATION_ADMIN_KEY="")
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(pickle.dumps(config).hex() + "\n")
        process.stdin.flush()
        first = process.stdout.readline()
        found = re.search(r"http://\S+", first)
        assert found, process.communicate()
        yield Process(process, found[0].rstrip(";"), first)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def variant(tmp_path_factory) -> Path:
    classifier = tiny_classifier()
    info = VariantInfo(name="tiny", kind="torch", labels=classifier.labels, max_length=64)
    return write_variant(tmp_path_factory.mktemp("models") / "tiny", info, classifier.save)


def settings(variant: Path, *, drain: float = 0.2, log: Path | None = None, **batching: float) -> ServeCommandConfig:
    serve = ServeConfig(
        variant=variant, port=0, drain_seconds=drain, batching=BatchingConfig(**batching)  # type: ignore[arg-type]
    )  # fmt: skip
    return ServeCommandConfig(serve=serve, log=LogConfig(path=log))


def test_32_clients_get_right_answers_and_sigterm_loses_none(variant, tmp_path):
    alone = {text: tiny_classifier().logits([text])[0] for text in TEXTS}
    with served(settings(variant, drain=2.0, log=tmp_path / "log.sqlite"), SLOW) as running:
        assert running.first_line.startswith(f"loading {variant}; listening at http://127.0.0.1:")
        running.wait()
        assert httpx.get(f"{running.url}/dashboard").status_code == 200
        assert "error" not in httpx.get(f"{running.url}/dashboard/data").json()
        assert "model_server_log_records_total" in httpx.get(f"{running.url}/metrics").text
        stop = threading.Event()
        outcomes: Counter[str] = Counter()

        def client(number: int) -> None:
            with httpx.Client(base_url=running.url, timeout=30) as http:
                while not stop.is_set():
                    text = TEXTS[number % len(TEXTS)]
                    number += 1
                    try:
                        response = http.post("/v1/predict", json={"text": text})
                    except (httpx.ConnectError, httpx.ReadError):  # the port was closed: it was not accepted
                        outcomes["unsent"] += 1
                        return
                    assert response.status_code == 200, response.text
                    said = response.json()["predictions"][0]["probabilities"]
                    odds = alone[text][1] - alone[text][0]
                    assert said["positive"] / said["negative"] == pytest.approx(float(2.718281828**odds), rel=1e-3)
                    outcomes["answered"] += 1

        with ThreadPoolExecutor(32) as pool:
            clients = [pool.submit(client, number) for number in range(32)]
            until(lambda: outcomes["answered"] > 150)
            probe = httpx.Client(base_url=running.url)
            running.process.send_signal(signal.SIGTERM)
            until(lambda: probe.get("/readyz").status_code == 503)
            draining = probe.get("/readyz")
            probe.close()
            assert (draining.status_code, draining.json()) == (503, {"status": "draining"})
            assert draining.headers["connection"] == "close"
            for future in clients:
                future.result()
            stop.set()
        code, out, errors = running.end()
    assert (code, errors) == (0, "")
    said = re.search(r"stopped: ([\d,]+) requests accepted, ([\d,]+) of them ended\n$", out)
    assert said is not None, out
    assert said[1] == said[2]
    assert int(said[1].replace(",", "")) == outcomes["answered"]
    assert (tmp_path / "log.sqlite").stat().st_size > 0


def test_requests_that_were_accepted_before_sigterm_are_answered_after_the_port_is_closed(tmp_path):
    with served(settings(tmp_path, max_batch=1), FAKE) as running:
        running.wait()
        with ThreadPoolExecutor(6) as pool:
            asked = [
                pool.submit(httpx.post, f"{running.url}/v1/predict", json={"text": "1"}, timeout=30) for _ in range(6)
            ]
            with httpx.Client(base_url=running.url) as probe:
                until(lambda: 'model_server_queue_texts{version="1"} 5.0' in probe.get("/metrics").text)
            running.process.send_signal(signal.SIGTERM)
            assert [future.result().status_code for future in asked] == [200] * 6
        code, out, errors = running.end()
    assert (code, errors) == (0, "")
    assert out.endswith("stopped: 6 requests accepted, 6 of them ended\n")


def test_sigint_ends_the_server_too(tmp_path):
    with served(settings(tmp_path), FAKE) as running:
        running.wait()
        running.process.send_signal(signal.SIGINT)
        code, out, errors = running.end()
    assert (code, errors) == (0, "")
    assert out.endswith("stopped: 0 requests accepted, 0 of them ended\n")


def test_a_model_that_cannot_be_loaded_ends_the_command_with_its_reason(variant, tmp_path):
    folder = tmp_path / "cut"
    folder.mkdir()
    for path in variant.iterdir():
        folder.joinpath(path.name).write_bytes(path.read_bytes()[: 100 if path.suffix == ".safetensors" else None])
    with served(settings(folder)) as running:
        code, _, errors = running.end()
    assert code == 1
    reason = "model.safetensors: was changed or cut off since the variant was made: make it again"
    assert errors.splitlines()[-1] == f"roadmap_shared.errors.UserError: {folder}/{reason}"


def test_overload_is_refused_with_a_reason_and_every_request_is_answered(tmp_path):
    config = serve_config(batching=BatchingConfig(max_batch=4, max_queue=8, deadline_seconds=20))
    registry = FakeRegistry(tmp_path, {1: lambda: FakeClassifier(seconds=lambda n: 0.02)})
    with live(registry, config) as running:

        def client(number: int) -> list[tuple[int, str]]:
            found = []
            with httpx.Client(base_url=running.url, timeout=30) as http:
                for turn in range(5):
                    response = http.post("/v1/predict", json={"text": f"text {100 * (number + turn)}"})
                    if response.status_code == 429:
                        assert response.json()["error"]["code"] == "queue_full"
                        assert 1 <= int(response.headers["retry-after"]) <= 60
                    found.append((response.status_code, response.text))
            return found

        with ThreadPoolExecutor(32) as pool:
            answers = [answer for found in pool.map(client, range(32)) for answer in found]
        statuses = Counter(status for status, _ in answers)
        assert set(statuses) == {200, 429}
        assert sum(statuses.values()) == 160
        assert running.metric('model_server_refused_total{code="queue_full"}') == statuses[429]
        assert running.metric('model_server_texts_total{version="1"}') == statuses[200]
        assert running.service.state.accepted == running.service.state.ended == statuses[200]


def test_deadline_is_told_while_the_model_stands_still(tmp_path):
    made = []

    def classifier() -> FakeClassifier:
        made.append(FakeClassifier())
        return made[-1]

    config = serve_config(batching=BatchingConfig(deadline_seconds=0.2))
    with live(FakeRegistry(tmp_path, {1: classifier}), config) as running:
        made[0].gate = threading.Event()
        refused = running.predict("text 1")
        assert refused.status_code == 503
        assert refused.json() == {"error": {"code": "deadline", "message": "no answer in time: the server is too busy"}}
        assert refused.headers["retry-after"] == "1"
        made[0].gate.set()
        until(lambda: running.predict("text 1").status_code == 200)


def test_texts_of_a_client_that_left_are_not_computed(tmp_path):
    made = []

    def classifier() -> FakeClassifier:
        made.append(FakeClassifier())
        return made[-1]

    with live(FakeRegistry(tmp_path, {1: classifier})) as running:
        made[0].gate = threading.Event()
        made[0].entered.clear()
        with ThreadPoolExecutor(1) as pool:
            stays = pool.submit(running.predict, "text 1")
            assert made[0].entered.wait(20)
            body = json.dumps({"text": "text 66"}).encode()
            head = f"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            with socket.create_connection(running.address) as leaves:
                leaves.sendall(head + body)
                until(lambda: running.service.state.accepted == 2)
            until(lambda: running.service.state.ended == 1)
            made[0].gate.set()
            assert stays.result().status_code == 200
        assert not any([0, 66] in batch for batch in made[0].batches)
        until(lambda: running.service.versions.roles.champion.queue.n_waiting == 0)
