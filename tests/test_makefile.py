"""The Makefile, run in a copy of the checkout whose Python only writes down what it was asked to do.

The copy's path holds blanks, and make gets an environment with nothing but PATH.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Make = Callable[..., subprocess.CompletedProcess[str]]

# Passes for a virtual environment's interpreter; a project of this copy has no `serve` command.
RECORDER = """#!/bin/sh
case "$*" in *version_info*|*"pip --version"*) exit 0 ;; esac
echo "$*" >> calls.log
echo "HF_HUB_OFFLINE=${HF_HUB_OFFLINE-} OMP_NUM_THREADS=${OMP_NUM_THREADS-}" >> environment.log
case "$*" in *COMMANDS*) exit 1 ;; esac
"""

TARGETS = [
    "help",
    "setup",
    "project-N",
    "install-N",
    "test-N",
    "test-isolated-N",
    "bench-N",
    "serve-N",
    "test",
    "test-shared",
    "gallery",
    "lint",
    "format",
    "typecheck",
    "clean",
]


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A checkout with roadmap-shared and project 1, and a virtual environment that records its calls."""
    checkout = tmp_path / "a path with blanks"
    (checkout / "tools").mkdir(parents=True)
    for name in ("Makefile", "tools/make_venv.sh"):
        shutil.copy(root / name, checkout / name)
    inputs = ["constraints.txt", "requirements-dev.txt", "shared/pyproject.toml"]
    for name in [*inputs, "projects/transformer_from_scratch/pyproject.toml"]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    write_program(checkout / ".venv/bin/python", RECORDER)
    return checkout


@pytest.fixture
def make(checkout: Path) -> Make:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *arguments],
            cwd=checkout,
            env={"PATH": os.environ["PATH"], **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def calls(checkout: Path) -> list[str]:
    """What the recording Python was asked since the last call of this function."""
    log = checkout / "calls.log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def pip(arguments: str) -> str:
    return f"-m pip install --disable-pip-version-check --no-input -c constraints.txt {arguments}"


def age_the_stamps(checkout: Path) -> None:
    """Set everything back by a minute, so that a file written now is the newest."""
    past = time.time() - 60
    for path in checkout.rglob("*"):
        os.utime(path, (past, past))


def test_help_is_the_default_and_lists_every_target(make: Make) -> None:
    listing = make().stdout
    assert listing == make("help").stdout
    assert sorted(re.findall(r"^  ([a-z]\S*) ", listing, re.MULTILINE)) == sorted(TARGETS)


def test_help_lists_exactly_the_phony_targets(make: Make) -> None:
    # The last such line is the rule; those before it quote the templates that it came from.
    line = re.findall(r"^\.PHONY: (.+)$", make("--print-data-base", "help").stdout, re.MULTILINE)[-1]
    assert {re.sub(r"-\d$", "-N", name) for name in line.split()} == set(TARGETS)


def test_help_says_which_projects_are_here(make: Make) -> None:
    listing = make("help").stdout.splitlines()
    assert "  1 transformer_from_scratch" in listing
    assert "  2 bert_sentiment (not in this checkout yet)" in listing


@pytest.mark.parametrize("verb", ["project", "install", "test", "test-isolated", "bench", "serve"])
def test_a_project_that_does_not_exist_yet_is_said_in_one_line(make: Make, verb: str) -> None:
    result = make(f"{verb}-2")
    assert result.returncode == 2
    assert re.fullmatch(
        r"Makefile:\d+: \*\*\* project 2 \(bert_sentiment\) is not in this checkout yet\.  Stop\.\n",
        result.stderr,
    )


@pytest.mark.parametrize("verb", ["project", "install", "test", "test-isolated", "bench", "serve"])
def test_an_unknown_number_gets_the_list_of_numbers(make: Make, verb: str) -> None:
    result = make(f"{verb}-9")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert (
        f"there is no {verb}-9: the projects are 1 transformer_from_scratch, 2 bert_sentiment, "
        "3 text_generation, 4 rag_qa, 5 model_optimization, 6 multimodal." in result.stderr
    )


def test_project_installs_only_what_it_needs_then_runs(make: Make, checkout: Path) -> None:
    assert make("project-1").returncode == 0
    assert calls(checkout) == [
        pip("-e shared -e projects/transformer_from_scratch"),
        "-m transformer_from_scratch run",
    ]
    make("project-1")
    assert calls(checkout) == ["-m transformer_from_scratch run"]


@pytest.mark.parametrize(
    ("variables", "arguments"),
    [
        (["CONFIG=full"], "--config full"),
        (["CONFIG=my file.yaml"], "--config my file.yaml"),
        (['ARGS=--trainer.lr 1e-3 --name "a b"'], "--trainer.lr 1e-3 --name a b"),
        (["CONFIG=mine.yml", "ARGS=--seed 3"], "--config mine.yml --seed 3"),
    ],
)
def test_config_and_args_reach_the_command(make: Make, checkout: Path, variables: list[str], arguments: str) -> None:
    make("project-1", *variables)
    assert calls(checkout)[-1] == f"-m transformer_from_scratch run {arguments}"


def test_full_goes_on_with_the_other_full_configurations(make: Make, checkout: Path) -> None:
    configs = checkout / "projects" / "transformer_from_scratch" / "src" / "transformer_from_scratch" / "configs"
    configs.mkdir(parents=True)
    for name in ("default", "full", "full_b", "full_a", "fuller"):
        (configs / f"{name}.yaml").touch()
    make("project-1", "CONFIG=full", "ARGS=--seed 3")
    assert calls(checkout)[-3:] == [
        f"-m transformer_from_scratch run --config {name} --seed 3" for name in ("full", "full_a", "full_b")
    ]
    make("project-1", "CONFIG=full_a")
    assert calls(checkout) == ["-m transformer_from_scratch run --config full_a"]


def test_setup_installs_all_that_is_here_once(make: Make, checkout: Path) -> None:
    install = pip("-r requirements-dev.txt -e shared[dev] -e projects/transformer_from_scratch[dev]")
    assert make("setup").returncode == 0
    assert calls(checkout) == [install]
    make("setup", "install-1", "test-1", "test-shared")
    assert [call for call in calls(checkout) if "pip install" in call] == []


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("constraints.txt", True),
        ("shared/pyproject.toml", True),
        ("projects/transformer_from_scratch/pyproject.toml", True),
        ("requirements-dev.txt", False),
        ("Makefile", False),
    ],
)
def test_a_changed_requirement_installs_again(make: Make, checkout: Path, changed: str, again: bool) -> None:
    make("install-1")
    calls(checkout)
    age_the_stamps(checkout)
    (checkout / changed).touch()
    make("install-1")
    assert bool(calls(checkout)) is again


