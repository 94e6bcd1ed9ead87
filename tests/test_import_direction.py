"""Imports point one way: projects/* → roadmap_shared → third party."""

import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


@pytest.fixture(scope="module")
def workspace(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


def lint_imports(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_imports_point_one_way(root: Path) -> None:
    result = lint_imports(cwd=root)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("roadmap_shared", "rag_qa"), ("bert_sentiment", "rag_qa"), ("rag_qa", "bert_sentiment")],
)
def test_the_contract_refuses_the_other_ways(
    workspace: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, importer: str, imported: str
) -> None:
    """The contract of this repository, on packages of the same names that break it."""
    for name in ("roadmap_shared", "bert_sentiment", "rag_qa"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"import {imported}\n" if name == importer else "")
    (contract,) = workspace["importlinter"]["contracts"]
    (tmp_path / "contract.toml").write_text(
        "[tool.importlinter]\nroot_packages = ['roadmap_shared', 'bert_sentiment', 'rag_qa']\n"
        f"[[tool.importlinter.contracts]]\nname = 'copy'\ntype = 'layers'\nlayers = {contract['layers']}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = lint_imports("--config", "contract.toml", cwd=tmp_path)
    assert result.returncode == 1
    assert f"{importer} is not allowed to import {imported}" in result.stdout


def test_the_linters_know_every_project(workspace: dict, root: Path, changed_projects: ModuleType) -> None:
    """A project that a list forgets would go unchecked."""
    present = {"roadmap_shared", *(entry["name"] for entry in changed_projects.projects(root))}
    assert set(workspace["importlinter"]["root_packages"]) == present
    assert set(workspace["coverage"]["run"]["source_pkgs"]) == present
