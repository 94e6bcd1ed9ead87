"""Each project stands alone: it declares all that it imports, and --help loads no heavy library."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEAVY = {
    "datasets",
    "evaluate",
    "faiss",
    "matplotlib",
    "mlflow",
    "onnxruntime",
    "pandas",
    "sklearn",
    "streamlit",
    "torch",
    "transformers",
    "wandb",
}


def imported_by(path: Path) -> Iterator[str]:
    """Top-level names of the modules that a file imports, wherever in the file that is."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def declared_by(pyproject: Path, *, with_dev: bool) -> set[str]:
    """Canonical names of the distributions that a project and its extras require, `dev` only if asked for."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    lists = [project["dependencies"], *(extras[name] for name in extras if with_dev or name != "dev")]
    return {canonicalize_name(Requirement(line).name) for lines in lists for line in lines}


def undeclared(package: Path, folders: list[str], own: str, *, with_dev: bool) -> dict[str, set[str]]:
    """Modules that files below `folders` import and no requirement covers, each with those files."""
    declared = declared_by(package / "pyproject.toml", with_dev=with_dev)
    distributions = packages_distributions()
    missing: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in (package / folder).rglob("*.py")):
        for module in set(imported_by(path)) - sys.stdlib_module_names - {own, "__future__"}:
            if path.with_name(f"{module}.py").exists():
                continue  # a script's neighbour
            providers = {canonicalize_name(name) for name in distributions.get(module, [module])}
            if not providers & declared:
                missing.setdefault(module, set()).add(str(path.relative_to(package)))
    return missing


def test_a_project_declares_what_its_package_imports(root: Path, project: str) -> None:
    assert undeclared(root / "projects" / project, ["src"], project, with_dev=False) == {}


def test_a_project_declares_what_its_tests_and_benchmarks_import(root: Path, project: str) -> None:
    assert undeclared(root / "projects" / project, ["tests", "benchmarks"], project, with_dev=True) == {}


def test_the_shared_package_declares_what_it_imports(root: Path) -> None:
    assert undeclared(root / "shared", ["src"], "roadmap_shared", with_dev=False) == {}
    assert undeclared(root / "shared", ["tests"], "roadmap_shared", with_dev=True) == {}


def test_an_undeclared_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[project]\ndependencies = ['PyYAML>=6']\noptional-dependencies = {dev = ['pytest']}\n"
    )
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "module.py").write_text(
        "import os.path\nimport yaml\nfrom . import near\nimport own.part\ndef late():\n    from pytest.mark import x\n"
    )
    (tmp_path / "src" / "script.py").write_text("import module\n")
    assert undeclared(tmp_path, ["src"], "own", with_dev=False) == {"pytest": {"src/module.py"}}
    assert undeclared(tmp_path, ["src"], "own", with_dev=True) == {}


def imported_during(*arguments: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter imports while it runs `arguments`."""
    result = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", *arguments], capture_output=True, text=True, check=False
    )
    timing = re.compile(r"^import time:.*\|\s*(\S+)\n", re.MULTILINE)
    assert result.returncode == 0, timing.sub("", result.stderr)
    return {name.partition(".")[0] for name in timing.findall(result.stderr)}


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help")], ids=" ".join)
def test_help_imports_nothing_heavy(project: str, arguments: tuple[str, ...]) -> None:
    imported = imported_during("-m", project, *arguments)
    assert "roadmap_shared" in imported
    assert imported & HEAVY == set()
