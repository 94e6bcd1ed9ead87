"""A variant in containers: the files for an image, for one machine and for a cluster.

`image/` is a whole build context: program, requirements pinned to the versions of this environment, and the variant.
The server is not root, cannot write to its file system, gets its keys from outside, and is asked for its health. Around
it stand compose with Prometheus and Grafana, and Kubernetes with an autoscaler.
"""

import hashlib
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import jinja2

import model_optimization
import roadmap_shared
from model_optimization.config.docker import DockerConfig
from model_optimization.deployment.dashboard_panels import alerts, dashboard
from model_optimization.deployment.image_requirements import pinned_requirements
from model_optimization.variants import VARIANT_FILE, VariantInfo, check_files, read_info
from roadmap_shared.errors import UserError, one_line

_TEMPLATES = {
    "README.md.j2": "README.md",
    "Dockerfile.j2": "image/Dockerfile",
    "dockerignore.j2": "image/.dockerignore",
    "compose.yaml.j2": "compose.yaml",
    "prometheus/prometheus.yml.j2": "prometheus/prometheus.yml",
    "prometheus/alerts.yml.j2": "prometheus/alerts.yml",
    "grafana/datasource.yml.j2": "grafana/provisioning/datasources/prometheus.yml",
    "grafana/dashboards.yml.j2": "grafana/provisioning/dashboards/dashboards.yml",
    "kubernetes/deployment.yaml.j2": "kubernetes/deployment.yaml",
    "kubernetes/service.yaml.j2": "kubernetes/service.yaml",
    "kubernetes/autoscaler.yaml.j2": "kubernetes/autoscaler.yaml",
    "kubernetes/disruption-budget.yaml.j2": "kubernetes/disruption-budget.yaml",
}


def write_deployment(variant: Path, config: DockerConfig) -> Path:
    """Write all files for a variant to `config.output`, in one step.

    Raises:
        UserError: the folder holds no whole variant, or one that an image cannot hold; the output cannot be written,
            or holds something else.
    """
    info = read_info(variant)
    check_files(variant)
    if info.on_load is not None:
        raise UserError(f"{variant}: {info.on_load} is applied on loading, which an image has no tools for: use ONNX")
    output = config.output
    if (
        output.exists()
        and not (output / "image" / "Dockerfile").is_file()
        and (output.is_file() or any(output.iterdir()))
    ):
        raise UserError(f"--output {output}: is there and was not written by this command: name another folder")
    unfinished, replaced = (output.with_name(f".{output.name}-{state}-{os.getpid()}") for state in ("new", "old"))
    try:
        _fill(unfinished, variant, info, config)
        if output.exists():
            os.replace(output, replaced)
        os.replace(unfinished, output)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written: {error.strerror or one_line(error)}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    return output


def image_name(variant: Path, config: DockerConfig) -> str:
    """Name and tag of the image: as given, or tagged by the digest of the variant's record, which holds its files'."""
    return config.image or f"{config.name}:{_digest(variant)}"


def render(template: str, **values: object) -> str:
    """A file from `templates/`, whose marks are `[[ value ]]` and `[% statement %]`: PromQL and YAML use braces."""
    return _environment().get_template(template).render(**values)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=jinja2.StrictUndefined,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # no HTML: words that somebody chose go through `quoted`
    )
    environment.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)  # a string of YAML's, too
    return environment


def _fill(folder: Path, variant: Path, info: VariantInfo, config: DockerConfig) -> None:
    values = asdict(config) | {
        "image": image_name(variant, config),
        "variant": one_line(info.name),
        "kind": info.kind,
        "digest": _digest(variant),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "alerts": alerts(config),
    }
    for template, name in _TEMPLATES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(template, **values), encoding="utf-8")
    board = folder / "grafana" / "dashboards" / f"{config.name}.json"
    board.parent.mkdir(parents=True)
    board.write_text(json.dumps(dashboard(config), indent=2) + "\n", encoding="utf-8")
    (folder / "image" / "requirements.txt").write_text(
        "\n".join(pinned_requirements(info.kind)) + "\n", encoding="utf-8"
    )
    for package in (model_optimization, roadmap_shared):
        _copy_program(package, folder / "image" / "app")
    _copy_variant(variant, folder / "image" / "model")


def _copy_program(package: ModuleType, app: Path) -> None:
    """The sources themselves: these packages are on no index, and need nothing to be built."""
    assert package.__file__ is not None
    source = Path(package.__file__).parent
    shutil.copytree(source, app / source.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def _copy_variant(variant: Path, target: Path) -> None:
    """The files that the variant's record names, and no others: a log or a key beside them stays outside the image."""
    record = json.loads((variant / VARIANT_FILE).read_text(encoding="utf-8"))
    for name in (VARIANT_FILE, *record["files"]):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(variant / name, target / name)


def _digest(variant: Path) -> str:
    return hashlib.sha256((variant / VARIANT_FILE).read_bytes()).hexdigest()[:12]
