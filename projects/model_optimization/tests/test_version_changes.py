import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_optimization.config.serving import BatchingConfig, TrafficConfig
from model_optimization.deployment.registry import FolderRegistry
from model_optimization.deployment.service import Service
from model_optimization.deployment.single_variant import SingleVariant
from model_optimization.variants import VariantInfo, write_variant
from roadmap_shared.errors import UserError

from .serving_fakes import FakeClassifier, FakeRegistry, KeptRecords, live, serve_config, until
from .tiny_models import TEXTS, tiny_classifier

ADMIN = "s" * 20


def admin(running, route: str, **body: object):
    return running.client.post(f"/v1/admin/{route}", json=body, headers={"authorization": f"Bearer {ADMIN}"})


def comparison(running) -> dict:
    return running.client.get("/v1/admin/comparison", headers={"authorization": f"Bearer {ADMIN}"}).json()


def three_models(root, challenger: int | None = None, **more) -> FakeRegistry:
    models = {number: lambda number=number: FakeClassifier(bias=float(number)) for number in (1, 2, 3)} | more
    return FakeRegistry(root, models, challenger)


def roles(running) -> dict[str, int]:
    return {one["role"]: one["version"] for one in running.client.get("/v1/models").json()["models"]}


def test_promotion_and_rollback_by_the_admin_routes(tmp_path):
    with live(three_models(tmp_path, challenger=2), admin={ADMIN: "admin"}) as running:
        assert roles(running) == {"champion": 1, "challenger": 2}
        assert admin(running, "promote").status_code == 200
        assert roles(running) == {"champion": 2}
        assert running.predict("text 1").json()["version"] == 2
        assert admin(running, "promote", version=3).json()["models"][0]["version"] == 3
        assert admin(running, "rollback").status_code == 200
        assert admin(running, "rollback").status_code == 200
        assert roles(running) == {"champion": 1}
        refused = admin(running, "promote", version=9)
        assert refused.status_code == 409
        assert refused.json()["error"]["message"] == "version 9 is not in the registry (there: 1, 2, 3)"
        assert admin(running, "promote", version="3").json()["error"]["code"] == "invalid_field"
        assert admin(running, "promote", share=1).json()["error"]["code"] == "unknown_field"
        assert running.metric('model_server_switches_total{action="promote"}') == 2
        assert running.metric('model_server_switches_total{action="rollback"}') == 2


def test_promotion_under_load_loses_no_request_and_closes_what_it_replaced(tmp_path):
    made: dict[int, list[FakeClassifier]] = {1: [], 2: []}

    def make(number: int):
        def made_now() -> FakeClassifier:
            made[number].append(FakeClassifier(bias=float(number), seconds=lambda n: 0.002))
            return made[number][-1]

        return made_now

    registry = FakeRegistry(tmp_path, {1: make(1), 2: make(2)})
    with live(registry, admin={ADMIN: "admin"}) as running, ThreadPoolExecutor(8) as pool:
        stop = threading.Event()

        def client() -> list[tuple[int, int, float]]:
            seen = []
            while not stop.is_set():
                response = running.predict("text 1")
                body = response.json()
                probability = body["predictions"][0]["probabilities"]["negative"] if response.is_success else 0.0
                seen.append((response.status_code, body.get("version", 0), probability))
            return seen

        clients = [pool.submit(client) for _ in range(8)]
        for turn in range(4):
            assert admin(
                running, "rollback" if turn % 2 else "promote", **({} if turn % 2 else {"version": 2})
            ).is_success
            time.sleep(0.1)
        stop.set()
        answers = [answer for future in clients for answer in future.result()]
        until(lambda: all(old.closed for old in (*made[1][:-1], *made[2])))
    assert {status for status, _, _ in answers} == {200}
    assert {version for _, version, _ in answers} == {1, 2}
    # Each answer is of the version that it names.
    expected = {1: 0.729088, 2: 0.879743}
    assert all(probability == pytest.approx(expected[version], abs=1e-5) for _, version, probability in answers)
    assert all(one.closed for models in made.values() for one in models)


