"""Every command that a README or CONTRIBUTING.md shows does what it says.

A command is a line of a ```bash block, or a line behind `$ ` of a ```console block. `check` decides by its
first word how it is tested: a project's command has its settings parsed by the real parser, and is run for
real where `TINY` gives settings that end in seconds; a make target must exist; pip's paths and extras must
exist; a script must answer --help. A command of another kind fails with a message that says where to add
its check.
"""

import functools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from roadmap_shared.config import parse_config
from roadmap_shared.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
ROADMAP = set(re.findall(r"^PROJECTS := (.+)$", MAKEFILE, re.MULTILINE)[0].split())
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("shared/*.md"), *ROOT.glob("projects/*/*.md")])

TINY: dict[tuple[str, ...], str] = {
    (
        "transformer_from_scratch",
        "run",
    ): "--trainer.steps 2 --model.n_layers 1 --model.d_model 16 --model.n_heads 2 "
    "--model.d_hidden 16 --model.context 32 --evaluation.sample_length 4 --evaluation.n_resamples 20",
    (
        "bert_sentiment",
        "run",
    ): "--data.max_examples 24 --trainer.epochs 1 --evaluation.n_robustness 4 --evaluation.n_resamples 20",
    ("text_generation", "prompts", "list"): "",
    (
        "text_generation",
        "run",
    ): "--data.stories 60 --data.min_function_characters 200 --data.max_function_characters 260 "
    "--tokenizer.vocabulary 600 --model.n_layers 1 --model.width 16 --model.n_heads 2 --trainer.steps 2 "
    "--evaluation.documents 4 --evaluation.stories 2 --evaluation.prompts 2 --evaluation.samples 2 "
    "--evaluation.max_new_tokens 4 --evaluation.studies templates json --evaluation.cases 2",
}
"""(package, *arguments) → what is appended to make it end in seconds, so that it is run for real. The
settings of other commands, which need a file, a network, a GPU or minutes, are parsed."""

# Steps that only prepare a shell; there is nothing of ours in them to go wrong.
SHELL = {"python -m venv .venv", "python3 -m venv .venv", ". .venv/bin/activate", "source .venv/bin/activate"}

LAUNCHERS = {
    "torchrun": r"--(standalone|nproc-per-node|nnodes)(=\S+)?|\d+|gpu",
    "accelerate": r"launch|--(multi_gpu|num_processes|num_machines)(=\S+)?|\d+",
}
"""What starts several processes → what may stand before `-m package`."""


@dataclass(frozen=True)
class Shown:
    """A command as a document shows it."""

    document: Path
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def shown_in(document: Path) -> Iterator[Shown]:
    """Commands of a document without their comments and leading variables; `A=1 b && c` is `b` and `c`."""
    text = document.read_text(encoding="utf-8")
    for fence in re.finditer(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL):
        language, block = fence[2], fence[3]
        assert language not in ("sh", "shell", "zsh"), f"{document.name}: mark a block of commands ```bash"
        if language not in ("bash", "console"):
            continue
        number = text.count("\n", 0, fence.start(3)) + 1
        for line in re.sub(r"\\\n *", lambda found: "\0" * found[0].count("\n"), block).split("\n"):
            source = line.replace("\0", " ").strip()
            if language == "bash" or source.startswith("$ "):
                for words in split_commands(source.removeprefix("$ ")):
                    yield Shown(document, number, words)
            number += 1 + line.count("\0")


def split_commands(line: str) -> Iterator[tuple[str, ...]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, "&&"]:
        if word != "&&":
            words.append(word)
            continue
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        if words:
            yield tuple(words)
        words = []


ALL_SHOWN = [pytest.param(shown, id=f"{shown}") for document in DOCUMENTS for shown in shown_in(document)]


