"""The command line: the overview, dispatch, and one line with the right exit code for each failure."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roadmap_shared.cli import Command, run_cli
from roadmap_shared.config import RunConfig
from roadmap_shared.errors import UserError


@dataclass(kw_only=True, frozen=True)
class CountConfig:
    times: int = 1
    """How often."""


COMMANDS = [
    Command(
        name="run",
        summary="Count, and then stop.",
        config_class=CountConfig,
        function="toy_commands:run",
        default_config="default",
    ),
    Command(
        name="doctor",
        summary="Examine.",
        config_class="toy_commands:CountConfig",
        function="toy_commands:doctor",
        default_config=None,
    ),
]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """The module that the commands live in; its functions record their config."""
    seen: list[Any] = []
    module = SimpleNamespace(run=seen.append, doctor=seen.append, CountConfig=CountConfig, seen=seen)
    monkeypatch.setitem(sys.modules, "toy_commands", module)  # type: ignore[arg-type]
    (tmp_path / "default.yaml").write_text("times: 3\n")
    return module


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., int]:
    return lambda *argv: run_cli("toy-tool", "Counts things.", COMMANDS, tmp_path, argv)


@pytest.fixture
def outcome(toy, call, capsys):
    """Make `toy-tool run` raise an exception, and return its exit code and what it says."""

    def of(error: BaseException) -> tuple[int, str]:
        def fail(config: object) -> None:
            raise error

        toy.run = fail
        code = call("run")
        return code, capsys.readouterr().err

    return of


def test_overview_lists_the_commands(call, capsys):
    assert call("--help") == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: toy-tool COMMAND")
    assert "\n  run     Count, and then stop.\n  doctor  Examine.\n" in text
    assert call("-h") == 0
    assert capsys.readouterr().out == text


def test_version_of_an_installed_and_of_a_source_tool(call, capsys, monkeypatch):
    assert call("--version") == 0
    assert capsys.readouterr().out == "toy-tool (from source, not installed)\n"
    monkeypatch.setattr("importlib.metadata.version", {"roadmap-toy-tool": "1.2.3"}.__getitem__)
    assert call("--version") == 0
    assert capsys.readouterr().out == "toy-tool 1.2.3\n"


def test_the_function_receives_the_config(toy, call):
    assert call("run") == 0
    assert call("run", "--times", "5") == 0
    assert call("doctor") == 0
    assert toy.seen == [CountConfig(times=3), CountConfig(times=5), CountConfig(times=1)]


def test_the_process_arguments_are_the_default(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["toy-tool", "doctor", "--times", "9"])
    assert run_cli("toy-tool", "", COMMANDS, tmp_path) == 0
    assert toy.seen == [CountConfig(times=9)]


def test_help_of_a_command_runs_nothing(toy, call, capsys):
    assert call("run", "--help") == 0
    text = capsys.readouterr().out
    assert "usage: toy-tool run" in text
    assert "(default: 3)" in text
    assert toy.seen == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("rnu",), "toy-tool: unknown command 'rnu'. Did you mean 'run'? See toy-tool --help.\n"),
        (("zzz",), "toy-tool: unknown command 'zzz'. Commands: run, doctor. See toy-tool --help.\n"),
        ((), "toy-tool: which command? Commands: run, doctor. See toy-tool --help.\n"),
        (("run", "--tims=1"), "toy-tool run: unknown flag '--tims'. Did you mean '--times'?\n"),
    ],
)
def test_user_errors_on_the_way_to_the_command(toy, call, capsys, arguments, line):
    assert call(*arguments) == 2
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("a.txt: is empty"), 2, "a.txt: is empty"),
        (UserError("a\nb"), 2, "a b"),
        (UserError("a.json: unknown key '\x1b]0;title\x07\u202eb'"), 2, "a.json: unknown key ' ]0;title  b'"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "out of memory. Use a smaller batch, context or model."),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.csv"),
            2,
            "a.csv: No space left on device. Free some space.",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left on device. Free some space."),
    ],
)
def test_one_line_for_what_the_user_can_mend(outcome, error, code, line):
    assert outcome(error) == (code, f"toy-tool run: {line}\n")


AND_RESUME = "and continue with --run.resume latest, or write elsewhere with --run.root FOLDER."
FULL = "No space left on device"


@dataclass(kw_only=True, frozen=True)
class TrainConfig:
    run: RunConfig = field(default_factory=RunConfig)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, FULL, "runs/a"), f"runs/a: {FULL}. Free some space {AND_RESUME}"),
        (OSError(errno.ENOSPC, FULL), f"runs: {FULL}. Free some space {AND_RESUME}"),
        (
            OSError(errno.EFBIG, "File too large"),
            f"runs: File too large. Raise the limit for one file (ulimit -f) {AND_RESUME}",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "runs/a"),
            f"runs/a: Read-only file system. Make it writable {AND_RESUME}",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "runs/a"),
            f"runs/a: Permission denied. Change its permissions {AND_RESUME}",
        ),
        (Exception(f"{FULL} (os error {errno.ENOSPC})"), f"runs: {FULL}. Free some space {AND_RESUME}"),
    ],
)
def test_a_run_that_cannot_write_names_its_place_and_how_to_go_on(toy, tmp_path, capsys, error, line):
    def fail(config: object) -> None:
        raise error

    toy.run = fail
    command = Command(
        name="run", summary="s", config_class=TrainConfig, function="toy_commands:run", default_config=None
    )
    assert run_cli("toy-tool", "", [command], tmp_path, ["run"]) == 2
    assert capsys.readouterr().err == f"toy-tool run: {line}\n"


def test_a_resumed_run_is_resumed_again_by_the_same_name(toy, tmp_path, capsys):
    def fail(config: object) -> None:
        raise OSError(errno.ENOSPC, FULL)

    toy.run = fail
    command = Command(
        name="run", summary="s", config_class=TrainConfig, function="toy_commands:run", default_config=None
    )
    assert run_cli("toy-tool", "", [command], tmp_path, ["run", "--run.resume", "mine", "--run.root", "disk"]) == 2
    assert capsys.readouterr().err == (
        f"toy-tool run: disk: {FULL}. Free some space and continue with --run.resume mine, or write elsewhere with "
        "--run.root FOLDER.\n"
    )


def test_output_that_goes_to_a_full_disk(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, "x", "1"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr.splitlines()[0] == f"toy: {FULL}. Free some space."


@pytest.mark.parametrize("error", [RuntimeError("bug"), FileNotFoundError(errno.ENOENT, "gone"), SystemExit(7)])
def test_a_bug_keeps_its_traceback(outcome, error):
    with pytest.raises(type(error)) as caught:
        outcome(error)
    assert caught.value is error


def test_only_rank_zero_speaks(outcome, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert outcome(UserError("a.txt: is empty")) == (2, "")
    monkeypatch.setenv("RANK", "0")
    assert outcome(UserError("a.txt: is empty")) == (2, "toy-tool run: a.txt: is empty\n")


def test_interrupt_during_an_import(call, capsys, monkeypatch, toy):
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    assert call("doctor") == 130
    assert capsys.readouterr().err == "toy-tool doctor: interrupted\n"


SCRIPT = """
import sys
from pathlib import Path
from roadmap_shared.cli import Command, run_cli
command = Command(name="run", summary="s", config_class="no:No", function="no:no", default_config=None)
code = run_cli("toy", sys.argv[1] * int(sys.argv[2]), [command], Path(), ["--help"])
heavy = {"tyro", "torch", "numpy", "yaml", "matplotlib", "wandb", "jinja2"} & set(sys.modules)
print("heavy:", sorted(heavy), file=sys.stderr)
sys.exit(code)
"""


def test_overview_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", SCRIPT, "x", "1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "heavy: []\n")


def test_a_reader_that_has_gone_is_met_in_silence():
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "x", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    message = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), message) == (141, "heavy: []\n")


@pytest.mark.parametrize(
    "module",
    ["", ".errors", ".config", ".cli", ".runs", ".checkpoints", ".tracking", ".progress", ".files", ".ranks"],
)
def test_importing_a_module_imports_nothing_heavy(module):
    script = (
        f"import sys, roadmap_shared{module}\n"
        "print(sorted({'tyro', 'torch', 'numpy', 'matplotlib', 'wandb', 'mlflow', 'tensorboard', 'tqdm', "
        "'safetensors', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