@pytest.mark.parametrize("fault", ["damaged", "not finite", "unwritable"])
def test_what_cannot_take_over_changes_nothing(tmp_path, fault):
    def broken() -> FakeClassifier:
        if fault == "damaged":
            raise UserError("/models/2/model.onnx: was changed or cut off since the variant was made: make it again")
        return FakeClassifier(bias=float("nan") if fault == "not finite" else 0.0)

    registry = FakeRegistry(tmp_path, {1: FakeClassifier, 2: broken})
    registry.writable = fault != "unwritable"
    with live(registry, admin={ADMIN: "admin"}) as running:
        refused = admin(running, "promote", version=2)
        assert refused.status_code == 409
        assert (
            refused.json()["error"]["message"]
            == {
                "damaged": "model.onnx: was changed or cut off since the variant was made: make it again",
                "not finite": "the model fails on its first texts: FloatingPointError: logits of shape (1, 2), or not "
                "finite",
                "unwritable": f"{tmp_path.name}: the registry cannot be written: Read-only file system",
            }[fault]
        )
        assert roles(running) == {"champion": 1}
        assert running.predict("text 1").json()["version"] == 1
        assert registry.role("champion") == 1


def test_split_is_sticky_by_key_and_changes_by_the_admin_route(tmp_path):
    config = serve_config(traffic=TrafficConfig(share=0.5, shadow=False))
    with live(three_models(tmp_path, challenger=2), config, admin={ADMIN: "admin"}) as running:
        versions = {key: running.predict("text 1", key=key).json()["version"] for key in map(str, range(24))}
        assert set(versions.values()) == {1, 2}
        assert versions == {key: running.predict("text 1", key=key).json()["version"] for key in versions}
        assert admin(running, "traffic", share=0.0).json()["traffic"] == {"share": 0.0, "shadow": False}
        assert {running.predict("text 1", key=key).json()["version"] for key in versions} == {1}
        assert admin(running, "traffic", challenger=3, share=1.0).is_success
        assert {running.predict("text 1", key=key).json()["version"] for key in versions} == {3}
        assert admin(running, "traffic", challenger=0).is_success
        assert roles(running) == {"champion": 1}
        assert admin(running, "traffic", share=1.5).json()["error"]["code"] == "invalid_field"


def test_a_challenger_that_fails_breaks_no_answer(tmp_path):
    def poisoned() -> FakeClassifier:
        classifier = FakeClassifier()
        classifier.poison = 13
        return classifier

    registry = FakeRegistry(tmp_path, {1: FakeClassifier, 2: poisoned}, challenger=2)
    config = serve_config(traffic=TrafficConfig(share=1.0))
    with live(registry, config, admin={ADMIN: "admin"}) as running:
        assert running.predict("text 1").json()["version"] == 2
        assert running.predict("text 13").json()["version"] == 1
        assert comparison(running)["challenger"]["failed"]["share"] == 0.5
        assert running.metric('model_server_failures_total{version="2"}') == 1


def test_a_model_that_fails_is_told_and_logged_as_an_error(tmp_path):
    def poisoned() -> FakeClassifier:
        classifier = FakeClassifier()
        classifier.poison = 13
        return classifier

    sink = KeptRecords()
    with live(FakeRegistry(tmp_path, {1: poisoned}), sink=sink) as running:
        refused = running.predict("text 13")
        assert refused.status_code == 500
        assert refused.json()["error"]["code"] == "model_failed"
        assert "token" not in refused.text
    assert [(one.label, one.error) for one in sink.records] == [("", "failed")]


def test_shadow_traffic_compares_labels_and_is_logged_apart(tmp_path):
    # The challenger's first logit is 2: it says "negative" below `text 200`.
    sink = KeptRecords()
    registry = FakeRegistry(tmp_path, {1: FakeClassifier, 2: lambda: FakeClassifier(bias=2.0)}, challenger=2)
    with live(registry, admin={ADMIN: "admin"}, sink=sink) as running:
        for number in (100, 100, 300, 300):
            assert running.predict(f"text {number}").json()["version"] == 1
        until(lambda: comparison(running)["challenger"]["shadow"]["texts"] == 4)
        agreement = comparison(running)["challenger"]["shadow"]["agreement"]
        assert (agreement["share"], agreement["n"]) == (0.5, 4)
        assert running.metric('model_server_shadow_total{outcome="agree",version="2"}') == 2
        assert running.metric('model_server_texts_total{version="1"}') == 4
    assert sorted((one.version, one.shadow) for one in sink.records) == [("1", False)] * 4 + [("2", True)] * 4