@pytest.mark.parametrize("shown", ALL_SHOWN)
def test_a_shown_command_works(shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(shown)


@pytest.mark.parametrize(
    "chinese",
    [pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCUMENTS if ".zh-CN." in path.name],
)
def test_both_languages_show_the_same_commands(chinese: Path) -> None:
    english = chinese.with_name(chinese.name.replace(".zh-CN", ""))
    assert [shown.words for shown in shown_in(chinese)] == [shown.words for shown in shown_in(english)]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_mistake_that_a_readme_shows_gets_the_answer_that_it_shows(name: str, tmp_path: Path) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```text\n\$ transformer-from-scratch (.+)\n(.+)\n```$", text, re.MULTILINE)
    command, answer = shown
    result = subprocess.run(
        [sys.executable, "-P", "-m", "transformer_from_scratch", *shlex.split(command)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (result.returncode, result.stderr.strip()) == (2, answer)


def test_commands_are_found_in_a_document(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text(
        "text `make lint`\n```bash\n# a comment\nmake test && A=1 make lint  # another\n\npip install \\\n"
        "  -e 'a b'\nmake help\n```\n```python\nmake = 1\n```\n- item\n  ```console\n  $ make help\n  usage\n  ```\n",
        encoding="utf-8",
    )
    assert [(shown.line, " ".join(shown.words)) for shown in shown_in(document)] == [
        (4, "make test"),
        (4, "make lint"),
        (6, "pip install -e a b"),
        (8, "make help"),
        (15, "make help"),
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("frobnicate --now", "no test for 'frobnicate --now': write one simple command per line, or add its kind"),
        ("make no-such-target", "No rule to make target"),
        ("make project-7", "there is no project-7"),
        ('make project-1 ARGS="--trainer.stepz 3"', "unknown flag '--trainer.stepz'"),
        ("transformer-from-scratch trian", "has no command 'trian'"),
        ("transformer-from-scratch run --config nowhere.yaml", "nowhere.yaml: no such file"),
        ("torchrun --nproc-per-node 2 -m transformer_from_scratch run --seed 1", "unknown flag '--seed'"),
        ("accelerate launch --num_processes 2 -m bert_sentiment run --seed 1", "unknown flag '--seed'"),
        ("accelerate launch --nproc 2 -m bert_sentiment run", "'--nproc'"),
        ("pip install -e 'shared[no-such-extra]'", "shared has not all of the extras"),
        ("pip install no-such-distribution", "no-such-distribution is not in constraints.txt"),
        ("python tools/no_such_script.py", "there is no tools/no_such_script.py"),
        ("python tools/changed_projects.py --until x", "has no flag --until"),
        ("cd no-such-folder", "no such folder"),
    ],
)
def test_a_wrong_command_is_refused(command: str, message: str) -> None:
    (words,) = split_commands(command)
    with pytest.raises((AssertionError, UserError, pytest.fail.Exception), match=re.escape(message)):
        check(Shown(ROOT / "CONTRIBUTING.md", 1, words))


def check(shown: Shown) -> None:
    """Fail unless the command is of a known kind and right."""
    program, *arguments = shown.words
    program = program.removeprefix(".venv/bin/")
    if program in ("python", "python3") and arguments[:1] == ["-m"]:
        program, *arguments = arguments[1:]
    if " ".join(shown.words) in SHELL:
        return
    if program.replace("-", "_") in ROADMAP:
        check_project_command(program.replace("-", "_"), tuple(arguments))
    elif program in LAUNCHERS:
        check_launcher(program, arguments)
    elif program == "make":
        check_make(tuple(arguments))
    elif program == "pip":
        check_pip(arguments)
    elif program in ("python", "python3") and arguments and arguments[0].endswith(".py"):
        check_script(arguments[0], shown.document.parent, arguments[1:])
    elif program == "git" and arguments[0] == "clone":
        assert arguments[1].startswith("https://")
    elif program == "cd":
        cloned = [each.words[2] for each in shown_in(shown.document) if each.words[:2] == ("git", "clone")]
        names = {Path(url).name.removesuffix(".git") for url in cloned}
        assert arguments[0] in names or (ROOT / arguments[0]).is_dir(), "no such folder"
    elif program in (".ci/run", "./.ci/run"):
        assert os.access(ROOT / ".ci/run", os.X_OK)
    elif program in ("pre-commit", "pytest", "ruff", "tensorboard"):
        assert entry_points(group="console_scripts", name=program), f"{program} is not installed by `make setup`"
    else:
        pytest.fail(
            f"no test for '{shlex.join(shown.words)}': write one simple command per line, or add its kind to "
            "`check` in tests/test_readme_commands.py (and to TINY there, if it can run in seconds)"
        )


@functools.cache
def check_project_command(package: str, arguments: tuple[str, ...]) -> None:
    """Parse the settings; run the command for real where that takes seconds."""
    skip_if_missing(package)
    if {"-h", "--help", "--version"} & set(arguments):
        run(package, *arguments)
        return
    assert arguments, f"{package}: which command?"
    name, *settings = arguments
    cli = import_module(f"{package}.cli")
    command = next((command for command in cli.COMMANDS if command.name == name), None)
    assert command is not None, f"{package} has no command '{name}'"
    config_class = command.config_class
    if isinstance(config_class, str):
        module, _, attribute = config_class.partition(":")
        config_class = getattr(import_module(module), attribute)
    parse_config(
        config_class,
        settings,
        prog=package,
        description="",
        configs=files(package) / "configs",
        default=command.default_config,
    )
    if (package, *arguments) in TINY:
        run(package, *arguments, *TINY[package, *arguments].split())


def run(package: str, *arguments: str) -> None:
    """Run a project's command in the working directory, as `python -m package` would."""
    result = subprocess.run(
        [sys.executable, "-P", "-m", package, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def skip_if_missing(package: str) -> None:
    if package in ROADMAP and not (ROOT / "projects" / package / "pyproject.toml").is_file():
        pytest.skip(f"project {package} is not in this checkout yet")


def check_launcher(program: str, arguments: list[str]) -> None:
    """Check what `torchrun --its-own flags -m package ...` or `accelerate launch ... -m package ...` launches."""
    own, launched = arguments[: arguments.index("-m")], arguments[arguments.index("-m") + 1 :]
    assert all(re.fullmatch(LAUNCHERS[program], word) for word in own), own
    assert launched[0] in ROADMAP
    check_project_command(launched[0], tuple(launched[1:]))


@functools.cache
def check_make(arguments: tuple[str, ...]) -> None:
    """Check that the targets exist, and the project command that they would run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    dry = subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if dry.returncode == 2 and "is not in this checkout yet" in dry.stderr:
        pytest.skip(dry.stderr.strip())
    assert dry.returncode == 0, dry.stderr
    for command in re.split(r"\n|&&", dry.stdout):
        found = re.fullmatch(r"\S+/python -m (\w+)(?: (.*))?", command.strip())
        if found and found[1] in ROADMAP:
            check_project_command(found[1], tuple(shlex.split(found[2] or "")))


def check_pip(arguments: list[str]) -> None:
    """Check the paths, extras and names in `pip install ...`."""
    assert arguments[0] == "install"
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    words = iter(arguments[1:])
    for word in words:
        if word in ("-c", "-r"):
            assert (ROOT / next(words)).is_file()
        elif word in ("--index-url", "--extra-index-url"):
            assert next(words).startswith("https://")
        elif word == "-e" or word.startswith((".", "shared", "projects/")):
            check_local_package(next(words) if word == "-e" else word)
        elif not word.startswith("-"):
            assert canonicalize_name(Requirement(word).name) in pinned, f"{word} is not in constraints.txt"


def check_local_package(word: str) -> None:
    """Check a package's folder and extras, as in `projects/rag_qa[dev]`."""
    found = re.fullmatch(r"(?:\./)?([\w./-]+?)/?(?:\[([\w,-]+)\])?", word)
    assert found is not None, f"'{word}' is no folder with extras"
    if found[1].startswith("projects/"):
        skip_if_missing(found[1].removeprefix("projects/"))
    project = tomllib.loads((ROOT / found[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(found[2].split(",")) if found[2] else set()
    assert extras <= set(project.get("optional-dependencies", {})), f"{found[1]} has not all of the extras {extras}"


def check_script(script: str, folder: Path, flags: list[str]) -> None:
    """Check that the script is there and that its --help names each flag."""
    path = next((each for each in (ROOT / script, folder / script) if each.is_file()), None)
    assert path is not None, f"there is no {script}"
    text = help_of(path)
    for flag in (word.partition("=")[0] for word in flags if word.startswith("--")):
        assert re.search(rf"{flag}\b", text), f"{script} has no flag {flag}"


@functools.cache
def help_of(path: Path) -> str:
    answer = subprocess.run(
        [sys.executable, path, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