def test_the_suite_runs_offline_on_one_thread(make: Make, checkout: Path) -> None:
    make("test", "ARGS=-k attention")
    assert calls(checkout)[-1] == "-P -m pytest -n auto --maxprocesses 4 --dist loadfile -k attention"
    assert (checkout / "environment.log").read_text().splitlines()[-1] == "HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1"
    make("test", OMP_NUM_THREADS="4")
    assert (checkout / "environment.log").read_text().splitlines()[-1] == "HF_HUB_OFFLINE=1 OMP_NUM_THREADS=4"


def test_a_project_without_server_or_benchmarks_says_so(make: Make) -> None:
    for verb, lack in (("serve", "has no server"), ("bench", "has no benchmarks yet")):
        result = make(f"{verb}-1")
        assert result.returncode == 2
        assert result.stderr.splitlines()[0] == f"project 1 (transformer_from_scratch) {lack}"


def test_bench_runs_each_script_and_stops_at_a_failure(make: Make, checkout: Path) -> None:
    folder = checkout / "projects/transformer_from_scratch/benchmarks"
    folder.mkdir()
    for name in ("attention.py", "training.py", "_shared.py"):
        (folder / name).touch()
    assert make("bench-1", "ARGS=--seeds 3").returncode == 0
    assert calls(checkout)[-2:] == [
        "projects/transformer_from_scratch/benchmarks/attention.py --seeds 3",
        "projects/transformer_from_scratch/benchmarks/training.py --seeds 3",
    ]
    write_program(checkout / ".venv/bin/python", RECORDER + 'case "$*" in *attention*) exit 7 ;; esac\n')
    assert make("bench-1").returncode == 2
    assert [call for call in calls(checkout) if "training" in call] == []


def test_clean_keeps_the_runs(make: Make, checkout: Path) -> None:
    (checkout / "runs").mkdir()
    (checkout / ".venv-isolated-1").mkdir()
    assert make("clean").returncode == 0
    assert (checkout / "runs").is_dir()
    assert not (checkout / ".venv").exists()
    assert not (checkout / ".venv-isolated-1").exists()


OLD = "#!/bin/sh\ncase $1 in --version) echo Python 3.9.6 ;; *) exit 1 ;; esac\n"
WITHOUT_VENV = '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\n'
BROKEN = '#!/bin/sh\ncase "$*" in *"-m venv"*) exit 1 ;; esac\n'


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            None,
            "'./python' was not found: install Python 3.11 or newer, "
            "or name it, as in: make PYTHON=python3.12 project-1",
        ),
        (
            OLD,
            "'./python' is Python 3.9.6, but 3.11 or newer is needed: "
            "name one, as in: make PYTHON=python3.12 project-1",
        ),
        (
            WITHOUT_VENV,
            "'./python' lacks the venv module: on Debian and Ubuntu, install it with: apt install python3-venv",
        ),
        (BROKEN, "'./python' could not make a virtual environment in .venv: its message stands above"),
    ],
    ids=["absent", "old", "without venv", "broken"],
)
def test_an_unfit_python_is_said_in_one_line(make: Make, checkout: Path, program: str | None, message: str) -> None:
    shutil.rmtree(checkout / ".venv")
    if program is not None:
        write_program(checkout / "python", program)
    result = make("project-1", "PYTHON=./python")
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == message
    assert not (checkout / ".venv").exists()