@pytest.mark.parametrize("fault", ["slow", "failing"])
def test_shadow_traffic_neither_delays_nor_breaks_an_answer(tmp_path, fault):
    made = []

    def challenger() -> FakeClassifier:
        made.append(FakeClassifier())
        return made[-1]

    config = serve_config(batching=BatchingConfig(max_shadow=2))
    with live(FakeRegistry(tmp_path, {1: FakeClassifier, 2: challenger}, 2), config, admin={ADMIN: "admin"}) as running:
        if fault == "slow":
            made[0].gate = threading.Event()  # its computation stands still
        else:
            made[0].poison = 1
        answers = [running.predict("text 1") for _ in range(10)]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["version"] for answer in answers} == {1}
        outcome = "dropped" if fault == "slow" else "failed"
        until(lambda: running.metric(f'model_server_shadow_total{{outcome="{outcome}",version="2"}}') > 0)
        if made[0].gate:
            made[0].gate.set()


@pytest.fixture
def variant(tmp_path):
    """A function that puts a tiny torch variant of a number of layers into one folder."""

    def make(layers: int, folder=tmp_path / "model"):
        classifier = tiny_classifier(layers=layers)
        info = VariantInfo(name=f"tiny-{layers}", kind="torch", labels=classifier.labels, max_length=64)
        return write_variant(folder, info, classifier.save), classifier.logits(TEXTS)

    return make


def test_a_model_file_that_is_replaced_or_cut_off_under_a_running_server(variant):
    folder, _ = variant(1)
    with live(SingleVariant(folder), serve_config(poll_seconds=0.05)) as running:
        before = running.predict(TEXTS[0]).json()
        weights = folder / "model.safetensors"
        whole = weights.read_bytes()
        with weights.open("r+b") as file:  # in place: where the running version had it mapped, it would die
            file.truncate(100)
        until(lambda: running.client.get("/v1/models").json()["reload_error"] is not None)
        assert running.client.get("/v1/models").json()["reload_error"] == (
            "champion: model.safetensors: was changed or cut off since the variant was made: make it again"
        )
        assert running.metric("model_server_reload_failed") == 1
        assert running.metric('model_server_reloads_total{outcome="failed"}') == 1
        assert running.predict(TEXTS[0]).json()["predictions"] == before["predictions"]
        assert running.client.get("/readyz").status_code == 200
        weights.write_bytes(whole)
        until(lambda: running.client.get("/v1/models").json()["reload_error"] is None)
        assert running.metric("model_server_reload_failed") == 0
        variant(2)
        until(lambda: running.predict(TEXTS[0]).json()["version"] == 2)
        after = running.predict(TEXTS[0]).json()
        assert after["model"] == "tiny-2"
        assert after["predictions"] != before["predictions"]
        assert running.metric('model_server_version_info{name="tiny-2",role="champion",version="2"}') == 1


def test_a_registry_that_another_process_changes_is_followed(variant, tmp_path):
    registry = FolderRegistry(tmp_path / "registry")
    for layers in (1, 2):
        registry.register(variant(layers)[0])
    with live(FolderRegistry(tmp_path / "registry"), serve_config(poll_seconds=0.05)) as running:
        registry.set_challenger(2)
        until(lambda: roles(running) == {"champion": 1, "challenger": 2})
        registry.promote()
        until(lambda: roles(running) == {"champion": 2})
        registry.rollback()
        until(lambda: roles(running) == {"champion": 1})
        (tmp_path / "registry" / "registry.json").write_text("{")
        until(lambda: running.client.get("/v1/models").json()["reload_error"] is not None)
        assert "the registry cannot be read" in running.client.get("/v1/models").json()["reload_error"]
        assert running.predict(TEXTS[0]).json()["version"] == 1


def test_a_server_without_a_champion_does_not_start(tmp_path):
    service = Service(FolderRegistry(tmp_path / "none"), serve_config())
    with pytest.raises(UserError) as refused:
        service.load()
    assert str(refused.value) == (
        "the registry has no champion: register a variant with `model-optimization registry --register FOLDER`"
    )
