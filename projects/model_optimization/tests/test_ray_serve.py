"""The variant behind Ray Serve: the same labels as without it, by many clients at once, and nothing left running."""

import asyncio
import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from model_optimization.config.export import ExportConfig
from model_optimization.config.ray_serve import RayServeConfig
from model_optimization.deployment import ray_serve
from model_optimization.deployment.onnx_conversion import export_classifier
from model_optimization.deployment.ray_serve import bounded_body, predictions, ray_serving
from model_optimization.deployment.server_errors import ApiError
from model_optimization.quantization import extras
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier


def _post(address: str, body: bytes) -> tuple[int, Any]:
    request = urllib.request.Request(address, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # Ray and what it brings warn of themselves, in words that change
def test_many_clients_get_the_labels_that_the_variant_gives(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    classifier = tiny_classifier()
    folder = export_classifier(classifier, tmp_path / "graph", ExportConfig(), name="fp32")
    expected = {text: predictions(classifier, [text])[0] for text in TEXTS}
    config = RayServeConfig(variant=folder, port=0, most_replicas=1, max_batch=4, max_texts=3)
    with ray_serving(config) as address:
        with ThreadPoolExecutor(8) as clients:
            bodies = [json.dumps({"text": TEXTS[number % len(TEXTS)]}).encode() for number in range(200)]
            answers = list(clients.map(lambda body: _post(address, body), bodies))
        several = _post(address, json.dumps({"texts": TEXTS[:3]}).encode())
        refused = [_post(address, body) for body in (b"{", b'{"texts": ["a", "b", "c", "d"]}', b'{"text": "\xff"}')]
    for number, (status, answer) in enumerate(answers):
        (given,) = answer["predictions"]
        wanted = expected[TEXTS[number % len(TEXTS)]]
        assert (status, answer["model"], given["label"]) == (200, "fp32", wanted["label"])
        assert given["probability"] == pytest.approx(wanted["probability"], abs=1e-4)
    assert [item["label"] for item in several[1]["predictions"]] == [expected[text]["label"] for text in TEXTS[:3]]
    assert [(status, answer["error"]["code"]) for status, answer in refused] == [
        (400, "invalid_json"),
        (413, "too_many_texts"),
        (400, "invalid_utf8"),
    ]
    names = [process.name() for process in psutil.Process().children(recursive=True)]
    assert not [name for name in names if "raylet" in name or "gcs_server" in name]


def test_predictions_are_the_classifiers() -> None:
    classifier = tiny_classifier()
    answers = predictions(classifier, list(TEXTS))
    logits = classifier.logits(TEXTS)
    for answer, row in zip(answers, logits, strict=True):
        assert answer["label"] == classifier.labels[int(row.argmax())]
        chances = np.exp(row) / np.exp(row).sum()
        assert list(answer["probabilities"].values()) == pytest.approx(chances.tolist(), abs=1e-5)
        assert answer["probability"] == max(answer["probabilities"].values())


class _Request:
    def __init__(self, *parts: bytes) -> None:
        self.parts, self.taken = parts, 0

    async def stream(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            self.taken += 1
            yield part


def test_body_beyond_the_limit_is_not_read_to_its_end() -> None:
    assert asyncio.run(bounded_body(_Request(b"ab", b"cd"), 4)) == b"abcd"
    request = _Request(b"abc", b"de", b"f")
    with pytest.raises(ApiError) as failure:
        asyncio.run(bounded_body(request, 4))
    assert (failure.value.status_code, failure.value.message) == (413, "the body has more than 4 bytes")
    assert request.taken == 2


def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(UserError, match=r"^which variant\? Name its folder with --variant DIR$"),
        ray_serving(RayServeConfig()),
    ):
        pass
    with pytest.raises(UserError, match=r"is no variant of a model"), ray_serving(RayServeConfig(variant=tmp_path)):
        pass
    folder = export_classifier(tiny_classifier(), tmp_path / "graph", ExportConfig(), name="fp32")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with monkeypatch.context() as patched:
            patched.setattr(ray_serve, "imported", lambda module, extra: None)
            with pytest.raises(UserError, match=rf"^--port {port}: is taken\."):
                ray_serving(RayServeConfig(variant=folder, port=port)).__enter__()
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^ray is not installed: pip install 'roadmap-model-optimization\[ray\]'$"):
        ray_serving(RayServeConfig(variant=folder)).__enter__()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replicas": 0}, "--replicas 0 must be at least 1"),
        ({"max_texts": 0}, "--max_texts 0 must be at least 1"),
        ({"replicas": 3}, "--most_replicas 2 is less than --replicas 3"),
        ({"max_batch": 0}, "--max_batch 0 is outside 1 … 1024"),
        ({"max_wait_ms": -1}, "--max_wait_ms -1 is outside 0 … 1000"),
        ({"port": -1}, "--port -1 is outside 0 … 65535"),
        ({"object_store_mb": 10}, "--object_store_mb 10 is less than 80, which Ray asks for"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        RayServeConfig(**settings)
