"""tools/changed_projects.py on a real git history, and the workflow that calls it."""

import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml

BOTH = [{"number": 1, "name": "alpha"}, {"number": 3, "name": "gamma"}]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with one commit. Its Makefile numbers three projects, of which the second is missing."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a name")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (tmp_path / "Makefile").write_text("# head\nPROJECTS := alpha beta gamma\n")
    for name in ("alpha", "gamma"):
        (tmp_path / "projects" / name).mkdir(parents=True)
        (tmp_path / "projects" / name / "pyproject.toml").write_text("[project]\n")
    git(tmp_path, "init", "-q")
    commit(tmp_path, {"README.md": "one"})
    return tmp_path


def git(checkout: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=checkout, check=True, capture_output=True, text=True).stdout.strip()


def commit(checkout: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "--no-verify", "-m", "a change")


@pytest.mark.parametrize(
    ("path", "numbers"),
    [
        ("projects/alpha/src/alpha/model.py", [1]),
        ("projects/gamma/README.md", [3]),
        ("projects/alphabet/notes.txt", []),
        ("projects/beta/notes.txt", []),
        ("projects/alpha/a name with blanks and ü.txt", [1]),
        ("README.md", []),
        ("tests/test_new.py", []),
        ("shared/src/roadmap_shared/runs.py", [1, 3]),
        ("constraints.txt", [1, 3]),
        ("old/constraints.txt", []),
        ("pyproject.toml", [1, 3]),
        (".github/workflows/ci.yml", [1, 3]),
        ("shared_notes.md", []),
    ],
)
def test_a_changed_file_concerns_its_project_or_all(
    changed_projects: ModuleType, checkout: Path, path: str, numbers: list[int]
) -> None:
    before = git(checkout, "rev-parse", "HEAD")
    commit(checkout, {path: "changed"})
    concerned = changed_projects.concerned(
        changed_projects.projects(checkout), changed_projects.changed_paths(checkout, before)
    )
    assert [project["number"] for project in concerned] == numbers


def test_what_the_base_branch_changed_meanwhile_does_not_count(changed_projects: ModuleType, checkout: Path) -> None:
    git(checkout, "switch", "-q", "-c", "base")
    git(checkout, "switch", "-q", "-c", "topic")
    commit(checkout, {"projects/alpha/a.py": "topic"})
    git(checkout, "switch", "-q", "base")
    commit(checkout, {"projects/gamma/g.py": "base"})
    git(checkout, "switch", "-q", "topic")
    assert changed_projects.changed_paths(checkout, "base") == ["projects/alpha/a.py"]


def test_a_file_moved_between_projects_concerns_both(changed_projects: ModuleType, checkout: Path) -> None:
    commit(checkout, {"projects/alpha/moved.py": "the same text\n" * 20})
    before = git(checkout, "rev-parse", "HEAD")
    git(checkout, "mv", "projects/alpha/moved.py", "projects/gamma/moved.py")
    commit(checkout, {})
    paths = changed_projects.changed_paths(checkout, before)
    assert changed_projects.concerned(changed_projects.projects(checkout), paths) == BOTH


@pytest.mark.parametrize("since", ["0" * 40, "no-such-branch"])
def test_an_unknown_base_concerns_all(changed_projects: ModuleType, checkout: Path, since: str) -> None:
    paths = changed_projects.changed_paths(checkout, since)
    assert changed_projects.concerned(changed_projects.projects(checkout), paths) == BOTH


def test_a_makefile_without_a_project_list_is_named(changed_projects: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n")
    with pytest.raises(ValueError, match=re.escape("Makefile: no line 'PROJECTS := ...' to number the projects by")):
        changed_projects.projects(tmp_path)


def test_the_script_prints_one_line_of_json(
    changed_projects: ModuleType,
    checkout: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changed_projects, "ROOT", checkout)
    assert changed_projects.main(["--since", ""]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == BOTH


def test_the_workflow_step_hands_the_matrix_on(root: Path, tmp_path: Path) -> None:
    """The step's own shell text, run here as the runner would: `bash -e` with GITHUB_OUTPUT a file."""
    workflow = yaml.safe_load((root / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    (step,) = [step for step in workflow["jobs"]["changes"]["steps"] if step.get("id") == "detect"]
    output = tmp_path / "output"
    subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=root,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "SINCE": "", "GITHUB_OUTPUT": str(output)},
        check=True,
        capture_output=True,
    )
    name, _, value = output.read_text().partition("=")
    assert name == "projects"
    assert {"number": 1, "name": "transformer_from_scratch"} in json.loads(value)


def test_every_common_path_is_in_this_checkout(changed_projects: ModuleType, root: Path) -> None:
    assert [path for path in changed_projects.COMMON if not (root / path).exists()] == []
