"""What an image installs: complete, in this environment's versions, and without torch where none is needed."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from model_optimization.config.export import ExportConfig
from model_optimization.deployment.image_requirements import closure, pinned_requirements
from model_optimization.deployment.onnx_conversion import export_classifier

from .tiny_models import tiny_classifier

_OTHER_SYSTEM = "Windows"


def _distribution(site: Path, name: str, number: str, *requires: str) -> None:
    folder = site / f"{name.replace('-', '_')}-{number}.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {number}"]
    lines += [f"Requires-Dist: {line}" for line in requires]
    (folder / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_closure_follows_markers_and_extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _distribution(
        tmp_path,
        "top-package",
        "1.0+cpu",
        "middle_Package[fast]>=1",
        f"not-here; platform_system == '{_OTHER_SYSTEM}'",
        "only-linux; sys_platform == 'linux'",
        "docs-tool; extra == 'docs'",
    )
    _distribution(tmp_path, "middle-package", "2.0", "quick; extra == 'fast'", "slow; extra == 'slow'", "top-package")
    _distribution(tmp_path, "quick", "3.0")
    monkeypatch.syspath_prepend(tmp_path)
    assert closure(["top-package"]) == {
        "top-package": "1.0",  # the build is cut off, and the circle ends
        "middle-package": "2.0",
        "quick": "3.0",
        "only-linux": None,
    }


def test_onnx_image_has_no_torch_and_a_torch_image_no_onnx_runtime() -> None:
    onnx, torch = pinned_requirements("onnx"), pinned_requirements("torch")
    assert f"onnxruntime=={version('onnxruntime')}" in onnx
    assert not [line for line in onnx if line.startswith(("torch", "nvidia", "datasets", "pyarrow"))]
    assert f"torch=={version('torch').partition('+')[0]}" in torch
    assert not [line for line in torch if line.startswith("onnx")]
    assert onnx == sorted(onnx)


_SERVE = """
import sys
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions

allowed = {{name.replace("-", "_").lower() for name in {allowed!r}}}
allowed |= {{"roadmap_shared", "roadmap_model_optimization"}}
missing = {{
    module
    for module, owners in packages_distributions().items()
    if not allowed & {{owner.replace("-", "_").lower() for owner in owners}}
}}

class Image(PathFinder):
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in missing else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Image
from model_optimization.cli import main

code = main(sys.argv[1:])
print("torch" in sys.modules)
sys.exit(code)
"""


def test_server_of_an_onnx_variant_needs_nothing_else(tmp_path: Path) -> None:
    folder = export_classifier(tiny_classifier(), tmp_path / "graph", ExportConfig(), name="x")
    allowed = [line.partition("==")[0] for line in pinned_requirements("onnx")]
    flags = ["--serve.variant", str(folder), "--serve.port", "0", "--log.path", str(tmp_path / "log.sqlite")]
    command = [sys.executable, "-P", "-u", "-c", _SERVE.format(allowed=allowed), "serve", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if line.startswith("serving x"):
                server.terminate()
    assert server.returncode == 0, "".join(said)
    assert said[-2:] == ["stopped: 0 requests accepted, 0 of them ended\n", "False\n"]
