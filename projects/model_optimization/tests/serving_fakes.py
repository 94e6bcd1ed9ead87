"""Classifiers that compute in known times, a registry of them in memory, and a server in a thread."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from model_optimization.config.serving import BatchingConfig, LimitsConfig, ServeConfig
from model_optimization.deployment.fastapi_server import build_app
from model_optimization.deployment.lifecycle import DrainingServer, server_of
from model_optimization.deployment.registry_state import RegistryState, Role, Switch, Version
from model_optimization.deployment.server_keys import KeyRing
from model_optimization.deployment.service import Service
from model_optimization.monitoring.prediction_log import PredictionRecord
from model_optimization.types import FloatArray, TokenIds
from roadmap_shared.errors import UserError
from roadmap_shared.sockets import listen


class FakeClassifier:
    """A token a word. The first logit is the number of the model, the second one the text's number: `text 17` -> 17."""

    labels = ("negative", "positive")
    max_length = 64

    def __init__(self, *, bias: float = 0.0, seconds: Callable[[int], float] = lambda n: 0.0) -> None:
        self.bias, self.seconds = bias, seconds
        self.batches: list[list[TokenIds]] = []
        self.closed = False
        self.poison: int | None = None
        self.gate: threading.Event | None = None
        self.entered = threading.Event()

    def token_ids(self, texts: Sequence[str]) -> list[TokenIds]:
        return [[int(word) if word.isdigit() else 0 for word in text.split()][: self.max_length] for text in texts]

    def logits_of_tokens(self, sequences: Sequence[TokenIds]) -> FloatArray:
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(20)
        if any(self.poison in sequence for sequence in sequences):
            raise RuntimeError("no such token")
        self.batches.append(list(sequences))
        time.sleep(self.seconds(len(sequences)))
        return np.array([[self.bias, max(sequence) / 100] for sequence in sequences], dtype=np.float32)

    def logits(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        return self.logits_of_tokens(self.token_ids(texts))

    def close(self) -> None:
        self.closed = True


class FakeRegistry:
    """Implements `Registry` for classifiers in memory."""

    def __init__(self, root: Path, models: Mapping[int, Callable[[], FakeClassifier]], challenger: int | None = None):
        self.root, self.models = root, dict(models)
        versions = tuple(Version(number=n, name=f"fake-{n}", created=0.0, digest="") for n in self.models)
        self.state = RegistryState(versions=versions).promoted(min(self.models), 0.0)
        self.set_challenger(challenger)
        for number in self.models:
            self.folder(number).mkdir(parents=True, exist_ok=True)
        self.writable = True

    def versions(self) -> list[Version]:
        return list(self.state.versions)

    def register(self, folder: Path, name: str | None = None) -> Version:
        raise UserError("no")

    def role(self, role: Role) -> int | None:
        return self.state.roles.get(role)

    def set_challenger(self, number: int | None) -> None:
        roles = {role: held for role, held in self.state.roles.items() if role != "challenger"}
        if number is not None:
            self.state.version(number)
            roles["challenger"] = number
        self.state = RegistryState(versions=self.state.versions, roles=roles, history=self.state.history)

    def promote(self, number: int | None = None) -> Version:
        if not self.writable:
            raise UserError(f"{self.root}: the registry cannot be written: Read-only file system")
        self.state = self.state.promoted(number, 0.0)
        return self.state.version(self.state.roles["champion"])

    def rollback(self) -> Version:
        self.state = self.state.rolled_back(0.0)
        return self.state.version(self.state.roles["champion"])

    def previous(self) -> int | None:
        return self.state.previous

    def history(self) -> list[Switch]:
        return list(self.state.history)

    def folder(self, number: int) -> Path:
        return self.root / str(number)

    def load(self, number: int, threads: int | None = None) -> FakeClassifier:
        self.state.version(number)
        return self.models[number]()


class KeptRecords:
    """Implements `PredictionSink` by a list."""

    def __init__(self) -> None:
        self.records: list[PredictionRecord] = []

    def write(self, records: Sequence[PredictionRecord]) -> None:
        self.records.extend(records)


def serve_config(
    *, batching: BatchingConfig | None = None, limits: LimitsConfig | None = None, **settings: object
) -> ServeConfig:
    settings = {"port": 0, "poll_seconds": 0, "drain_seconds": 0.0, "grace_seconds": 10} | settings
    return ServeConfig(batching=batching or BatchingConfig(), limits=limits or LimitsConfig(), **settings)  # type: ignore[arg-type]


class Live:
    """A server that runs in a thread."""

    def __init__(self, url: str, service: Service, server: DrainingServer, thread: threading.Thread) -> None:
        self.url, self.service, self.server, self._thread = url, service, server, thread
        self.client = httpx.Client(base_url=url, timeout=30)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def predict(self, text: str, **more: object) -> httpx.Response:
        return self.client.post("/v1/predict", json={"text": text, **more})

    def metric(self, line: str) -> float:
        found = [row for row in self.client.get("/metrics").text.splitlines() if row.startswith(line + " ")]
        return float(found[0].split()[-1]) if found else 0.0

    def raw(self, data: bytes) -> bytes:
        """What the server answers to these bytes, until it closes the connection."""
        with socket.create_connection(self.address, timeout=20) as connection:
            connection.sendall(data)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def stop(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextmanager
def live(
    registry: object,
    config: ServeConfig | None = None,
    *,
    keys: Mapping[str, str] | None = None,
    admin: Mapping[str, str] | None = None,
    sink: KeptRecords | None = None,
    load: bool = True,
) -> Iterator[Live]:
    config = config or serve_config()
    service = Service(registry, config, sink)  # type: ignore[arg-type]
    if load:
        service.load()
    with listen("127.0.0.1", 0) as listener:
        app = build_app(service, config, keys=KeyRing(keys or {}), admin=KeyRing(admin or {}))
        server = server_of(app, config, service.state, listener)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: server.started)
        running = Live(f"http://127.0.0.1:{listener.getsockname()[1]}", service, server, thread)
        try:
            yield running
        finally:
            running.stop()


def until(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    """Wait for something that happens in another thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
