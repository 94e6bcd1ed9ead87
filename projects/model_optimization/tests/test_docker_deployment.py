"""The files for containers: accepted by the tools that read them, and in agreement with the server that they start."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from model_optimization.commands.docker import run
from model_optimization.config.docker import DockerConfig
from model_optimization.config.serving import ServeCommandConfig
from model_optimization.deployment.docker_deployment import image_name, render, write_deployment
from model_optimization.deployment.server_keys import ADMIN_VARIABLE, KEYS_VARIABLE
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.variants import load_variant
from roadmap_shared.config import parse_config
from roadmap_shared.errors import UserError

from .deployment_files import read_yaml, stub_of_onnx, torch_variant
from .tiny_models import TEXTS

HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stub_of_onnx(tmp_path_factory.mktemp("variants") / "int8")


@pytest.fixture(scope="module")
def written(variant: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deployment(variant, DockerConfig(output=tmp_path_factory.mktemp("written") / "deployment"))


# The image


def _hadolint(path: Path) -> list[str]:
    done = subprocess.run([HADOLINT, "--format", "json", path], capture_output=True, text=True, check=False)
    return [finding["code"] for finding in json.loads(done.stdout)]


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is not installed")
def test_dockerfile_has_no_findings(written: Path, tmp_path: Path) -> None:
    assert _hadolint(written / "image" / "Dockerfile") == []
    torch = write_deployment(torch_variant(tmp_path / "variant"), DockerConfig(output=tmp_path / "out"))
    assert _hadolint(torch / "image" / "Dockerfile") == []
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /srv && pip install fastapi\n", encoding="utf-8")
    assert {"DL3006", "DL3013"} <= set(_hadolint(tmp_path / "Dockerfile"))


def test_second_stage_is_not_root_and_has_no_pip(written: Path) -> None:
    lines = (written / "image" / "Dockerfile").read_text(encoding="utf-8").split("AS serve")[1].splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users == ["10001:10001"]
    assert not [line for line in lines if "pip" in line]
    assert [line.split()[0] for line in lines if line.startswith(("HEALTHCHECK", "STOPSIGNAL"))] == [
        "STOPSIGNAL",
        "HEALTHCHECK",
    ]


def _served(arguments: list[str]) -> ServeCommandConfig:
    nothing = Path(__file__).parent
    return parse_config(ServeCommandConfig, arguments, prog="x", description="x", configs=nothing, default=None)


def test_server_understands_what_the_image_and_the_cluster_ask(written: Path) -> None:
    text = (written / "image" / "Dockerfile").read_text(encoding="utf-8")
    command = json.loads(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[0])
    asked = _served(command)
    served = asked.serve
    assert (served.variant, served.host, served.port) == (Path("/srv/model"), "0.0.0.0", 8005)
    assert f"EXPOSE {served.port}\n" in text
    pod = read_yaml(written / "kubernetes" / "deployment.yaml")["spec"]["template"]["spec"]
    in_cluster = _served(pod["containers"][0]["args"])
    assert (in_cluster.serve.variant, in_cluster.serve.port, in_cluster.log) == (served.variant, served.port, asked.log)
    assert pod["terminationGracePeriodSeconds"] > in_cluster.serve.drain_seconds + in_cluster.serve.grace_seconds
    compose = read_yaml(written / "compose.yaml")["services"]["model-server"]
    assert int(compose["stop_grace_period"].removesuffix("s")) > served.drain_seconds + served.grace_seconds
    mounted = {*compose["volumes"]} | {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert asked.log.path is not None
    assert {f"predictions:{asked.log.path.parent}", str(asked.log.path.parent)} <= mounted


def test_context_holds_program_and_variant_and_nothing_beside_them(tmp_path: Path) -> None:
    variant = torch_variant(tmp_path / "variant")
    (variant / "keys.txt").write_text("a-key-that-lies-around", encoding="utf-8")
    image = write_deployment(variant, DockerConfig(output=tmp_path / "out")) / "image"
    copied = load_variant(image / "model")
    assert isinstance(copied, TorchClassifier)
    assert (copied.logits(TEXTS) == load_variant(variant).logits(TEXTS)).all()
    assert not (image / "model" / "keys.txt").exists()
    assert not list(image.rglob("__pycache__"))
    program = f"import sys; sys.path.insert(0, {str(image / 'app')!r})\n"
    program += "import model_optimization.variants as variants; print(variants.__file__)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == image / "app" / "model_optimization" / "variants.py"
    assert (image / "app" / "model_optimization" / "deployment" / "templates" / "Dockerfile.j2").is_file()


def test_image_is_tagged_by_what_it_serves(variant: Path, tmp_path: Path) -> None:
    config = DockerConfig()
    assert re.fullmatch(r"model-server:[0-9a-f]{12}", image_name(variant, config))
    assert image_name(variant, config) != image_name(torch_variant(tmp_path / "other"), config)
    assert image_name(variant, DockerConfig(image="example.org/team/model:1.0")) == "example.org/team/model:1.0"


# Compose


def test_compose_file_is_of_the_specification(written: Path) -> None:
    schema = json.loads((Path(__file__).parent / "compose_schema" / "compose_spec.json").read_text(encoding="utf-8"))
    compose = read_yaml(written / "compose.yaml")
    validator = jsonschema.Draft201909Validator(schema)
    validator.validate(compose)
    with pytest.raises(jsonschema.ValidationError, match="'prots' does not match"):
        validator.validate(compose | {"services": {"x": {"image": "y", "prots": []}}})


def test_compose_file_mounts_what_is_there(written: Path) -> None:
    compose = read_yaml(written / "compose.yaml")
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert (written / source).is_dir() if source.startswith(".") else source in compose["volumes"]
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert not service["image"].endswith(":latest")
        assert service["cap_drop"] == ["ALL"]
    target = read_yaml(written / "prometheus" / "prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == ["model-server:8005"]
    assert (written / compose["services"]["model-server"]["build"]["context"] / "Dockerfile").is_file()


# Secrets


def test_no_file_holds_a_secret(variant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEYS_VARIABLE, ADMIN_VARIABLE, "GRAFANA_PASSWORD"):
        monkeypatch.setenv(name, "of-the-environment-0123456789")
    folder = write_deployment(variant, DockerConfig(output=tmp_path / "out"))
    for path in folder.rglob("*"):
        assert not path.is_file() or b"of-the-environment" not in path.read_bytes()
    compose = read_yaml(folder / "compose.yaml")["services"]
    for service, name in (("model-server", KEYS_VARIABLE), ("model-server", ADMIN_VARIABLE)):
        assert compose[service]["environment"][name].startswith(f"${{{name}:?")  # compose stops without it
    assert compose["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?")
    container = read_yaml(folder / "kubernetes" / "deployment.yaml")["spec"]["template"]["spec"]["containers"][0]
    secret = {item["name"]: item["valueFrom"] for item in container["env"] if "valueFrom" in item}
    assert secret == {
        KEYS_VARIABLE: {"secretKeyRef": {"name": "model-server-keys", "key": "api-keys"}},
        ADMIN_VARIABLE: {"secretKeyRef": {"name": "model-server-keys", "key": "admin-key"}},
    }
    assert not list((folder / "kubernetes").glob("*secret*"))


# Mistakes


def test_variants_that_no_image_can_serve_are_refused(tmp_path: Path) -> None:
    config = DockerConfig(output=tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: is no variant of a model \(no variant\.json in it\)"):
        write_deployment(tmp_path / "empty", config)
    on_load = torch_variant(tmp_path / "on-load", on_load="torchao_int8_dynamic")
    with pytest.raises(UserError, match="torchao_int8_dynamic is applied on loading, which an image has no tools for"):
        write_deployment(on_load, config)
    cut = torch_variant(tmp_path / "cut")
    (cut / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"model\.safetensors: was changed or cut off since the variant was made"):
        write_deployment(cut, config)
    assert not (tmp_path / "out").exists()


def test_only_its_own_output_is_replaced(variant: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(UserError, match="mine: is there and was not written by this command: name another folder"):
        write_deployment(variant, DockerConfig(output=tmp_path / "mine"))
    assert (tmp_path / "mine" / "notes.txt").read_text(encoding="utf-8") == "keep"
    config = DockerConfig(output=tmp_path / "out")
    (write_deployment(variant, config) / "image" / "old.txt").write_text("x", encoding="utf-8")
    write_deployment(variant, config)
    assert not (tmp_path / "out" / "image" / "old.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_output_that_cannot_be_written_is_one_line(variant: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="file/out: cannot be written: Not a directory"):
        write_deployment(variant, DockerConfig(output=tmp_path / "file" / "out"))


def test_command_says_what_comes_next(variant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"^which variant\? Name its folder with --variant DIR$"):
        run(DockerConfig())
    run(DockerConfig(variant=variant, output=tmp_path / "out"))
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r".*out: image model-server:\w{12} \(\d+ MB of build context\), compose, Kubernetes", first)
    assert second.endswith("README.md says how to start them; keys and passwords come from the environment")


def test_words_of_a_variant_stay_words(tmp_path: Path) -> None:
    folder = torch_variant(tmp_path / "variant", name='two "lines"\nRUN rm -rf /')
    image = write_deployment(folder, DockerConfig(output=tmp_path / "out")) / "image"
    lines = (image / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert r'      org.opencontainers.image.description="Serves the variant two \"lines\" RUN rm -rf /"' in lines


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(Exception, match="'name' is undefined"):
        render("kubernetes/service.yaml.j2")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "Model_Server"}, "--name 'Model_Server' must be lower-case letters, digits and hyphens, 40 at most"),
        ({"image": "model"}, "--image 'model' must be a name and a tag, such as example.org/model-server:1.0"),
        ({"image": "model:latest"}, "--image: the tag latest names another image tomorrow: use a version"),
        ({"port": 80}, "--port 80 is outside 1024 … 65535: the server is not root"),
        ({"threads": 0}, "--threads 0 is outside 1 … 64"),
        ({"memory_mb": 100}, "--memory_mb 100 is too little: the server alone takes 256"),
        ({"least_replicas": 7}, "--least_replicas 7 must be between 1 and --most_replicas 6"),
        ({"cpu_percent": 100}, "--cpu_percent 100 is outside 10 … 95"),
        ({"slow_seconds": 0}, "--slow_seconds 0 must be above 0"),
        ({"error_percent": 0}, "--error_percent 0 must be above 0 and below 100"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DockerConfig(**settings)
