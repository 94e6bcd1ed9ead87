"""What holds for the repository as a whole: its files, its lock, its documents."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MEGABYTE = 1_000_000
ORDER = [
    "transformer_from_scratch",
    "bert_sentiment",
    "text_generation",
    "rag_qa",
    "model_optimization",
    "multimodal",
]

# A folder of one person's or one machine's, at the start of an absolute path.
MACHINE_PATH = re.compile(r"(?<![\w.\-/~$}])/(?:home|Users|root|work|mnt|workspace|workspaces)/[\w.-]+")
BESIDE_THE_CHECKOUT = re.compile(r"\.\./shared/data")


def texts(root: Path, tracked_files: list[Path]) -> dict[Path, str]:
    """Text of each tracked file that is text."""
    contents = {path: (root / path).read_bytes() for path in tracked_files}
    return {path: data.decode("utf-8", "replace") for path, data in contents.items() if b"\0" not in data}


def test_no_tracked_file_is_large(root: Path, tracked_files: list[Path]) -> None:
    sizes = {str(path): (root / path).stat().st_size for path in tracked_files}
    assert {name: size for name, size in sizes.items() if size > MEGABYTE} == {}


def test_no_file_names_a_path_of_one_machine(root: Path, tracked_files: list[Path]) -> None:
    found = {str(path): MACHINE_PATH.findall(text) for path, text in texts(root, tracked_files).items()}
    assert {path: paths for path, paths in found.items() if paths} == {}


def test_the_data_beside_the_checkout_is_named_by_ci_alone(root: Path, tracked_files: list[Path]) -> None:
    """Tests and benchmarks read the folder from ROADMAP_DATA."""
    naming = {str(path) for path, text in texts(root, tracked_files).items() if BESIDE_THE_CHECKOUT.search(text)}
    assert naming == {".ci/run"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see |home|ada|data", True),
        ("open('|Users|ada|x')", True),
        ("https:||example.org|home|ada", False),
        ("~|work|x", False),
        ("$HOME|work|x", False),
    ],
)
def test_machine_paths_are_recognised(text: str, found: bool) -> None:
    """The slashes are put in here, so that this file itself names no such path."""
    assert bool(MACHINE_PATH.search(text.replace("|", "/"))) is found


def test_the_projects_are_numbered_in_the_roadmap_order(root: Path) -> None:
    assert f"PROJECTS := {' '.join(ORDER)}\n" in (root / "Makefile").read_text(encoding="utf-8")


def test_the_readmes_come_in_both_languages(root: Path) -> None:
    folders = [root, *(path.parent for path in root.glob("projects/*/pyproject.toml"))]
    names = [folder / name for folder in folders for name in ("README.md", "README.zh-CN.md")]
    assert [str(path.relative_to(root)) for path in names if not path.is_file()] == []


def test_test_folders_are_not_packages(tracked_files: list[Path]) -> None:
    """Test files may share their names between projects only because they belong to no package."""
    assert [str(path) for path in tracked_files if "tests" in path.parts and path.name == "__init__.py"] == []


@pytest.fixture(scope="module")
def lock(root: Path) -> dict[str, str]:
    """constraints.txt: canonical name → exact version."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == [], "not of the form name==version"
    assert pins == sorted(pins, key=str.lower)
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in pins)}


def test_torch_is_pinned_for_every_build_of_it(lock: dict[str, str]) -> None:
    """Without a local part such as +cpu, any build of the version will do, and none replaces another."""
    assert lock["torch"] == "2.13.0"


def requirements(root: Path, changed_projects: ModuleType) -> list[Requirement]:
    """What `make setup` asks pip for."""
    projects = [f"roadmap-{entry['name']}[dev]" for entry in changed_projects.projects(root)]
    lines = (root / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    tools = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(line) for line in ["roadmap-shared[dev]", *projects, *filter(None, tools)]]


def test_the_lock_pins_all_that_is_installed(root: Path, lock: dict[str, str], changed_projects: ModuleType) -> None:
    """Whatever the installed distributions require is in the lock, in the version that is installed."""
    waiting = requirements(root, changed_projects)
    seen: set[tuple[str, str]] = set()
    wrong: dict[str, str] = {}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            wrong[name] = "required, but not installed"
            continue
        pin, version = lock.get(name), installed.version.partition("+")[0]
        if pin != version and not name.startswith("roadmap-"):
            wrong[name] = f"installed is {version}, constraints.txt has {pin}"
        for extra in {"", *requirement.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            further = [Requirement(line) for line in installed.requires or []]
            if name == "torch":  # its CUDA builds pin their libraries themselves
                further = [each for each in further if "==" not in str(each.specifier)]
            waiting += [each for each in further if each.marker is None or each.marker.evaluate({"extra": extra})]
    assert wrong == {}
