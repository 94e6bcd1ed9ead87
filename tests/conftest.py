"""What the cross-package tests share: the checkout's root, and one test item per project that is in it."""

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that asks for `project` once per project of this checkout."""
    if "project" in metafunc.fixturenames:
        metafunc.parametrize("project", sorted(path.parent.name for path in ROOT.glob("projects/*/pyproject.toml")))


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tracked_files() -> list[Path]:
    """Files, relative to the root, that git tracks or would with `git add .`, without those just deleted."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("this folder is not a git checkout, so there is no list of tracked files")
    return [Path(name) for name in sorted(set(listing.stdout.split("\0"))) if name and (ROOT / name).is_file()]


@pytest.fixture(scope="session")
def changed_projects() -> ModuleType:
    """The module tools/changed_projects.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("changed_projects", ROOT / "tools" / "changed_projects.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
